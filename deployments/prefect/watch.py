"""Looks on a timer for what needs a flow run, in the API's process."""

import asyncio
import logging
from collections.abc import Callable

from facet.errors import Unavailable

log = logging.getLogger(f"facet.{__name__}")


async def watch(what: str, look: Callable[[], object], seconds: float) -> None:
    """Look until cancelled; a part that does not answer is said once, and asked again."""
    said: str | None = None
    while True:
        try:
            await asyncio.to_thread(look)
            said = None
        except Unavailable as error:
            if str(error) != said:
                log.warning("%s wait: %s", what, error)
            said = str(error)
        except Exception:
            log.exception("A look for %s failed; the next one follows.", what.lower())
        await asyncio.sleep(seconds)
