"""Trains the detector's screen of P-Net and writes `tools/models/p_net_screen.npz`; takes about ten minutes.

    python -m tools.train_screen [--data FOLDER]

The screen is to keep each cell whose logit reaches `P_NET_LEAST`, and few others. It learns from P-Net itself, on
photos and on copies of them that are brighter, noisier, blurred, grey, inverted and so on. Missing a cell costs far
more than keeping one too many, and the cells that come closest to being missed are shown most. A quarter of the
photos is held back, and the report says how near to its cut the screen comes on those.
"""

import argparse
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import onnxruntime
from numpy.typing import NDArray

from benchmarks.detector.pictures import Image, data_folder, photos
from facet.detector.area_resize import AreaResizer
from facet.detector.mtcnn_boxes import pyramid_scales
from facet.detector.mtcnn_models import P_NET_LEAST
from tools.models.graphs import p_net, p_net_features
from tools.models.onnx_writer import OnnxGraph
from tools.models.screen_steps import P_NET_FEATURES, P_NET_FEATURES_ZERO
from tools.models.screens import LearnedScreen
from tools.models.weights import load_weights

_HIDDEN = 16  # as many as one vector of the convolution holds
_COPIES = 9
_STEPS, _ROUNDS, _BATCH = 20_000, 10, 2048
_EXCEPTIONS, _MARGIN = 1 / 200_000, 0.4
"""The cut is so far below the scores of all cells to keep but this part, which only strangely altered photos have."""

Floats = NDArray[np.float32]
Indices = NDArray[np.intp]


class Cells:
    """Cells' neighbourhoods of features, units (n, 144), with P-Net's logits, (n,), and whether they are held back."""

    def __init__(self, units: NDArray[np.uint8], logits: Floats, held_back: NDArray[np.bool_]) -> None:
        self.units, self.logits, self.held_back = units, logits, held_back

    def inputs(self, which: Indices) -> Floats:
        steps = np.tile(P_NET_FEATURES, 9).astype(np.float32)
        values: Floats = (self.units[which].astype(np.float32) - P_NET_FEATURES_ZERO) * steps
        return values


