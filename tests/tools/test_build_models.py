"""The networks' files are what the tool builds, and the model card tells the truth about them."""

import re
from pathlib import Path

import onnxruntime
import pytest

from facet.detector.mtcnn_models import MODELS, read_manifest, read_model
from tools import build_models

CARD = MODELS / "README.md"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "new"
    build_models.main(["--out", str(folder)])
    return folder


def test_the_tool_builds_the_very_files_that_are_shipped(built: Path) -> None:
    names = sorted(path.name for path in MODELS.iterdir() if path.suffix in {".onnx", ".json"})
    assert sorted(path.name for path in built.iterdir()) == names
    assert len(names) == 10
    different = [name for name in names if (built / name).read_bytes() != (MODELS / name).read_bytes()]
    assert different == []


def test_the_tool_prints_the_rows_of_the_cards_table(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    build_models.main(["--out", str(tmp_path)])
    printed = capsys.readouterr().out.splitlines()
    assert printed == re.findall(r"^\| `\w+\.onnx` \| [\d,]+ \| `[0-9a-f]{64}` \|$", CARD.read_text(), re.MULTILINE)


def test_the_card_tells_the_inputs_and_outputs() -> None:
    rows = re.findall(r"^\| `(\w+\.onnx)` \| (input: .+) \| (.+) \|$", CARD.read_text(), re.MULTILINE)
    assert rows == [(name, *_ends(name)) for name in read_manifest().files]


def _ends(name: str) -> tuple[str, str]:
    session = onnxruntime.InferenceSession(read_model(Path(name).stem), providers=["CPUExecutionProvider"])

    def said(tensors: list[onnxruntime.NodeArg]) -> str:
        return "; ".join(f"{t.name}: {t.type[7:-1]} [{', '.join(map(str, t.shape))}]" for t in tensors)

    return said(session.get_inputs()), said(session.get_outputs())


def test_the_card_says_what_each_file_is() -> None:
    told = CARD.read_text().split("## The networks")[1].split("MTCNN is a cascade")[0]
    assert re.findall(r"`(\w+\.onnx)`", told) == list(read_manifest().files)
