"""What is sent, what should become of it, and what did."""

import json
from dataclasses import dataclass
from pathlib import Path

_SURE = 0.99
FOLDER = Path(__file__).parents[3] / "shared" / "data" / "hostile"


@dataclass(frozen=True, slots=True)
class Case:
    """A file; `expect` is decode, reject or no-crash, and `faces` are boxes [x, y, width, height] where known."""

    name: str
    category: str
    expect: str
    data: bytes
    faces: list[list[int]] | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """`status` of the API's answer and, where that is 202, of the image in the end."""

    case: Case
    status: int
    code: str | None
    image: dict | None  # type: ignore[type-arg]
    seconds: float
    problem: str | None = None

    @property
    def over_side(self) -> bool:
        """Whether it was refused for its side, which the service limits and the files' list does not know of."""
        return self.code == "too-large" and "a side" in (self.problem or "")

    @property
    def wrong(self) -> str | None:
        """What is wrong with it, if anything is."""
        if self.status >= 500 or self.status not in (202, 413, 415, 422):
            return f"answered {self.status}"
        taken = self.status == 202
        if taken and self.image and self.image["status"] != "completed":
            return f"ended {self.image['status']}: {self.image['failure']}"
        if self.case.expect == "decode" and not taken and not self.over_side:
            return f"refused: {self.problem}"
        if self.case.expect == "reject" and taken:
            return "taken"
        if self.case.faces is not None and self.image and not _same(self.case.faces, self.image["faces"]):
            return f"faces {[face['box'] for face in self.image['faces']]}, not {self.case.faces}"
        return None


def listed() -> list[Case]:
    """The files of the folder, in the order of their list; none where it is not there."""
    if not (FOLDER / "expected.json").exists():
        return []
    entries = json.loads((FOLDER / "expected.json").read_text())
    return [
        Case(e["file"], e["category"], e["expect"], (FOLDER / e["file"]).read_bytes(), e.get("faces")) for e in entries
    ]


def _same(expected: list[list[int]], found: list[dict]) -> bool:  # type: ignore[type-arg]
    """Each expected face is found, and no further one that the detector is sure of.

    Its weights see a face of 0.95 in the leaves of one landscape, and that is no matter of the file.
    """
    left = list(found)
    for box in expected:
        best = max(left, key=lambda face: overlap(box, face["box"]), default=None)
        if best is None or overlap(box, best["box"]) < 0.6:
            return False
        left.remove(best)
    return all(face["confidence"] < _SURE for face in left)


def overlap(a: list[int], b: list[int]) -> float:
    """Intersection over union of two boxes [x, y, width, height]."""
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    inside = max(0, width) * max(0, height)
    return inside / (a[2] * a[3] + b[2] * b[3] - inside)
