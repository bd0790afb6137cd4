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

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facet.detector.mtcnn_models import O_NET_OUTPUTS, O_NET_SIDE, P_NET_OUTPUTS, R_NET_OUTPUTS, R_NET_SIDE
from tools.models.onnx_writer import OnnxGraph
from tools.models.weights import load_weights

_CHANNEL_BLOCK = 16  # float32 lanes of the widest blocked layout (AVX-512)

Array = NDArray[Any]


def p_net(interleaved: bool = False) -> bytes:
    """P-Net: (1, 3, h, w) to (1, 5, (h - 1) // 2 - 4, (w - 1) // 2 - 4); h and w are at least 12.

    The input may be `interleaved`, as in `p_net_features`.
    """
    weights = load_weights("pnet")
    graph = OnnxGraph()
    features = p_net_features(graph, weights, interleaved=interleaved)
    x = _conv_prelu(graph, features, weights[6], weights[7], weights[8])
    _conv(graph, x, *_p_net_head(weights), output="output")
    outputs: list[int | str] = [1, P_NET_OUTPUTS, "rows", "columns"]
    return graph.model("pnet", [1, 1 if interleaved else 3, "height", "width"], output=("float32", outputs))


def p_net_features(
    graph: OnnxGraph, weights: Sequence[Array], steps: Array | float = 1.0, interleaved: bool = False
) -> str:
    """P-Net up to its last 3x3 convolution: 16 channels for each cell and its neighbours, in units of `steps`.

    The input is (1, 3, h, w) or, `interleaved`, (1, 1, h, 3 w): the three colours of a pixel beside each other.
    """
    kernel, bias = _normalising(weights[0], weights[1])
    slopes = weights[2].reshape(-1)
    # The first activation would run on the largest map, so it is done after the pooling, on a quarter
    # of it. A PReLU of slope >= 0 is increasing and commutes with the maximum. One of slope a < 0 is
    # max(x, a x): the convolution emits both, in lanes that the block has free.
    falling, rising = np.flatnonzero(slopes < 0), np.flatnonzero(slopes >= 0)
    kernel = np.concatenate([kernel[..., falling], kernel[..., falling] * slopes[falling], kernel[..., rising]], -1)
    bias = np.concatenate([bias[falling], bias[falling] * slopes[falling], bias[rising]])
    strides = (1, 1)
    if interleaved:
        kernel, strides = _interleave(kernel)
    x = _max_pool(graph, _conv(graph, "input", kernel, bias, strides=strides), 2, ceil_mode=1)
    sizes = graph.constant(np.array([falling.size, falling.size, rising.size]))
    plain, scaled, rest = graph.split_node("Split", x, sizes, outputs=3, axis=1)
    # One of a slope a > 1 is min(x, a x), here minus the maximum; the next convolution turns its sign.
    signs, rising_slopes = np.where(slopes[rising] > 1, -1.0, 1.0), slopes[rising]
    rest = _maximum(graph, rest, signs, signs * rising_slopes)
    x = graph.node("Concat", graph.node("Max", plain, scaled), rest, axis=1)

    kernel = np.concatenate([weights[3][:, :, falling], weights[3][:, :, rising] * signs[:, None]], 2)
    return _conv_prelu(graph, x, kernel / steps, weights[4] / steps, weights[5])


def p_net_tail(weights: Sequence[Array], steps: Array) -> bytes:
    """P-Net after `p_net_features`, for n cells: (n, 144), their 3x3 features of 16 channels, to (n, 5)."""
    graph = OnnxGraph()
    x = _dense(graph, "input", (weights[6] * steps[:, None]).reshape(-1, weights[7].size), weights[7])
    x = max_prelu(graph, x, weights[8].reshape(-1))
    kernel, bias = _p_net_head(weights)
    _dense(graph, x, kernel[0, 0], bias, output="output")
    return graph.model("pnet-tail", ["n", 9 * steps.size], output=("float32", ["n", P_NET_OUTPUTS]))


def r_net() -> bytes:
    """R-Net: (n, 3, 24, 24) to (n, 5)."""
    weights = load_weights("rnet")
    graph = OnnxGraph()
    _r_net_rest(graph, r_net_features(graph, weights), weights, r_net_mixing(weights))
    return graph.model("rnet", ["n", 3, R_NET_SIDE, R_NET_SIDE], output=("float32", ["n", R_NET_OUTPUTS]))


def r_net_features(
    graph: OnnxGraph, weights: Sequence[Array], steps: Array | float = 1.0, interleaved: bool = False
) -> str:
    """R-Net up to its first pooling: (n, 32, 11, 11), in units of `steps`; the input as in `p_net_features`."""
    kernel, bias = _normalising(weights[0], weights[1])
    pads = _same_padding(22)
    return _conv_prelu_pool(graph, "input", kernel, bias, weights[2], steps, interleaved=interleaved, pads=pads)


