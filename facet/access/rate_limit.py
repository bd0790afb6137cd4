"""How often one sender may ask: a token bucket each, in this process's memory."""

import time
from collections import OrderedDict
from collections.abc import Callable
from threading import Lock

_REMEMBERED = 10_000


class RateLimit:
    """So many requests a minute; after a pause, a minute's worth of them at once. 0: no limit."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_minute = per_minute
        self._clock = clock
        self._full_at: OrderedDict[str, float] = OrderedDict()
        self._lock = Lock()

    def take(self, sender: str, *, count: bool = True) -> float:
        """Count a request. Returns 0, or the seconds after which it may be sent again: then it was not counted.

        Without `count` it is only looked at.
        """
        if not self._per_minute:
            return 0.0
        cost, now = 60 / self._per_minute, self._clock()
        with self._lock:
            full_at = max(self._full_at.get(sender, now), now) + cost  # when the bucket is full again
            if (wait := full_at - now - 60) > 1e-6:
                return wait
            if not count:
                return 0.0
            self._full_at[sender] = full_at
            self._full_at.move_to_end(sender)
            if len(self._full_at) > _REMEMBERED:
                self._full_at.popitem(last=False)
        return 0.0
