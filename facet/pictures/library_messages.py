"""What the libraries that decode say about a picture on their own: it names no picture, so it stays out of the logs.

A picture that does not decode is refused, and the refusal says why. What libjpeg, libpng and libtiff print besides that
would stand in the log of the API or of a worker with nothing that leads to its image.
"""

import ctypes
import logging
import os
import platform
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

import cv2

cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
logging.getLogger("PIL").setLevel(logging.CRITICAL)
for _module in ("PIL", "pillow_heif"):
    warnings.filterwarnings("ignore", module=rf"{_module}\b")


class _StandardError:
    """The variable `stderr` of the C library, to which those libraries print.

    Python's own logging, the messages of a crash, and C++ write to the file descriptor instead, and are not touched.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._users = 0
        self._stream: ctypes.c_void_p | None = None
        if platform.libc_ver()[0] != "glibc":  # elsewhere the variable is a constant, or has another name
            return
        libc = ctypes.CDLL(None)
        libc.fopen.restype = ctypes.c_void_p
        self._nowhere = libc.fopen(os.devnull.encode(), b"w")
        self._stream = ctypes.c_void_p.in_dll(libc, "stderr")
        self._somewhere = self._stream.value

    @contextmanager
    def silenced(self) -> Iterator[None]:
        """Several threads may be in here at once; the last that leaves puts back what was."""
        self._count(1)
        try:
            yield
        finally:
            self._count(-1)

    def _count(self, step: int) -> None:
        with self._lock:
            self._users += step
            if self._stream is not None:
                self._stream.value = self._nowhere if self._users else self._somewhere


silenced = _StandardError().silenced
