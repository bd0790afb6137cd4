"""What an S3 server's errors, and a server that cannot be reached, are called: by their cause, with the mend."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager

from minio.error import InvalidResponseError, MinioException, S3Error
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    MaxRetryError,
    NameResolutionError,
    NewConnectionError,
    ReadTimeoutError,
    SSLError,
)

from facet.errors import NotPermitted, Unavailable

_NOT_PERMITTED = {"AccessDenied", "NotImplemented", "MethodNotAllowed"}

_MENDS = {
    "NoSuchBucket": "Make the bucket, or mend FACET_S3_BUCKET.",
    "InvalidAccessKeyId": "Mend FACET_S3_ACCESS_KEY.",
    "SignatureDoesNotMatch": "Mend FACET_S3_SECRET_KEY.",
    "RequestTimeTooSkewed": "Set this machine's clock.",
    "AuthorizationHeaderMalformed": "Set FACET_S3_REGION to the bucket's region.",
    "PermanentRedirect": "Set FACET_S3_REGION to the bucket's region.",
    "IllegalLocationConstraintException": "Set FACET_S3_REGION to the bucket's region.",
}


@contextmanager
def outages_told() -> Iterator[None]:
    """Raises Unavailable, NotPermitted where the server does not let this user do it."""
    try:
        yield
    except S3Error as error:
        kind = NotPermitted if error.code in _NOT_PERMITTED else Unavailable
        mend = _MENDS.get(error.code or "", "")
        raise kind(f"The S3 server refuses: {error.code}. {mend}".strip()) from error
    except (MinioException, HTTPError, OSError) as error:
        raise Unavailable(f"The S3 server does not answer: {_cause(error)}.") from error


def _cause(error: Exception) -> str:
    cause = error.reason if isinstance(error, MaxRetryError) and error.reason else error
    if isinstance(cause, SSLError):
        return _tls_cause(cause)
    if isinstance(cause, InvalidResponseError):
        return f"what it sends is no S3 server's (HTTP {cause._code}); see FACET_S3_ENDPOINT and FACET_S3_SECURE"
    if isinstance(cause, NameResolutionError):
        return "its name is not known"
    if isinstance(cause, NewConnectionError):
        return getattr(cause.__cause__, "strerror", None) or "no connection"
    if isinstance(cause, ConnectTimeoutError | ReadTimeoutError):
        return "it takes too long"
    return type(cause).__name__


def _tls_cause(error: SSLError) -> str:
    inner = error.args[0] if error.args else error
    if isinstance(inner, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({inner.verify_message}); name its authority's in SSL_CERT_FILE"
    if getattr(inner, "reason", None) in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"):
        return "it does not speak HTTPS; if it should not, set FACET_S3_SECURE=false"
    return f"no HTTPS with it ({getattr(inner, 'reason', None) or inner})"
