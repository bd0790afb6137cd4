"""Face detectors behind one small interface: `create_detector(name).detect(images)`.

A detector is one more file with a class as `Detector` describes it, and one more line below.
Only the chosen detector's module is imported, so that no runtime is loaded which is not used: nor is NumPy by those
who ask for the names alone.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from facet.detector.base import KEYPOINT_NAMES, DetectedFace, DetectionParameters, Detector

__all__ = [
    "DETECTORS",
    "KEYPOINT_NAMES",
    "DetectedFace",
    "DetectionParameters",
    "Detector",
    "create_detector",
]

DETECTORS = {
    "mtcnn": ("facet.detector.mtcnn_onnx", "MtcnnOnnx"),
    "mtcnn-opencv": ("facet.detector.mtcnn_opencv", "MtcnnOpenCV"),
    "mtcnn-tensorflow": ("facet.detector.mtcnn_tensorflow", "MtcnnTensorflow"),
}


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(importlib.import_module("facet.detector.base"), name)
    raise AttributeError(name)


def create_detector(name: str = "mtcnn", *, threads: int = 1) -> "Detector":
    """Load a detector that uses at most `threads` threads; takes up to a second, seconds with TensorFlow.

    Raises ValueError for an unknown name or fewer than one thread, ImportError when the detector's
    runtime is not installed, and what the detector itself raises when its networks' files are missing or damaged.
    """
    if name not in DETECTORS:
        raise ValueError(f"no detector is called {name!r}; known are: {', '.join(DETECTORS)}")
    if threads < 1:
        raise ValueError(f"threads is {threads}; give at least 1")
    module, class_name = DETECTORS[name]
    detector: Detector = getattr(importlib.import_module(module), class_name)(threads=threads)
    return detector
