"""How long a callback waits after a failure."""

import random
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

SCHEDULE = [timedelta(seconds=5), timedelta(minutes=5), timedelta(minutes=30)] + [
    timedelta(hours=hours) for hours in (2, 5, 10, 14, 20, 24)
]
"""The waits after each failure of a round, as Standard Webhooks suggests; when they are used up, it is given up."""

_JITTER = 0.2
_LONGEST_ASKED = timedelta(days=1)


def wait_after(failures: int) -> timedelta | None:
    """The wait after so many failures; None after the last."""
    return SCHEDULE[failures - 1] if failures <= len(SCHEDULE) else None


def spread(wait: timedelta) -> timedelta:
    """The wait and up to a fifth more, so that receivers are not called in step."""
    return wait * random.uniform(1, 1 + _JITTER)


def asked_wait(headers: Mapping[str, str], now: datetime) -> timedelta:
    """What `Retry-After` asks for, in seconds or as a date: a day at most, and nothing where it makes no sense."""
    value = headers.get("retry-after", "").strip()
    try:
        wait = timedelta(seconds=int(value)) if value.isdecimal() else _aware(parsedate_to_datetime(value)) - now
    except (ValueError, OverflowError):
        return timedelta()
    return min(max(wait, timedelta()), _LONGEST_ASKED)


def _aware(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
