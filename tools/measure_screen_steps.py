"""Measures the steps of the detector's 8-bit screens and prints `tools/models/screen_steps.py`.

    python -m tools.measure_screen_steps [--data FOLDER] > tools/models/screen_steps.py

A channel's step is the smallest with which the activations of all photos fit 8 bits.
"""

import argparse
import sys
from dataclasses import replace
from textwrap import fill
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from benchmarks.detector.pictures import data_folder, photos
from facet.detector.mtcnn_opencv import MtcnnOpenCV
from tools.models.graphs import mix, p_net_features, r_net_features, r_net_mixing
from tools.models.onnx_writer import OnnxGraph
from tools.models.weights import load_weights

_ZEROS = {"P_NET_FEATURES": 90, "R_NET_FEATURES": 60, "R_NET_POOLED": 130, "R_NET_SUMS": 140}
_COMMENT = '''\
"""What a unit of the 8-bit screens stands for in each channel, and the unit that is zero.

Made by `python -m tools.measure_screen_steps` from what the networks hold on photos.
"""

# fmt: off
import numpy as np
'''


class _Ranges:
    """Runs a model and keeps the least and the largest value of each channel of each output."""

    def __init__(self, model: bytes) -> None:
        self._session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        self._names = [output.name for output in self._session.get_outputs()]
        self.found: dict[str, NDArray[np.float32]] = {}

    def add(self, inputs: NDArray[np.float32]) -> None:
        for name, values in zip(self._names, self._session.run(None, {"input": inputs}), strict=True):
            least, largest = values.min((0, 2, 3)), values.max((0, 2, 3))
            before = self.found.get(name, np.zeros((2, least.size), np.float32))
            self.found[name] = np.stack([np.minimum(before[0], least), np.maximum(before[1], largest)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", help="folder of test photos (default: FACET_TEST_DATA or ../shared/data)")
    folder = data_folder(parser.parse_args().data)
    p_net, r_net = _Ranges(_p_net()), _Ranges(_r_net())
    detector = MtcnnOpenCV()
    inner = detector._networks

    def watched_p_net(strip: NDArray[np.float32], least: float) -> Any:
        p_net.add(np.ascontiguousarray(strip.transpose(2, 0, 1))[None])
        return inner.p_net(strip, least)

    def watched_r_net(crops: NDArray[np.float32], least: float) -> Any:
        r_net.add(np.ascontiguousarray(crops.transpose(0, 3, 1, 2)))
        return inner.r_net(crops, least)

    detector._networks = replace(inner, p_net=watched_p_net, r_net=watched_r_net)
    for picture in [*photos(folder, "wider"), *photos(folder, "negatives")]:
        detector.detect([picture.load()])
    sys.stdout.write(_COMMENT)
    for name, (least, largest) in {**p_net.found, **r_net.found}.items():
        zero = _ZEROS[name]
        steps = np.maximum(largest / (254 - zero), -least / (zero - 1))
        numbers = ", ".join(f"{step:.3g}" for step in np.where(steps > 0, steps, 1))
        lines = fill(numbers, 120, initial_indent="    ", subsequent_indent="    ")
        sys.stdout.write(f"\n{name}_ZERO = {zero}\n{name} = np.array([\n{lines}\n])\n")


def _p_net() -> bytes:
    graph, weights = OnnxGraph(), load_weights("pnet")
    _named(graph, p_net_features(graph, weights), "P_NET_FEATURES")
    return _model(graph, [1, 3, "height", "width"], "P_NET_FEATURES")


def _r_net() -> bytes:
    graph, weights = OnnxGraph(), load_weights("rnet")
    x = _named(graph, r_net_features(graph, weights), "R_NET_FEATURES")
    x = _conv(graph, x, mix(r_net_mixing(weights), weights[3]), weights[4])
    x = _named(graph, graph.node("MaxPool", x, kernel_shape=(3, 3), strides=(2, 2)), "R_NET_POOLED")
    x = graph.node("PRelu", x, graph.constant(weights[5].reshape(-1, 1, 1)))
    _named(graph, _conv(graph, x, weights[6], weights[7]), "R_NET_SUMS")
    return _model(graph, ["n", 3, 24, 24], "R_NET_FEATURES", "R_NET_POOLED", "R_NET_SUMS")


def _conv(graph: OnnxGraph, x: str, kernel: NDArray[Any], bias: NDArray[Any]) -> str:
    return graph.node("Conv", x, graph.constant(kernel.transpose(3, 2, 0, 1)), graph.constant(bias))


def _named(graph: OnnxGraph, x: str, name: str) -> str:
    return graph.node("Identity", x, output=name)


def _model(graph: OnnxGraph, inputs: list[int | str], *outputs: str) -> bytes:
    shapes: dict[str, tuple[str, list[int | str]]] = {
        name: ("float32", [f"{name} {axis}" for axis in "nchw"]) for name in outputs
    }
    return graph.model("ranges", inputs, **shapes)


if __name__ == "__main__":
    main()
