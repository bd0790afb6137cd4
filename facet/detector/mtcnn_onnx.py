"""MTCNN on ONNX Runtime: the default engine."""

from collections.abc import Callable
from functools import partial
from typing import Any

import cv2
import numpy as np
import onnxruntime
from numpy.typing import NDArray

from facet.detector.mtcnn_cascade import RESULTS_VERSION, Cascade, Networks
from facet.detector.mtcnn_models import O_NET_SIDE, read_manifest, read_model
from facet.detector.mtcnn_screened import ScreenedPNet, ScreenedRNet

Float32 = NDArray[np.float32]


class MtcnnOnnx(Cascade):
    """The cascade on ONNX Runtime with at most `threads` threads.

    One thread at a time may use it: it reuses its scratch space. OpenCV's thread count is one per
    process, and is set here too. Raises ModelError where a network's file is missing or damaged.
    """

    name = "mtcnn"

    def __init__(self, threads: int = 1) -> None:
        cv2.setNumThreads(threads)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # A waiting thread sleeps: the core it would spin on belongs to another worker.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # Strips differ in shape from level to level; a memory plan for each would only pile up.
        options.enable_mem_pattern = False
        options.log_severity_level = 3
        load = partial(_load, options=options)
        o_net_run = load(read_model("o_net"))
        super().__init__(
            Networks(
                ScreenedPNet(load),
                ScreenedRNet(load),
                lambda crops: o_net_run(crops.reshape(-1, 1, O_NET_SIDE, 3 * O_NET_SIDE))[0],
                strip_cells=15_000,
                r_net_crops=512,
                o_net_crops=8,
            )
        )
        self.version = f"{RESULTS_VERSION}+{read_manifest().weights}"


def _load(model: bytes, options: onnxruntime.SessionOptions) -> Callable[[Float32], list[NDArray[Any]]]:
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def run(inputs: Float32) -> list[NDArray[Any]]:
        outputs: list[NDArray[Any]] = session.run(None, {"input": inputs})
        return outputs

    return run
