"""Python runs this at its start, where the folder is on its path: a worker's child writes down OpenCV's decodings.

FACET_BENCH_DECODES names the file to write to. The module knows nothing of the service but its child's module.
"""

import os
import sys

if (path := os.environ.get("FACET_BENCH_DECODES")) and any(word.endswith("worker.child") for word in sys.orig_argv):
    import cv2

    _imdecode = cv2.imdecode

    def _counted(*arguments, **options):  # type: ignore[no-untyped-def]
        with open(path, "a") as file:
            file.write(f"{os.getpid()}\n")
        return _imdecode(*arguments, **options)

    cv2.imdecode = _counted
