"""8-bit screens, in ONNX, that tell what of P-Net's and R-Net's work is in vain, so that only the rest needs them.

Each starts with the exact network's first layers, "features", in float32, and goes on with integers of 8 bits. A value
v of channel c is round(v / steps[c]) + zero, "units", from 0 to 255; where one leaves that range, so that the answer
means nothing, an end of it shows it. Convolutions of integers are operators of ONNX Runtime's own.

R-Net's screen is its twin: the very layers that follow, in 8 bits. Its PReLU is a v + (1 - a) relu(v); both terms go on
as units, and the next layer's kernel holds the factors. P-Net's is a smaller network that has learned from P-Net, on
photos and on what augmentation makes of them, which cells can reach a logit of `P_NET_LEAST`: half the channels, and
ReLU, which is what units that end at zero do by themselves.
"""

from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from facet.detector.mtcnn_models import R_NET_SIDE
from tools.models import screen_steps as steps
from tools.models.graphs import logit, max_prelu, mix, p_net_features, r_net_features, r_net_mixing
from tools.models.onnx_writer import DATA_TYPES, OnnxGraph

Array = NDArray[Any]

_LARGEST_WEIGHT = 63
"""7 bits: where a processor adds products of 8 bits in pairs of 16 (AVX2), two larger ones would not fit."""


@dataclass(frozen=True, slots=True)
class LearnedScreen:
    """The layers of P-Net's screen: from features, a convolution of `kernel`, (3, 3, 16, n), with `bias`, (n,), and
    ReLU; `head`, (n,), makes a score of the result, which must not be below `cut`. `steps`, (n,), are those of the
    hidden units. `python -m tools.train_screen` makes the file.
    """

    PATH: ClassVar = Path(__file__).with_name("p_net_screen.npz")

    kernel: Array
    bias: Array
    head: Array
    steps: Array
    cut: float

    @classmethod
    def load(cls) -> "LearnedScreen":
        with np.load(cls.PATH) as arrays:
            return cls(**{field.name: arrays[field.name].astype(np.float64) for field in fields(cls)})

    def save(self) -> None:
        kernel, bias, head, steps, cut = (np.asarray(value, np.float32) for value in astuple(self))
        np.savez(self.PATH, kernel=kernel, bias=bias, head=head, steps=steps, cut=cut)


def p_net_screen(weights: Sequence[Array], learned: LearnedScreen) -> bytes:
    """Strips (1, 1, rows, 3 columns), as `p_net_features` takes them, to whether each cell may be a face, (cells,).

    The other outputs are the features, (1, rows, columns, 16), their units, and the hidden units.
    """
    graph = OnnxGraph()
    features = p_net_features(graph, weights, steps.P_NET_FEATURES, interleaved=True)
    units = _features_as_units(graph, features, steps.P_NET_FEATURES_ZERO)
    kernel = learned.kernel * steps.P_NET_FEATURES[:, None] / learned.steps
    hidden = _conv(graph, units, kernel, learned.bias / learned.steps, (steps.P_NET_FEATURES_ZERO, 0), "hidden")
    head = learned.head * learned.steps
    scale = np.abs(head).max() / _LARGEST_WEIGHT
    flat = graph.node("Reshape", hidden, graph.constant(np.array([-1, head.size])))
    scores = graph.node("MatMulInteger", flat, graph.constant(np.round(head / scale).astype(np.int8)[:, None]))
    scores = graph.node("Reshape", scores, graph.constant(np.array([-1])))
    graph.node("GreaterOrEqual", scores, _scalar(graph, np.int32(learned.cut / scale)), output="likely")
    return graph.model(
        "pnet-screen",
        [1, 1, "height", "width"],
        features=("float32", [1, "feature rows", "feature columns", steps.P_NET_FEATURES.size]),
        units=("uint8", [1, "feature rows", "feature columns", steps.P_NET_FEATURES.size]),
        hidden=("uint8", [1, "rows", "columns", head.size]),
        likely=("bool", ["cells"]),
    )


