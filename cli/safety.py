"""What must be so before the API is opened to others."""

from facet.access.api_keys import ApiKeys
from facet.access.signed_links import Links
from facet.errors import Unavailable
from facet.local import is_loopback
from facet.persistence.database import Database
from facet.settings import Settings


class NotSafe(Exception):
    """The API would answer strangers, or sign no links."""


def check_access(settings: Settings) -> bool:
    """Whether a key is needed. Raises NotSafe, with the fix, where the API must not be started so."""
    database = Database(settings.sqlalchemy_url)
    try:
        required = ApiKeys(database, settings).required()
    except Unavailable as error:
        if is_loopback(settings.host):  # what is asked meanwhile is answered with 503
            return True
        raise NotSafe(
            f"{error} Whether there are API keys cannot be seen; set FACET_API_KEYS to start without."
        ) from error
    finally:
        database.close()
    if not required and not is_loopback(settings.host):
        raise NotSafe(
            f"Without an API key Facet answers on loopback only, and FACET_HOST is {settings.host}. Make a key with "
            "`facet keys create --name NAME --scope submit`, or set FACET_API_KEYS; or set FACET_HOST=127.0.0.1."
        )
    if required and not Links(settings).ensure_secret():
        raise NotSafe("With API keys and FACET_DATABASE_URL, set FACET_LINK_SECRET for the API and the workers.")
    return required
