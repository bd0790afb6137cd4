"""The pictures to compare the engines on: the test photos, and some that are made here."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]

PHOTO_SETS = ("wider", "dlib", "mtcnn", "seed", "negatives")
SIZES = ((640, 480), (896, 624), (1280, 960), (1920, 1080), (4000, 3000))  # (width, height)
_EDGE_SIZES = ((1, 1), (11, 11), (12, 12), (13, 40), (17, 1), (2000, 14), (13, 1500), (3000, 60), (90, 2500))
_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp"}


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture of a set: a photo's file, or what `load` makes of the size in its name."""

    group: str
    name: str
    path: Path

    def load(self) -> Image:
        """Return RGB pixels, uint8 (height, width, 3)."""
        if self.group in PHOTO_SETS:
            return _read(self.path)
        if self.group == "size":
            width, height = (int(side) for side in self.name.split("x"))
            photo = _read(self.path)
            smaller = width * height < photo.shape[0] * photo.shape[1]
            method = cv2.INTER_AREA if smaller else cv2.INTER_CUBIC
            return np.asarray(cv2.resize(photo, (width, height), interpolation=method), np.uint8)
        kind, size = self.name.split(" ")
        width, height = (int(side) for side in size.split("x"))
        if kind == "black":
            return np.zeros((height, width, 3), np.uint8)
        if kind == "white":
            return np.full((height, width, 3), 255, np.uint8)
        return np.random.default_rng(width).integers(0, 256, (height, width, 3), np.uint8)


def data_folder(given: str | None) -> Path:
    """The folder of test photos: the one given, FACET_TEST_DATA, or the one beside the repository."""
    chosen = given or os.environ.get("FACET_TEST_DATA")
    folder = Path(chosen) if chosen else Path(__file__).parents[3] / "shared" / "data"
    if not (folder / "wider" / "labels.json").is_file():
        raise SystemExit(f"{folder} holds no test photos; name their folder with --data or FACET_TEST_DATA")
    return folder


def photos(folder: Path, group: str) -> list[Picture]:
    files = sorted(p for p in (folder / group).rglob("*") if p.suffix.lower() in _SUFFIXES)
    return [Picture(group, path.name, path) for path in files]


def made_pictures(folder: Path, largest: bool) -> Iterator[Picture]:
    """A photo of faces at each size, and pictures at the edge of what can be searched."""
    source = photos(folder, "seed")[0].path
    for width, height in SIZES if largest else SIZES[:-1]:
        yield Picture("size", f"{width}x{height}", source)
    for width, height in _EDGE_SIZES:
        yield Picture("edge", f"noise {width}x{height}", source)
    for kind in ("black", "white", "noise"):
        yield Picture("edge", f"{kind} 640x480", source)


def wider_labels(folder: Path) -> dict[str, dict[str, Any]]:
    entries = json.loads((folder / "wider" / "labels.json").read_text())
    return {entry["image"]: entry for entry in entries}


def _read(path: Path) -> Image:
    pixels = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
    if pixels is None:
        raise SystemExit(f"{path} cannot be decoded")
    return np.asarray(pixels, np.uint8)