def r_net_screen(weights: Sequence[Array]) -> bytes:
    """Crops (n, 1, 24, 72), as `r_net_features` takes them, to their estimated logits (n, 1).

    The other outputs are the features, (n, 11, 11, 32), and three tensors of units. Three slopes of the second layer
    are a little below zero, where PReLU and the pooling do not commute; the estimate is as if they did.
    """
    graph = OnnxGraph()
    units = _features_as_units(
        graph, r_net_features(graph, weights, steps.R_NET_FEATURES, interleaved=True), steps.R_NET_FEATURES_ZERO
    )
    mixing = r_net_mixing(weights) * steps.R_NET_FEATURES[:, None]
    zeros = steps.R_NET_FEATURES_ZERO, steps.R_NET_POOLED_ZERO
    x = _conv(graph, units, mix(mixing, weights[3]) / steps.R_NET_POOLED, weights[4] / steps.R_NET_POOLED, zeros)
    x = graph.contributed_node("NhwcMaxPool", x, output="pooled", kernel_shape=(3, 3), strides=(2, 2))

    x = graph.node("Concat", *_prelu_terms(graph, x, steps.R_NET_POOLED_ZERO), axis=3)
    kernel = weights[6] * steps.R_NET_POOLED[:, None] / steps.R_NET_SUMS
    slopes = weights[5].reshape(-1)
    kernel = np.concatenate([kernel * slopes[:, None], kernel * (1 - slopes[:, None])], 2)
    zeros = steps.R_NET_POOLED_ZERO, steps.R_NET_SUMS_ZERO
    x = _conv(graph, x, kernel, weights[7] / steps.R_NET_SUMS, zeros, "sums")

    slopes = weights[8].reshape(-1)
    kernel = weights[9].reshape(3, 3, slopes.size, -1).transpose(1, 0, 2, 3) * steps.R_NET_SUMS[:, None]
    terms = _prelu_terms(graph, x, steps.R_NET_SUMS_ZERO)
    kernel = kernel.reshape(9 * slopes.size, -1)
    x, scales = _dense(graph, terms, kernel, np.tile(slopes, 9), steps.R_NET_SUMS_ZERO)
    x = _as_floats(graph, x, scales, weights[10])
    x = max_prelu(graph, x, weights[11].reshape(-1))
    last, bias = graph.constant(logit(weights[14])), graph.constant(logit(weights[15]))
    graph.node("Gemm", x, last, bias, output="logits")
    return graph.model(
        "rnet-screen",
        ["n", 1, R_NET_SIDE, 3 * R_NET_SIDE],
        features=("float32", ["n", 11, 11, steps.R_NET_FEATURES.size]),
        units=("uint8", ["n", 11, 11, steps.R_NET_FEATURES.size]),
        pooled=("uint8", ["n", 4, 4, steps.R_NET_POOLED.size]),
        sums=("uint8", ["n", 3, 3, steps.R_NET_SUMS.size]),
        logits=("float32", ["n", 1]),
    )


def _features_as_units(graph: OnnxGraph, x: str, zero: int) -> str:
    """Make the outputs "features", with the channels last, and "units" of features that are in steps already."""
    x = graph.node("Transpose", x, output="features", perm=(0, 2, 3, 1))
    return graph.node(
        "QuantizeLinear", x, _scalar(graph, np.float32(1)), _scalar(graph, np.uint8(zero)), output="units"
    )


def _conv(graph: OnnxGraph, x: str, kernel: Array, bias: Array, zeros: tuple[int, int], output: str = "") -> str:
    """A convolution from units to units; `kernel`, (h, w, in, out), and `bias` are per unit."""
    kernel = kernel.transpose(3, 2, 0, 1)
    scales = np.abs(kernel).max((1, 2, 3)) / _LARGEST_WEIGHT
    one = _scalar(graph, np.float32(1))
    zero_in, zero_out = (_scalar(graph, np.uint8(zero)) for zero in zeros)
    return graph.contributed_node(
        "QLinearConv",
        *(x, one, zero_in),
        graph.constant(_rounded(kernel / scales[:, None, None, None])),
        graph.constant(scales),
        graph.constant(np.zeros(scales.size, np.int8)),
        *(one, zero_out),
        graph.constant(np.round(bias / scales).astype(np.int32)),
        output=output,
        kernel_shape=kernel.shape[2:],
        channels_last=1,
    )


def _rounded(kernel: Array) -> NDArray[np.int8]:
    """Round the taps of (out, in, h, w) so that each one makes up for the errors of those before it.

    Neighbouring taps see similar values, so that their errors cancel out; this halves the variance of R-Net's estimate.
    """
    running = np.round(np.cumsum(kernel.reshape(*kernel.shape[:2], -1), -1))
    return np.diff(running, axis=-1, prepend=0).reshape(kernel.shape).astype(np.int8)


def _prelu_terms(graph: OnnxGraph, units: str, zero: int) -> list[str]:
    return [units, graph.node("Clip", units, _scalar(graph, np.uint8(zero)))]


def _dense(graph: OnnxGraph, terms: list[str], kernel: Array, slopes: Array, zero: int) -> tuple[str, Array]:
    """A dense layer after PReLU, from its two terms in units to int32, and the scales of its outputs.

    `kernel`, (in, out), is per unit.
    """
    kernels = [kernel * slopes[:, None], kernel * (1 - slopes[:, None])]
    scales = np.maximum(*(np.abs(k).max(0) for k in kernels)) / _LARGEST_WEIGHT
    shape, zero_in = graph.constant(np.array([-1, len(kernel)])), _scalar(graph, np.uint8(zero))
    products = []
    for x, k in zip(terms, kernels, strict=True):
        weights = graph.constant(np.round(k / scales).astype(np.int8))
        products.append(graph.node("MatMulInteger", graph.node("Reshape", x, shape), weights, zero_in))
    return graph.node("Add", *products), scales


def _as_floats(graph: OnnxGraph, x: str, scales: Array, bias: Array, output: str = "") -> str:
    x = graph.node("Mul", graph.node("Cast", x, to=DATA_TYPES["float32"]), graph.constant(scales))
    return graph.node("Add", x, graph.constant(bias), output=output)


def _scalar(graph: OnnxGraph, value: np.generic) -> str:
    return graph.constant(np.asarray(value))
