"""MTCNN's networks: the ONNX files in `models`, and what must be known of them to use them.

`models/README.md` is their model card. `make models` builds them; here they are only read.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

P_NET_OUTPUTS = R_NET_OUTPUTS = 5
"""Four box regressions and the logit."""

O_NET_OUTPUTS = 15
"""Those five, and then five x and five y of the keypoints."""

R_NET_SIDE, O_NET_SIDE = 24, 48
"""Sides, in pixels, of the square crops that R-Net and O-Net take."""

P_NET_LEAST = 0.4
"""P-Net's screen keeps what reaches this logit, a little less than the default threshold's."""

MODELS = Path(__file__).with_name("models")

MANIFEST = "manifest.json"
"""Names the files with their sizes in bytes and their SHA-256, and the weights that they were built from."""

_FIX = "install Facet anew"


class ModelError(RuntimeError):
    """A network's file is missing, or is not the one that belongs to this version of Facet."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """`weights` is twelve hexadecimal digits that change with the weights that the networks were built from; `files`
    holds the size, in bytes, and the SHA-256 of each file by its name.
    """

    weights: str
    files: dict[str, tuple[int, str]]


def read_manifest(folder: Path | None = None) -> Manifest:
    """Return what belongs into the folder, which is `MODELS` by default.

    Raises ModelError, with what was expected and what was found, where its manifest is missing or damaged.
    """
    path = (folder or MODELS) / MANIFEST
    expected = f"{path}: expected the networks' manifest"
    try:
        content = json.loads(path.read_bytes())
        files = {name: (int(file["bytes"]), str(file["sha256"])) for name, file in content["files"].items()}
        return Manifest(str(content["weights"]), files)
    except OSError as error:
        raise ModelError(f"{expected}, found no file to read ({error.strerror}); {_FIX}") from error
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ModelError(f"{expected}, found something else ({error!r}); {_FIX}") from error


def read_model(name: str, folder: Path | None = None) -> bytes:
    """Return the ONNX file of one network, such as "o_net", once it is proved to be what the manifest expects.

    The folder is `MODELS` by default. Raises ModelError, with what was expected and what was found, where a file is
    missing or damaged.
    """
    path = (folder or MODELS) / f"{name}.onnx"
    files = read_manifest(folder).files
    if path.name not in files:
        raise ModelError(f"{path}: expected to find it in {MANIFEST}, found {', '.join(files) or 'nothing'}; {_FIX}")
    size, digest = files[path.name]
    expected = f"expected {size} bytes with the SHA-256 {digest}"
    try:
        model = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: {expected}, found no file to read ({error.strerror}); {_FIX}") from error
    found = hashlib.sha256(model).hexdigest()
    if found != digest:
        raise ModelError(f"{path}: {expected}, found {len(model)} bytes with {found}; {_FIX}")
    return model
