"""A network's file that is missing or damaged is refused, with what was expected and what was found."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from facet.detector import create_detector, mtcnn_models
from facet.detector.mtcnn_models import MANIFEST, MODELS, ModelError, read_manifest, read_model

NAMES = [Path(name).stem for name in read_manifest().files]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(MODELS, tmp_path / "models"))


def test_each_file_is_read_whole() -> None:
    for name in NAMES:
        assert read_model(name) == (MODELS / f"{name}.onnx").read_bytes()


@pytest.mark.parametrize("name", NAMES)
def test_a_damaged_file_is_refused(folder: Path, name: str) -> None:
    path = folder / f"{name}.onnx"
    whole = path.read_bytes()
    for damaged in (b"", whole[:-1], whole[:100] + bytes([whole[100] ^ 1]) + whole[101:]):
        path.write_bytes(damaged)
        with pytest.raises(ModelError) as caught:
            read_model(name, folder)
        assert str(caught.value) == (
            f"{path}: expected {len(whole)} bytes with the SHA-256 {hashlib.sha256(whole).hexdigest()}, "
            f"found {len(damaged)} bytes with {hashlib.sha256(damaged).hexdigest()}; install Facet anew"
        )


def test_a_missing_file_is_refused(folder: Path) -> None:
    (folder / "o_net.onnx").unlink()
    with pytest.raises(ModelError, match=r"o_net\.onnx: expected 1558804 bytes .*, found no file to read .*; install"):
        read_model("o_net", folder)


def test_a_file_that_the_manifest_does_not_name_is_refused(folder: Path) -> None:
    (folder / "other.onnx").write_bytes(b"other")
    with pytest.raises(ModelError, match=r"other\.onnx: expected to find it in manifest\.json, found p_net_screen"):
        read_model("other", folder)


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"weights": "", "files": []}', '{"weights": "", "files": {"o_net.onnx": {}}}', "\x00"]
)
def test_a_damaged_manifest_is_refused(folder: Path, content: str) -> None:
    (folder / MANIFEST).write_text(content)
    with pytest.raises(ModelError, match=r"manifest\.json: expected the networks' manifest, found something else"):
        read_model("o_net", folder)


def test_a_missing_manifest_is_refused(folder: Path) -> None:
    (folder / MANIFEST).unlink()
    with pytest.raises(ModelError, match=r"manifest\.json: expected the networks' manifest, found no file to read"):
        read_manifest(folder)


@pytest.mark.parametrize(
    ("engine", "needs"),
    [
        ("mtcnn", {"p_net_screen", "p_net_tail", "p_net", "r_net_screen", "r_net_tail", "o_net"}),
        ("mtcnn-opencv", {"p_net_planar", "r_net_planar", "o_net_planar"}),
    ],
)
def test_an_engine_reads_all_that_it_may_need_at_its_start(
    folder: Path, monkeypatch: pytest.MonkeyPatch, engine: str, needs: set[str]
) -> None:
    """P-Net without a screen too, which only low thresholds need."""
    monkeypatch.setattr(mtcnn_models, "MODELS", folder)
    create_detector(engine)
    for name in NAMES:
        whole = (folder / f"{name}.onnx").read_bytes()
        (folder / f"{name}.onnx").unlink()
        if name in needs:
            with pytest.raises(ModelError, match=rf"{name}\.onnx: expected"):
                create_detector(engine)
        else:
            create_detector(engine)
        (folder / f"{name}.onnx").write_bytes(whole)


@pytest.mark.parametrize("engine", ["mtcnn", "mtcnn-opencv"])
def test_the_version_names_the_weights(folder: Path, monkeypatch: pytest.MonkeyPatch, engine: str) -> None:
    assert create_detector(engine).version == f"1+{read_manifest().weights}"
    manifest = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps({**manifest, "weights": "0123456789ab"}))
    monkeypatch.setattr(mtcnn_models, "MODELS", folder)
    assert create_detector(engine).version == "1+0123456789ab"
