"""The files that a script beside the checkout writes, where it is there: each was once decoded wrongly, or refused."""

import subprocess
import sys
import tempfile
from pathlib import Path

from tests.hostile.cases import Case

_ROOT = Path(__file__).parents[2]
_SCRIPT = _ROOT.parent / "shared" / "review" / "cases" / "faults.py"
_FACE, _SIZE = (120, 45, 84, 108), (400, 300)
"""Of the picture that most of its files hold."""
_SMALL = ("4-", "9-")
_REFUSED = {"2-": "camera's raw file", "8-": "damaged or cut short"}
_HUGE = "7-"


def written() -> list[Case]:
    """None where the script is not there."""
    if not _SCRIPT.exists():
        return []
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, _SCRIPT, folder], cwd=_ROOT, check=True, capture_output=True, timeout=300)
        return [_case(path) for path in sorted(Path(folder).rglob("*")) if path.is_file()]


def _case(path: Path) -> Case:
    kind, data = path.name[:2], path.read_bytes()
    if kind in _REFUSED:
        return Case(path.name, "faults", "reject", data, words=_REFUSED[kind])
    if kind == _HUGE:
        return Case(path.name, "faults", "decode", data, [[3480, 2580, 336, 432]], (8192, 6144))
    part = 0.6 if kind in _SMALL else 1
    face = [round(value * part) for value in _FACE]
    return Case(path.name, "faults", "decode", data, [face], (round(_SIZE[0] * part), round(_SIZE[1] * part)))
