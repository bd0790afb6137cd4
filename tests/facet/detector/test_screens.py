"""The 8-bit screens leave out nothing that the exact networks let through, and most of the rest."""

from collections.abc import Callable

import cv2
import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from facet.detector import Detector
from facet.detector.mtcnn_cascade import Cascade, Networks
from facet.detector.mtcnn_models import P_NET_LEAST, read_model
from facet.detector.mtcnn_screened import R_NET_MARGIN, ScreenedPNet, ScreenedRNet

Float32 = NDArray[np.float32]
Image = NDArray[np.uint8]


def _blocks(side: int) -> Float32:
    """Black and white squares: sharper than any photo, so that sums leave the 8 bits' range."""
    squares = np.random.default_rng(side).integers(0, 2, (120 // side, 180 // side, 1)) * np.full(3, 255.0)
    return np.asarray(np.kron(squares, np.ones((side, side, 1))), np.float32)


@pytest.fixture(scope="module")
def networks(mtcnn: Detector) -> Networks:
    assert isinstance(mtcnn, Cascade)
    return mtcnn._networks


@pytest.fixture(scope="module")
def pictures(photos: list[Image], crowd: Image) -> list[Float32]:
    small = [cv2.resize(photo, None, fx=0.4, fy=0.4, interpolation=cv2.INTER_AREA) for photo in [*photos, crowd]]
    noise = np.random.default_rng(1).integers(0, 256, (80, 100, 3))
    face = small[0]
    made = [
        face // 3,
        255 - face,
        face[::-1],
        cv2.GaussianBlur(face, (0, 0), 2),
        face.mean(2, keepdims=True).repeat(3, 2),
    ]
    made += [noise, np.zeros((50, 60, 3)), np.full((12, 12, 3), 255), _blocks(4), _blocks(6), _blocks(12)]
    return [np.ascontiguousarray(picture, np.float32) for picture in [*small, *made]]


@pytest.mark.parametrize("least", [-2.0, 0.4, 3.0])
def test_p_net_screen_loses_no_cell(networks: Networks, pictures: list[Float32], least: float) -> None:
    exact = _exact(read_model("p_net_planar"))
    found = 0
    for picture in pictures:
        cells, scores = networks.p_net(picture, least)
        expected = exact(picture.transpose(2, 0, 1)[None])[0].reshape(5, -1).T

        assert np.allclose(scores, expected[cells], atol=1e-4)
        assert set(np.flatnonzero(expected[:, 4] >= least)) <= set(cells)
        assert (np.diff(cells) > 0).all()
        found += int((expected[:, 4] >= least).sum())
    assert found > 20


@pytest.mark.parametrize("least", [-2.0, 0.8, 3.0])
def test_r_net_screen_loses_no_crop(networks: Networks, pictures: list[Float32], least: float) -> None:
    crops = _crops(pictures)
    scores = networks.r_net(crops, least)
    expected = _exact(read_model("r_net_planar"))(crops.transpose(0, 3, 1, 2))

    reached = expected[:, 4] >= least
    assert reached.sum() > 3
    assert np.allclose(scores[reached], expected[reached], atol=1e-3)
    assert (scores[~reached, 4] < least).all()


@pytest.mark.parametrize(("name", "share"), [("p_net", 0.1), ("r_net", 0.5)])
def test_a_screen_leaves_little_of_a_photo(
    networks: Networks, photos: list[Image], monkeypatch: pytest.MonkeyPatch, name: str, share: float
) -> None:
    network, photo = getattr(networks, name), np.asarray(photos[0], np.float32)
    inputs, count = (photo, _cells(photo)) if name == "p_net" else (_crops([photo]), len(_crops([photo])))
    tail, computed = network._tail, []
    monkeypatch.setattr(network, "_tail", lambda inputs: computed.append(len(inputs)) or tail(inputs))

    network(inputs, P_NET_LEAST)

    assert 0 < sum(computed) < share * count


@pytest.mark.parametrize("contrast", [1, 2, 3])
@pytest.mark.parametrize("side", [3, 4, 6, 12])
def test_sharp_edges_lose_no_cell_and_cells_whose_units_saturate_are_kept(
    networks: Networks, side: int, contrast: int
) -> None:
    """Beyond the 8 bits' range the screen knows nothing, so that what it says there must not count."""
    assert isinstance(networks.p_net, ScreenedPNet)
    sharp = contrast * (_blocks(side) - 127.5) + 127.5
    _, units, hidden, _ = networks.p_net._screen(sharp.reshape(1, 1, len(sharp), -1))
    around = np.lib.stride_tricks.sliding_window_view(units[0], (3, 3), (0, 1))
    saturated = ((around == 0) | (around == 255)).any((2, 3, 4)) | (hidden[0] == 255).any(-1)
    reached = _exact(read_model("p_net_planar"))(sharp.transpose(2, 0, 1)[None])[0, 4] >= P_NET_LEAST
    cells, _ = networks.p_net(sharp, P_NET_LEAST)
    assert set(np.flatnonzero(saturated | reached)) <= set(cells)


@pytest.mark.parametrize("contrast", [1, 2, 3])
@pytest.mark.parametrize("side", [3, 4, 6, 12])
def test_an_estimate_beyond_the_margin_is_never_trusted(networks: Networks, side: int, contrast: int) -> None:
    """Units that saturate make the estimates wrong; nothing but that is computed for a logit that none can reach."""
    assert isinstance(networks.r_net, ScreenedRNet)
    sharp = contrast * (_blocks(side) - 127.5) + 127.5
    crops = _crops([sharp])
    exact = _exact(read_model("r_net_planar"))(crops.transpose(0, 3, 1, 2))[:, 4]
    estimate = networks.r_net._screen(crops.reshape(-1, 1, 24, 72))[-1][:, 0]
    trusted = np.isneginf(networks.r_net(crops, 1e9)[:, 4])
    assert ((exact - estimate)[trusted] < R_NET_MARGIN).all()


def _cells(picture: Float32) -> int:
    height, width = picture.shape[:2]
    return ((height - 1) // 2 - 4) * ((width - 1) // 2 - 4)


def _crops(pictures: list[Float32]) -> Float32:
    """Every picture's squares of 24 pixels, side by side."""
    crops = [
        picture[top : top + 24, left : left + 24]
        for picture in pictures
        for top in range(0, picture.shape[0] - 23, 12)
        for left in range(0, picture.shape[1] - 23, 12)
    ]
    return np.stack(crops)


def _exact(model: bytes) -> Callable[[NDArray[np.generic]], Float32]:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])

    def run(inputs: NDArray[np.generic]) -> Float32:
        outputs: list[Float32] = session.run(None, {"input": np.ascontiguousarray(inputs, np.float32)})
        return outputs[0]

    return run
