"""A client of Facet's API, sync and async: submit photos, wait for results, walk through lists, verify callbacks."""

from standardwebhooks import WebhookVerificationError

from facet.client.aio import AsyncClient
from facet.client.callbacks import verify_callback
from facet.client.protocol import ApiError, NoResult
from facet.client.sync import Client
from facet.client.types import Accepted, Annotation, Callback, Delivery, Face, Image, Reprocessing, SubmissionFields

__all__ = [
    "Accepted",
    "Annotation",
    "ApiError",
    "AsyncClient",
    "Callback",
    "Client",
    "Delivery",
    "Face",
    "Image",
    "NoResult",
    "Reprocessing",
    "SubmissionFields",
    "WebhookVerificationError",
    "verify_callback",
]
