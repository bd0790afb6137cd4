"""A new process to its first faces: wall time, CPU time and resident memory."""

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

_PROGRAM = """
import json, resource, sys
import cv2
image = cv2.imread(sys.argv[1], cv2.IMREAD_COLOR_RGB)
if sys.argv[2] == "facet":
    from facet.detector import create_detector
    faces = len(create_detector("mtcnn", threads=1).detect([image])[0])
else:
    import tensorflow
    tensorflow.config.threading.set_intra_op_parallelism_threads(1)
    tensorflow.config.threading.set_inter_op_parallelism_threads(1)
    from mtcnn import MTCNN
    faces = len(MTCNN().detect_faces(image))
pages = int(open("/proc/self/statm").read().split()[1])
usage = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps([faces, usage.ru_utime + usage.ru_stime, pages * resource.getpagesize()]))
"""


@dataclass(frozen=True, slots=True)
class ColdStart:
    faces: int
    wall: float
    cpu: float
    resident: int


def cold_start(kind: str, photo: Path) -> ColdStart:
    """Start the engine in a new process, let it find the faces of a photo, and end."""
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(photo), kind],
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    wall = time.perf_counter() - start
    faces, cpu, resident = json.loads(done.stdout.splitlines()[-1])
    return ColdStart(faces, wall, cpu, resident)
