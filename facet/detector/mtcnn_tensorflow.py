"""The reference engine: the `mtcnn` package on TensorFlow, to compare with and to fall back on."""

import contextlib
import importlib
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facet.detector.base import DetectedFace, DetectionParameters, check_request
from facet.detector.mtcnn_boxes import P_NET_WINDOW, pyramid_scales
from facet.detector.mtcnn_models import read_manifest
from facet.detector.working_size import WorkingImage, to_faces, working_image


class MtcnnTensorflow:
    """The `mtcnn` package, one image at a time: its own batches change results and spoil mixed sizes.

    TensorFlow's thread counts can be set only before its first use in a process; later they stay.
    One thread at a time may use it. Raises ImportError without TensorFlow or `mtcnn`.
    """

    name = "mtcnn-tensorflow"

    def __init__(self, threads: int = 1) -> None:
        self.version = f"1.0.0+{read_manifest().weights}"
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        tensorflow = _needed("tensorflow")
        with contextlib.suppress(RuntimeError):  # TensorFlow is already in use, with its own counts
            tensorflow.config.threading.set_intra_op_parallelism_threads(threads)
            tensorflow.config.threading.set_inter_op_parallelism_threads(threads)
        self._mtcnn = _build()

    def detect(
        self,
        images: Sequence[NDArray[np.uint8]],
        parameters: Sequence[DetectionParameters] | None = None,
    ) -> list[list[DetectedFace]]:
        """See `Detector.detect`."""
        parameters = check_request(images, parameters)
        return [self._detect(working_image(i, p), p) for i, p in zip(images, parameters, strict=True)]

    def _detect(self, image: WorkingImage, parameters: DetectionParameters) -> list[DetectedFace]:
        if min(image.pixels.shape[:2]) < P_NET_WINDOW:
            return []  # the reference raises for some of these sizes
        rows = self._mtcnn.detect_faces(
            image.pixels,
            box_format="xyxy",
            output_type="numpy",
            min_face_size=image.min_face_size,
            scale_factor=parameters.scale_factor,
            threshold_pnet=parameters.thresholds[0],
            threshold_rnet=parameters.thresholds[1],
            threshold_onet=parameters.thresholds[2],
        )
        if not len(rows):
            return []  # the number of the empty array's columns depends on where the search ended
        return to_faces(np.asarray(rows, np.float64)[:, 1:16], image)  # column 0 is the image's index


def _needed(package: str) -> Any:
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise ImportError(
            f"the mtcnn-tensorflow detector needs {package}: install facet[tensorflow], or choose the detector mtcnn"
        ) from error


def _build() -> Any:
    """Build the package's MTCNN with a P-Net stage that searches `pyramid_scales`.

    The package counts the pyramid's levels from the image's shorter side alone. With a larger
    `min_face_size` or a `scale_factor` near 1 it runs past the smallest level that P-Net can take, which
    raises, or is swallowed and reported as no faces. Its stage looks at the image's shape for nothing
    but this count, so a shape is given for which the count comes out right; with the default
    parameters that is the count it would have had.
    """
    package = _needed("mtcnn")
    stages: Any = importlib.import_module("mtcnn.stages")

    class Proposals(stages.StagePNet):  # type: ignore[misc]
        def __call__(
            self,
            images_normalized: NDArray[np.float64],
            images_oshapes: NDArray[np.int_],
            min_face_size: float = 20,
            scale_factor: float = 0.709,
            **options: Any,
        ) -> Any:
            height, width = images_oshapes[0][:2]
            count = len(pyramid_scales(height, width, min_face_size, scale_factor))
            if count == 0:
                return np.empty((0, 6))
            side = P_NET_WINDOW / scale_factor ** (count + 1)
            return super().__call__(
                images_normalized=images_normalized,
                images_oshapes=np.array([[side, side, 3]]),
                min_face_size=min_face_size,
                scale_factor=scale_factor,
                **options,
            )

    return package.MTCNN(stages=[Proposals(), stages.StageRNet(), stages.StageONet()])