def r_net_mixing(weights: Sequence[Array]) -> Array:
    """What makes the channels of R-Net's first layer of those of `r_net_features`: (32, 28)."""
    return _mixing(weights[2])


def r_net_tail(weights: Sequence[Array], steps: Array) -> bytes:
    """R-Net after `r_net_features`: (n, 11, 11, 32), the channels last, to (n, 5)."""
    graph = OnnxGraph()
    x = graph.node("Transpose", "input", perm=(0, 3, 1, 2))
    _r_net_rest(graph, x, weights, r_net_mixing(weights) * steps[:, None])
    return graph.model("rnet-tail", ["n", 11, 11, steps.size], output=("float32", ["n", R_NET_OUTPUTS]))


def _r_net_rest(graph: OnnxGraph, x: str, weights: Sequence[Array], mixing: Array) -> None:
    x = _conv_prelu_pool(graph, x, mix(mixing, weights[3]), weights[4], weights[5])
    x = _conv_prelu(graph, x, mix(_mixing(weights[5]), weights[6]), weights[7], weights[8])
    x = _flat_dense_prelu(graph, x, weights[9], weights[10], weights[11], height=3, width=3)
    kernel = np.concatenate([weights[12], logit(weights[14])], -1)
    _dense(graph, x, kernel, np.concatenate([weights[13], logit(weights[15])]), output="output")


def o_net(interleaved: bool = False) -> bytes:
    """O-Net: (n, 3, 48, 48) or, `interleaved`, (n, 1, 48, 144) to (n, 15)."""
    weights = load_weights("onet")
    graph = OnnxGraph()
    kernel, bias = _normalising(weights[0], weights[1])
    x = _conv_prelu_pool(graph, "input", kernel, bias, weights[2], interleaved=interleaved, pads=_same_padding(46))
    x = _conv_prelu_pool(graph, x, mix(_mixing(weights[2]), weights[3]), weights[4], weights[5])
    x = _conv_prelu_pool(graph, x, mix(_mixing(weights[5]), weights[6]), weights[7], weights[8], side=2)
    x = _conv_prelu(graph, x, mix(_mixing(weights[8]), weights[9]), weights[10], weights[11])
    x = _flat_dense_prelu(graph, x, weights[12], weights[13], weights[14], height=3, width=3)
    kernel = np.concatenate([weights[15], logit(weights[19]), weights[17]], -1)
    bias = np.concatenate([weights[16], logit(weights[20]), weights[18]])
    _dense(graph, x, kernel, bias, output="output")
    pixels = [1, O_NET_SIDE, 3 * O_NET_SIDE] if interleaved else [3, O_NET_SIDE, O_NET_SIDE]
    return graph.model("onet", ["n", *pixels], output=("float32", ["n", O_NET_OUTPUTS]))


def _normalising(kernel: Array, bias: Array) -> tuple[Array, Array]:
    """Fold (p - 127.5) / 128 into a convolution; exact because the first ones have no padding."""
    return kernel / 128.0, bias - kernel.astype(np.float64).sum((0, 1, 2)) * (127.5 / 128.0)


def _p_net_head(weights: Sequence[Array]) -> tuple[Array, Array]:
    """Kernel (1, 1, 32, 5) and bias of P-Net's two outputs together."""
    kernel = np.concatenate([weights[9], logit(weights[11])], -1)
    return kernel, np.concatenate([weights[10], logit(weights[12])])


def logit(two_classes: Array) -> Array:
    """(..., 2) weights of "no face" and "face" to the (..., 1) weights of their difference."""
    return two_classes[..., 1:] - two_classes[..., :1]


def mix(mixing: Array, kernel: Array) -> Array:
    """The kernel that takes the channels before the mixing: (h, w, in, out) to (h, w, mixed in, out)."""
    mixed: Array = np.einsum("hwco,mc->hwmo", kernel.astype(np.float64), mixing)
    return mixed


