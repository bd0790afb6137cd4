"""Prefect's client for what this process asks of it, and what its errors mean to the service.

Whatever Prefect answers, no image is to blame: its deployments, queues, pools, passwords and versions are the
installation's. So all trouble is an outage, that ends when it is mended, and its message says how.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.context import SettingsContext, get_settings_context
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, get_current_settings

from facet.errors import Unavailable

_UNKNOWN = "Prefect does not know the deployments or work queues that it should: run `facet deploy`."
_LOGIN = "Prefect refuses the login (401): give this process its server's PREFECT_API_AUTH_STRING."


class PrefectCalls:
    """One client, opened when it is first needed; `client` lends it."""

    def __init__(self) -> None:
        self._client: SyncPrefectClient | None = None
        # Prefect's client waits for seconds and minutes between its retries; our own timers are quicker.
        self._impatient = get_current_settings().copy_with_update({PREFECT_CLIENT_MAX_RETRIES: 2})

    @contextmanager
    def client(self) -> Iterator[SyncPrefectClient]:
        """Raises Unavailable for what goes wrong with Prefect in the block."""
        try:
            if self._client is None:
                self._client = get_client(sync_client=True, httpx_settings={"timeout": 15.0})
            with SettingsContext(profile=get_settings_context().profile, settings=self._impatient):
                yield self._client
        except ObjectNotFound as error:
            raise Unavailable(_UNKNOWN) from error
        except httpx.HTTPStatusError as error:
            raise Unavailable(_meaning(error)) from error
        except (httpx.HTTPError, RuntimeError) as error:
            raise Unavailable(f"Prefect does not answer: {type(error).__name__}.") from error


def _meaning(error: httpx.HTTPStatusError) -> str:
    status = error.response.status_code
    if status == 401:
        return _LOGIN
    if status == 404:
        return _UNKNOWN
    words = " ".join(error.response.text.split())[:300]
    return f"Prefect answers {status}: {words}"


def refuses_content(error: PrefectHTTPStatusError) -> bool:
    """Whether the server, or a proxy before it, may have something against what the request says."""
    return error.response.status_code in (400, 403, 413, 422, 500)
