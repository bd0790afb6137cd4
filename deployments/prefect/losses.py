"""What Prefect's SQLite loses on a machine that is too busy for it: counted, and said once a minute.

Prefect logs each with a traceback of a hundred lines, which hides how many there were, and what they mean.
"""

import logging
import re
from threading import Lock, Timer

_SECONDS = 60.0
_DROPPED = re.compile(r"dropping (?:(\d+) events|event id)")
_LOCKED = "database is locked"

_logger = logging.getLogger("prefect.server.losses")


class Losses(logging.Filter):
    """Of the lines on dropped events and on locked statements only a minute's first stay; then their sum is said."""

    def __init__(self, seconds: float = _SECONDS) -> None:
        super().__init__()
        self._seconds = seconds
        self._lock = Lock()
        self._timer: Timer | None = None
        self._dropped = self._locked = 0

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name == _logger.name:
            return True
        if found := _DROPPED.search(record.getMessage()):
            return self._count(dropped=int(found[1] or 1))
        if _LOCKED in record.getMessage() or _is_locked(record):
            return self._count(locked=1)
        return True

    def tell(self) -> None:
        """Say what was counted since the last time."""
        with self._lock:
            dropped, locked, self._dropped, self._locked, self._timer = self._dropped, self._locked, 0, 0, None
        if dropped or locked:
            _logger.warning(
                "Since the last such line %d events were dropped, and %d statements found the database locked. "
                "docs/operating.md says under 'A busy machine' what that means.",
                dropped,
                locked,
            )

    def _count(self, *, dropped: int = 0, locked: int = 0) -> bool:
        """Returns whether it is the first of its kind since the sum was said."""
        with self._lock:
            is_first = not (self._dropped if dropped else self._locked)
            self._dropped += dropped
            self._locked += locked
            if self._timer is None:
                self._timer = Timer(self._seconds, self.tell)
                self._timer.daemon = True
                self._timer.start()
        return is_first


def watch() -> Losses:
    """Count in all that is logged from now on by this process' present handlers."""
    losses = Losses()
    loggers = [logging.getLogger(), *logging.Logger.manager.loggerDict.values()]
    handlers = {handler for logger in loggers if isinstance(logger, logging.Logger) for handler in logger.handlers}
    for handler in handlers:
        handler.addFilter(losses)
    return losses


def _is_locked(record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if record.exc_info else None
    while error is not None and _LOCKED not in str(error):
        error = error.__cause__ or error.__context__
    return error is not None