def _same_padding(size: int) -> list[int]:
    """TensorFlow's "same" padding for a pooling of 3 with stride 2: the odd pixel goes to the end."""
    total = max((-(-size // 2) - 1) * 2 + 3 - size, 0)
    before = total // 2
    return [before, before, total - before, total - before]


def _conv(graph: OnnxGraph, x: str, kernel: Array, bias: Array, output: str = "", **attributes: Any) -> str:
    """A convolution without padding; `kernel` is (h, w, in, out) as Keras has it."""
    w, b = graph.constant(kernel.transpose(3, 2, 0, 1)), graph.constant(bias)
    return graph.node("Conv", x, w, b, output=output, kernel_shape=kernel.shape[:2], **attributes)


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
        raise ValueError("this layer's slopes must be below 1; use _conv_prelu_pool")
    v = _conv(graph, x, kernel * (1 - slopes), bias * (1 - slopes))
    return _relu_plus(graph, v, slopes / (1 - slopes))


def _conv_prelu_pool(
    graph: OnnxGraph,
    x: str,
    kernel: Array,
    bias: Array,
    slopes: Array,
    steps: Array | float = 1.0,
    side: int = 3,
    interleaved: bool = False,
    pads: Sequence[int] = (0, 0, 0, 0),
) -> str:
    """A convolution, PReLU of any slopes and a pooling: channels, in units of `steps`, that `_mixing` makes PReLU's of.

    PReLU of a slope from 0 to 1 is increasing, so that whole blocks of such channels are pooled before it, which
    leaves it a quarter of the work. A slope a >= 1 has no form relu(v) + d v; such a channel becomes two, relu(x) + a x
    and relu(x), and PReLU is the first minus a times the second. Zero channels fill the last block.
    """
    slopes = slopes.reshape(-1).astype(np.float64)
    early, late, steep, padding = _channels(slopes)
    gains = np.where(slopes >= 1, 1.0, 1 - slopes)
    factors = np.pad((slopes / gains)[np.concatenate([early, late])], (0, steep.size + padding))
    kernel = np.concatenate([(kernel * gains)[..., early], (kernel * gains)[..., late], kernel[..., steep]], -1)
    kernel = np.pad(kernel, [(0, 0), (0, 0), (0, 0), (0, padding)]) / steps
    bias = np.pad(np.concatenate([(bias * gains)[early], (bias * gains)[late], bias[steep]]), (0, padding)) / steps
    strides = (1, 1)
    if interleaved:
        kernel, strides = _interleave(kernel)
    parts = []
    if early.size:
        y = _conv(graph, x, kernel[..., : early.size], bias[: early.size], strides=strides)
        parts.append(_relu_plus(graph, _max_pool(graph, y, side, pads=pads), factors[: early.size]))
    if early.size < bias.size:
        y = _conv(graph, x, kernel[..., early.size :], bias[early.size :], strides=strides)
        parts.append(_max_pool(graph, _relu_plus(graph, y, factors[early.size :]), side, pads=pads))
    return graph.node("Concat", *parts, axis=1)


def _interleave(kernel: Array) -> tuple[Array, tuple[int, int]]:
    """The kernel and strides for a map whose channels lie beside each other along its rows, as a map of one channel."""
    height, width, channels, _ = kernel.shape
    return kernel.reshape(height, width * channels, 1, -1), (1, channels)


def _mixing(slopes: Array) -> Array:
    """The matrix from the channels of `_conv_prelu_pool` to PReLU's, (emitted, wanted), for `mix`."""
    slopes = slopes.reshape(-1)
    early, late, steep, padding = _channels(slopes)
    order = np.concatenate([early, late])
    mixing = np.zeros((order.size + steep.size + padding, slopes.size))
    mixing[np.arange(order.size), order] = 1
    mixing[order.size + np.arange(steep.size), steep] = -slopes[steep]
    return mixing


def _channels(slopes: Array) -> tuple[Array, Array, Array, int]:
    """How `_conv_prelu_pool` orders channels: pooled before PReLU, after it, those twice, and how many zeros follow."""
    rising = np.flatnonzero((slopes >= 0) & (slopes < 1))
    early = rising[: rising.size // _CHANNEL_BLOCK * _CHANNEL_BLOCK]
    late = np.setdiff1d(np.arange(slopes.size), early)
    steep = np.flatnonzero(slopes >= 1)
    return early, late, steep, -(late.size + steep.size) % _CHANNEL_BLOCK


def _dense(graph: OnnxGraph, x: str, kernel: Array, bias: Array, output: str = "") -> str:
    return graph.node("Gemm", x, graph.constant(kernel), graph.constant(bias), output=output)


def _flat_dense_prelu(
    graph: OnnxGraph, x: str, kernel: Array, bias: Array, slopes: Array, height: int, width: int
) -> str:
    """A dense layer and PReLU after flattening; the reference flattens (width, height, channel)."""
    channels = kernel.shape[0] // (height * width)
    kernel = kernel.reshape(width, height, channels, -1).transpose(2, 1, 0, 3)
    kernel = kernel.reshape(channels * height * width, -1)
    return max_prelu(graph, _dense(graph, graph.node("Flatten", x, axis=1), kernel, bias), slopes.reshape(-1))


def max_prelu(graph: OnnxGraph, x: str, slopes: Array) -> str:
    """PReLU of slopes up to 1 as max(x, a x), which takes ONNX Runtime half as long as its PRelu."""
    return graph.node("Max", x, graph.node("Mul", x, graph.constant(slopes)))
