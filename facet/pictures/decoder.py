"""Decoding in bounded time, and a few pictures at once: each holds up to 150 MB, and a core."""

import os
from collections.abc import Callable
from contextvars import copy_context
from threading import BoundedSemaphore, Event, Lock, Thread
from typing import TypeVar

from facet.errors import ImageError, Overloaded
from facet.pictures.codec import Header, Pixels, check, decode
from facet.settings import Settings

T = TypeVar("T")


class Decoder:
    """Decodes under the limits of the settings. Safe to use from several threads.

    Native code cannot be interrupted: a decoding that takes too long is left to its thread, which keeps its place
    until it ends, so that hostile files cannot pile up. A process that can be replaced should be, once it is `stuck`.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._places = BoundedSemaphore(os.cpu_count() or 1)
        self._lock = Lock()
        self._overdue = 0

    @property
    def stuck(self) -> bool:
        """Whether a decoding that was given up still goes on."""
        return self._overdue > 0

    def check(self, data: bytes) -> Header:
        """Make sure that a picture decodes. Raises ImageError, or Overloaded when too many wait."""
        return self._in_time(lambda: check(data, **self._limits))

    def decode(self, data: bytes, *, min_side: int | None) -> Pixels:
        """The pixels, as `facet.pictures.codec.decode` gives them. Raises as `check`."""
        return self._in_time(lambda: decode(data, **self._limits, min_side=min_side))

    @property
    def _limits(self) -> dict[str, int]:
        return {"max_pixels": self._settings.max_image_pixels, "max_side": self._settings.max_image_side}

    def _in_time(self, work: Callable[[], T]) -> T:
        seconds = self._settings.decode_seconds
        if not self._places.acquire(timeout=seconds):
            raise Overloaded("Too many pictures are being decoded.")
        results: list[T | BaseException] = []
        done = Event()
        given_up = False

        def run() -> None:
            try:
                results.append(work())
            except BaseException as error:
                results.append(error)
            with self._lock:
                done.set()
                self._overdue -= given_up
            self._places.release()

        Thread(target=copy_context().run, args=(run,), name="decode", daemon=True).start()
        if not done.wait(seconds):
            with self._lock:
                if not done.is_set():
                    given_up = True
                    self._overdue += 1
        if given_up:
            raise ImageError("undecodable", f"The picture takes more than {seconds:g} s to decode.")
        [result] = results
        if isinstance(result, BaseException):
            raise result
        return result