class Network:
    """144 features, `_HIDDEN` ReLUs and one score, trained with Adam."""

    def __init__(self, rng: np.random.Generator) -> None:
        shapes: tuple[tuple[int, ...], ...] = ((9 * P_NET_FEATURES.size, _HIDDEN), (_HIDDEN,), (_HIDDEN,), (1,))
        bounds = (shapes[0][0] ** -0.5,) * 2 + (_HIDDEN**-0.5,) * 2
        self.weights = [rng.uniform(-b, b, s).astype(np.float32) for b, s in zip(bounds, shapes, strict=True)]
        self._means = [np.zeros_like(w) for w in self.weights]
        self._squares = [np.zeros_like(w) for w in self.weights]
        self._steps = 0

    def hidden(self, inputs: Floats) -> Floats:
        values: Floats = np.maximum(inputs @ self.weights[0] + self.weights[1], 0)
        return values

    def scores(self, cells: Cells, which: Indices) -> Floats:
        parts = np.array_split(which, which.size // 100_000 + 1)
        return np.concatenate([self.hidden(cells.inputs(p)) @ self.weights[2] + self.weights[3] for p in parts])

    def train(self, inputs: Floats, logits: Floats, rate: float) -> None:
        hidden = self.hidden(inputs)
        slope = _loss_slope(hidden @ self.weights[2] + self.weights[3], logits) / np.float32(logits.size)
        back = slope[:, None] * self.weights[2] * (hidden > 0)
        self._update([inputs.T @ back, back.sum(0), slope @ hidden, slope.sum(keepdims=True)], rate)

    def _update(self, gradients: list[NDArray[Any]], rate: float) -> None:
        self._steps += 1
        for weight, mean, square, gradient in zip(self.weights, self._means, self._squares, gradients, strict=True):
            mean += 0.1 * (gradient - mean)
            square += 0.001 * (gradient**2 - square)
            unbiased = mean / (1 - 0.9**self._steps), square / (1 - 0.999**self._steps)
            weight -= rate * unbiased[0] / (np.sqrt(unbiased[1]) + 1e-8)


def _loss_slope(scores: Floats, logits: Floats) -> Floats:
    """The derivative of the loss: too low a score of what must be kept costs most, what is clearly no face least."""
    off = np.clip(logits, -4, 3) - scores
    low, high = np.maximum(off, 0), np.maximum(-off, 0)
    must = logits > P_NET_LEAST - 0.6
    slope: Floats = np.minimum(high, 6) - must * (40 * low + 20 * low**3) - 0.04 * low
    return slope


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", help="folder of test photos (default: FACET_TEST_DATA or ../shared/data)")
    folder = data_folder(parser.parse_args().data)
    rng = np.random.default_rng(0)
    pictures = [p.load() for group in ("wider", "negatives", "dlib") for p in photos(folder, group)]
    _learn(_collect(pictures, rng), rng).save()


def _learn(cells: Cells, rng: np.random.Generator) -> LearnedScreen:
    """Learn from three quarters of the photos, report on the others, and then learn from all."""
    network = Network(rng)
    keep = cells.logits >= P_NET_LEAST
    _train(network, cells, ~cells.held_back, rng)
    for name, shown in (("learned from", ~cells.held_back), ("held back", cells.held_back)):
        _report(f"photos {name}", network, cells, np.flatnonzero(shown & keep))
    _train(network, cells, np.ones_like(keep), rng)
    scores = _report("all photos, all learned from", network, cells, np.flatnonzero(keep))
    kernel, bias, head, last = network.weights
    cut = scores[int(scores.size * _EXCEPTIONS)] - _MARGIN
    print(f"the cut is {cut:.2f}; {np.searchsorted(scores, cut)} of the cells to keep are below it")
    everything = np.array_split(np.arange(keep.size), 50)
    largest = np.max([network.hidden(cells.inputs(part)).max(0) for part in everything], 0)
    kernel = kernel.reshape(3, 3, P_NET_FEATURES.size, _HIDDEN)
    return LearnedScreen(kernel, bias, head, largest / 254, float(cut - last[0]))


def _report(name: str, network: Network, cells: Cells, keep: Indices) -> Floats:
    """Print the least scores of cells to keep; returns all of them, sorted."""
    scores = np.sort(network.scores(cells, keep))
    least = ", ".join(f"{score:.2f}" for score in scores[[0, 1, 2, 5, 10, 100]])
    print(f"{name}: {scores.size} cells to keep; the least score, the 2nd, 3rd, 6th, 11th, 101st: {least}", flush=True)
    return scores


def _train(network: Network, cells: Cells, shown: NDArray[np.bool_], rng: np.random.Generator) -> None:
    pools = [np.flatnonzero(shown & kind) for kind in _kinds(cells.logits)]
    hardest = pools[0]
    for step in range(_STEPS):
        if step and step % (_STEPS // _ROUNDS) == 0:
            short = np.minimum(cells.logits[pools[0]], 3) - network.scores(cells, pools[0])
            hardest = pools[0][np.argsort(-short)[: pools[0].size // 20]]
        drawn = [(pools[0], _BATCH), (hardest, _BATCH // 2), (pools[1], _BATCH), (pools[2], 2 * _BATCH)]
        which = np.concatenate([rng.choice(pool, count) for pool, count in drawn])
        rate = 0.0015 * (1 + np.cos(np.pi * step / _STEPS))
        network.train(cells.inputs(which), cells.logits[which], rate)


def _collect(pictures: list[Image], rng: np.random.Generator) -> Cells:
    """Cells of all pictures and of copies of each; of those that must be kept many, of the others some."""
    features, exact = _session(_features()), _session(p_net(interleaved=True))
    scratch = np.empty(1 << 27, np.uint8)
    units, logits, held_back = [], [], []
    for index, picture in enumerate(pictures):
        for copy in range(_COPIES + 1):
            image = _varied(picture, rng) if copy else picture
            for strip in _levels(image, scratch):
                wanted = exact.run(["output"], {"input": strip})[0][0, 4]
                found = _pick(wanted.reshape(-1), rng, 1.0 if copy == 0 else 0.4)
                (steps,) = features.run(["features"], {"input": strip})
                unit = np.clip(np.rint(steps[0]) + P_NET_FEATURES_ZERO, 0, 255).astype(np.uint8)
                rows, columns = np.divmod(found, wanted.shape[1])
                around = np.lib.stride_tricks.sliding_window_view(unit, (3, 3), (0, 1))[rows, columns]
                units.append(around.transpose(0, 2, 3, 1).reshape(found.size, -1))
                logits.append(wanted.reshape(-1)[found])
                held_back.append(np.full(found.size, index % 4 == 3))
    return Cells(np.concatenate(units), np.concatenate(logits), np.concatenate(held_back))


def _kinds(logits: Floats) -> tuple[NDArray[np.bool_], ...]:
    """Which cells are to keep, which come near to it, and which are neither."""
    keep = logits >= P_NET_LEAST
    near = ~keep & (logits > -1)
    return keep, near, ~keep & ~near


def _pick(logits: Floats, rng: np.random.Generator, share: float) -> Indices:
    picked = []
    for kind, of_80_000 in zip(_kinds(logits), (2500, 800, 1000), strict=True):
        found = np.flatnonzero(kind)
        picked.append(rng.permutation(found)[: 8 + int(share * of_80_000 * logits.size / 80_000)])
    return np.concatenate(picked)


def _levels(image: Image, scratch: NDArray[np.uint8]) -> Iterator[Floats]:
    height, width = image.shape[:2]
    resizer = AreaResizer(image, scratch)
    for scale in pyramid_scales(height, width, 20, 0.709).tolist():
        level = resizer.resize(int(height * scale), int(width * scale))
        yield level.reshape(1, 1, len(level), -1)


def _varied(image: Image, rng: np.random.Generator) -> Image:
    """A copy as other cameras, lights and editors might have made it."""

    def chance(share: float) -> bool:
        return bool(rng.random() < share)

    if chance(0.4):
        factor = rng.uniform(0.6, 1.5)
        method = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
        image = np.asarray(cv2.resize(image, None, fx=factor, fy=factor, interpolation=method), np.uint8)
    pixels: Any = image.astype(np.float32)
    if chance(0.5):
        pixels = pixels[:, ::-1]
    if chance(0.5):
        pixels = 255 * (pixels / 255) ** np.exp(rng.uniform(-0.8, 0.8))
    if chance(0.5):
        pixels = (pixels - 128) * rng.uniform(0.3, 1.8) + 128 + rng.uniform(-40, 40)
    if chance(0.3):
        pixels = pixels * rng.uniform(0.6, 1.3, 3)
    colours = rng.random()
    if colours < 0.12:
        pixels = np.repeat(pixels.mean(2, keepdims=True), 3, 2)
    elif colours < 0.2:
        pixels = 255 - pixels
    elif colours < 0.25:
        pixels = pixels[..., ::-1]
    sharpness = rng.random()
    if sharpness < 0.35:
        pixels = np.ascontiguousarray(pixels, np.float32)
        blurred = cv2.GaussianBlur(pixels, (0, 0), rng.uniform(0.5, 2))
        pixels = blurred if sharpness < 0.2 else pixels + (pixels - blurred) * rng.uniform(0.5, 2)
    if chance(0.3):
        pixels = pixels + rng.normal(0, rng.uniform(2, 20), pixels.shape)
    result = np.clip(np.round(pixels), 0, 255).astype(np.uint8)
    if chance(0.25):
        _, coded = cv2.imencode(".jpg", result, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(15, 60))])
        result = np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), np.uint8)
    return np.ascontiguousarray(result)


def _features() -> bytes:
    graph = OnnxGraph()
    x = p_net_features(graph, load_weights("pnet"), P_NET_FEATURES, interleaved=True)
    graph.node("Transpose", x, output="features", perm=(0, 2, 3, 1))
    shape: list[int | str] = [1, "feature rows", "feature columns", P_NET_FEATURES.size]
    return graph.model("features", [1, 1, "height", "width"], features=("float32", shape))


def _session(model: bytes) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])


if __name__ == "__main__":
    main()
