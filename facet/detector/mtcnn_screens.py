"""8-bit twins of P-Net and R-Net, in ONNX, that estimate every logit, so that only promising ones need exact networks.

Each twin starts with the exact network's first layers, "features", in float32; what follows is a linear function of
them and PReLU, here on integers of 8 bits. A value v of channel c is round(v / steps[c]) + zero, "units", from 0 to
255; where one leaves that range, so that the estimate means nothing, 0 or 255 shows it. Convolutions of integers are
operators of ONNX Runtime's own.

PReLU is a v + (1 - a) relu(v); both terms go on as units, and the next layer's kernel holds the factors.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facet.detector import mtcnn_screen_steps as steps
from facet.detector.mtcnn_graphs import (
    R_NET_SIDE,
    logit,
    max_prelu,
    mix,
    p_net_features,
    r_net_features,
    r_net_mixing,
)
from facet.detector.onnx_writer import DATA_TYPES, OnnxGraph

Array = NDArray[Any]

_LARGEST_WEIGHT = 63
"""7 bits: where a processor adds products of 8 bits in pairs of 16 (AVX2), two larger ones would not fit."""


def p_net_screen(weights: Sequence[Array]) -> bytes:
    """Strips (1, 1, rows, 3 columns), as `p_net_features` takes them, to each cell's estimated logit (cells,).

    The other outputs are the features, (1, rows, columns, 16), and two tensors of units.
    """
    graph = OnnxGraph()
    features = p_net_features(graph, weights, steps.P_NET_FEATURES, interleaved=True)
    units = _features_as_units(graph, features, steps.P_NET_FEATURES_ZERO)
    kernel = weights[6] * steps.P_NET_FEATURES[:, None] / steps.P_NET_SUMS
    zero = steps.P_NET_SUMS_ZERO
    sums = _conv(graph, units, kernel, weights[7] / steps.P_NET_SUMS, (steps.P_NET_FEATURES_ZERO, zero), "sums")
    slopes = weights[8].reshape(-1)
    kernel = logit(weights[11])[0, 0] * steps.P_NET_SUMS[:, None]
    x, scales = _dense(graph, _prelu_terms(graph, sums, zero), kernel, slopes, zero)
    x = graph.node("Reshape", x, graph.constant(np.array([-1])))
    _as_floats(graph, x, scales, logit(weights[12]), output="logits")
    return graph.model(
        "pnet-screen",
        [1, 1, "height", "width"],
        features=("float32", [1, "feature rows", "feature columns", steps.P_NET_FEATURES.size]),
        units=("uint8", [1, "feature rows", "feature columns", steps.P_NET_FEATURES.size]),
        sums=("uint8", [1, "rows", "columns", slopes.size]),
        logits=("float32", ["cells"]),
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
