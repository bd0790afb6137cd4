"""MTCNN's three networks as ONNX files: raw RGB pixels (0 to 255, float32, NCHW) in, raw scores out.

Zhang, Zhang, Li, Qiao: "Joint Face Detection and Alignment Using Multitask Cascaded Convolutional
Networks", IEEE Signal Processing Letters 23(10), 2016.

The networks are algebraically those of the `mtcnn` package, written so that a CPU runtime keeps its
blocked channel layout from the first convolution to the last:

- the normalisation (p - 127.5) / 128 is folded into the first convolution;
- PReLU is Relu plus a 1x1 depthwise convolution, which runtimes fuse; ONNX Runtime's own PRelu
  leaves the blocked layout, at the price of two copies;
- the two-class softmax is one logit, face minus no face, which a sigmoid turns into the confidence.

Outputs, in this order: four box regressions, the logit and, from O-Net, five x and five y.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from facet.detector.onnx_writer import OnnxGraph
from facet.detector.weights import load_weights

P_NET_OUTPUTS = R_NET_OUTPUTS = 5
O_NET_OUTPUTS = 15
R_NET_SIDE, O_NET_SIDE = 24, 48
"""Sides, in pixels, of the square crops that R-Net and O-Net take."""

_CHANNEL_BLOCK = 16  # float32 lanes of the widest blocked layout (AVX-512)

Array = NDArray[Any]


def p_net() -> bytes:
    """P-Net: (1, 3, h, w) to (1, 5, (h - 1) // 2 - 4, (w - 1) // 2 - 4); h and w are at least 12."""
    weights = load_weights("pnet")
    graph = OnnxGraph()
    kernel, bias = _normalising(weights[0], weights[1])
    slopes = weights[2].reshape(-1)

    # The first activation would run on the largest map, so it is done after the pooling, on a quarter
    # of it. A PReLU of slope >= 0 is increasing and commutes with the maximum. One of slope a < 0 is
    # max(x, a x): the convolution emits both, in lanes that the block has free.
    falling, rising = np.flatnonzero(slopes < 0), np.flatnonzero(slopes >= 0)
    kernel = np.concatenate([kernel[..., falling], kernel[..., falling] * slopes[falling], kernel[..., rising]], -1)
    bias = np.concatenate([bias[falling], bias[falling] * slopes[falling], bias[rising]])
    x = _max_pool(graph, _conv(graph, "input", kernel, bias), 2, ceil_mode=1)
    sizes = graph.constant(np.array([falling.size, falling.size, rising.size]))
    plain, scaled, rest = graph.split_node("Split", x, sizes, outputs=3, axis=1)
    # One of a slope a > 1 is min(x, a x), here minus the maximum; the next convolution turns its sign.
    signs, rising_slopes = np.where(slopes[rising] > 1, -1.0, 1.0), slopes[rising]
    rest = _maximum(graph, rest, signs, signs * rising_slopes)
    x = graph.node("Concat", graph.node("Max", plain, scaled), rest, axis=1)

    kernel = np.concatenate([weights[3][:, :, falling], weights[3][:, :, rising] * signs[:, None]], 2)
    x = _conv_prelu(graph, x, kernel, weights[4], weights[5])
    x = _conv_prelu(graph, x, weights[6], weights[7], weights[8])
    kernel = np.concatenate([weights[9], _logit(weights[11])], -1)
    _conv(graph, x, kernel, np.concatenate([weights[10], _logit(weights[12])]), output="output")
    return graph.model("pnet", [1, 3, "height", "width"], [1, P_NET_OUTPUTS, "rows", "columns"])


def r_net() -> bytes:
    """R-Net: (n, 3, 24, 24) to (n, 5)."""
    weights = load_weights("rnet")
    graph = OnnxGraph()
    kernel, bias = _normalising(weights[0], weights[1])
    x, mixing = _conv_prelu_mixed(graph, "input", kernel, bias, weights[2])
    x = _max_pool(graph, x, 3, pads=_same_padding(22))
    x, mixing = _conv_prelu_mixed(graph, x, _mix(mixing, weights[3]), weights[4], weights[5])
    x = _max_pool(graph, x, 3)
    x = _conv_prelu(graph, x, _mix(mixing, weights[6]), weights[7], weights[8])
    x = _dense_prelu(graph, x, weights[9], weights[10], weights[11], height=3, width=3)
    kernel = np.concatenate([weights[12], _logit(weights[14])], -1)
    _dense(graph, x, kernel, np.concatenate([weights[13], _logit(weights[15])]), output="output")
    return graph.model("rnet", ["n", 3, R_NET_SIDE, R_NET_SIDE], ["n", R_NET_OUTPUTS])


def o_net() -> bytes:
    """O-Net: (n, 3, 48, 48) to (n, 15)."""
    weights = load_weights("onet")
    graph = OnnxGraph()
    kernel, bias = _normalising(weights[0], weights[1])
    x, mixing = _conv_prelu_mixed(graph, "input", kernel, bias, weights[2])
    x = _max_pool(graph, x, 3, pads=_same_padding(46))
    x, mixing = _conv_prelu_mixed(graph, x, _mix(mixing, weights[3]), weights[4], weights[5])
    x = _max_pool(graph, x, 3)
    x, mixing = _conv_prelu_mixed(graph, x, _mix(mixing, weights[6]), weights[7], weights[8])
    x = _max_pool(graph, x, 2)
    x = _conv_prelu(graph, x, _mix(mixing, weights[9]), weights[10], weights[11])
    x = _dense_prelu(graph, x, weights[12], weights[13], weights[14], height=3, width=3)
    kernel = np.concatenate([weights[15], _logit(weights[19]), weights[17]], -1)
    bias = np.concatenate([weights[16], _logit(weights[20]), weights[18]])
    _dense(graph, x, kernel, bias, output="output")
    return graph.model("onet", ["n", 3, O_NET_SIDE, O_NET_SIDE], ["n", O_NET_OUTPUTS])


def _normalising(kernel: Array, bias: Array) -> tuple[Array, Array]:
    """Fold (p - 127.5) / 128 into a convolution; exact because the first ones have no padding."""
    return kernel / 128.0, bias - kernel.astype(np.float64).sum((0, 1, 2)) * (127.5 / 128.0)


def _logit(two_classes: Array) -> Array:
    """(..., 2) weights of "no face" and "face" to the (..., 1) weights of their difference."""
    return two_classes[..., 1:] - two_classes[..., :1]


def _mix(mixing: Array, kernel: Array) -> Array:
    """The kernel that takes the channels before the mixing: (h, w, in, out) to (h, w, mixed in, out)."""
    mixed: Array = np.einsum("hwco,mc->hwmo", kernel.astype(np.float64), mixing)
    return mixed


def _same_padding(size: int) -> list[int]:
    """TensorFlow's "same" padding for a pooling of 3 with stride 2: the odd pixel goes to the end."""
    total = max((-(-size // 2) - 1) * 2 + 3 - size, 0)
    before = total // 2
    return [before, before, total - before, total - before]


def _conv(graph: OnnxGraph, x: str, kernel: Array, bias: Array, output: str = "") -> str:
    """A convolution without padding; `kernel` is (h, w, in, out) as Keras has it."""
    w, b = graph.constant(kernel.transpose(3, 2, 0, 1)), graph.constant(bias)
    return graph.node("Conv", x, w, b, output=output, kernel_shape=kernel.shape[:2])


def _max_pool(graph: OnnxGraph, x: str, side: int, **attributes: Any) -> str:
    return graph.node("MaxPool", x, kernel_shape=(side, side), strides=(2, 2), **attributes)


def _relu_plus(graph: OnnxGraph, x: str, factors: Array) -> str:
    """relu(x) + factor x, per channel."""
    kernel = graph.constant(factors.reshape(-1, 1, 1, 1))
    linear = graph.node("Conv", x, kernel, kernel_shape=(1, 1), group=int(factors.size))
    return graph.node("Add", linear, graph.node("Relu", x))


def _maximum(graph: OnnxGraph, x: str, a: Array, b: Array) -> str:
    """max(a x, b x), per channel of a map."""
    products = [graph.node("Mul", x, graph.constant(factors.reshape(-1, 1, 1))) for factors in (a, b)]
    return graph.node("Max", *products)


def _conv_prelu(graph: OnnxGraph, x: str, kernel: Array, bias: Array, slopes: Array) -> str:
    """A convolution and PReLU of slopes below 1: with v = (1 - a) x it is relu(v) + v a / (1 - a)."""
    slopes = slopes.reshape(-1).astype(np.float64)
    if (slopes >= 1).any():
        raise ValueError("this layer's slopes must be below 1; use _conv_prelu_mixed")
    v = _conv(graph, x, kernel * (1 - slopes), bias * (1 - slopes))
    return _relu_plus(graph, v, slopes / (1 - slopes))


def _conv_prelu_mixed(graph: OnnxGraph, x: str, kernel: Array, bias: Array, slopes: Array) -> tuple[str, Array]:
    """A convolution and PReLU of any slopes; returns channels and the matrix that mixes them into PReLU's.

    A slope a >= 1 has no form relu(v) + d v that is increasing, as the pooling that follows needs.
    Such a channel becomes two increasing ones, relu(x) + a x and relu(x), and PReLU is the first
    minus a times the second; the mixing matrix (emitted, wanted) goes into the next kernel by `_mix`.
    Zero channels fill the last block.
    """
    slopes = slopes.reshape(-1).astype(np.float64)
    kernel, bias = kernel.astype(np.float64), bias.astype(np.float64)
    steep = np.flatnonzero(slopes >= 1)
    gains = np.where(slopes >= 1, 1.0, 1 - slopes)
    padding = -(slopes.size + steep.size) % _CHANNEL_BLOCK

    kernel = np.concatenate([kernel * gains, kernel[..., steep]], -1)
    kernel = np.pad(kernel, [(0, 0), (0, 0), (0, 0), (0, padding)])
    bias = np.pad(np.concatenate([bias * gains, bias[steep]]), (0, padding))
    factors = np.pad(slopes / gains, (0, steep.size + padding))
    mixing = np.zeros((bias.size, slopes.size))
    mixing[np.arange(slopes.size), np.arange(slopes.size)] = 1
    mixing[slopes.size + np.arange(steep.size), steep] = -slopes[steep]
    return _relu_plus(graph, _conv(graph, x, kernel, bias), factors), mixing


def _dense(graph: OnnxGraph, x: str, kernel: Array, bias: Array, output: str = "") -> str:
    return graph.node("Gemm", x, graph.constant(kernel), graph.constant(bias), output=output)


def _dense_prelu(graph: OnnxGraph, x: str, kernel: Array, bias: Array, slopes: Array, height: int, width: int) -> str:
    """A dense layer and PReLU after flattening; the reference flattens (width, height, channel)."""
    channels = kernel.shape[0] // (height * width)
    kernel = kernel.reshape(width, height, channels, -1).transpose(2, 1, 0, 3)
    kernel = kernel.reshape(channels * height * width, -1)
    x = _dense(graph, graph.node("Flatten", x, axis=1), kernel, bias)
    return graph.node("PRelu", x, graph.constant(slopes.reshape(-1)))
