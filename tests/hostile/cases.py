"""What is sent, what should become of it, and what did."""

import json
from dataclasses import dataclass
from pathlib import Path

_SAME = 0.6
Box = list[int]
FOLDER = Path(__file__).parents[3] / "shared" / "data" / "hostile"


@dataclass(frozen=True, slots=True)
class Case:
    """A file; `expect` is decode, reject or no-crash, and `faces` are boxes [x, y, width, height] where known.

    `size`, width and height, is that of the upright picture; `words` are part of what a refused one's sender reads.
    """

    name: str
    category: str
    expect: str
    data: bytes
    faces: list[Box] | None = None
    size: tuple[int, int] | None = None
    words: str | None = None


@dataclass(frozen=True, slots=True)
class _Faces:
    missed: list[Box]
    more: list[Box]


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
    def wrong(self) -> str | None:
        """What is wrong with it, if anything is."""
        if self.status >= 500 or self.status not in (202, 413, 415, 422):
            return f"answered {self.status}"
        taken = self.status == 202
        if taken and self.image and self.image["status"] != "completed":
            return f"ended {self.image['status']}: {self.image['failure']}"
        if self.case.expect == "decode" and not taken:
            return f"refused: {self.problem}"
        if self.case.expect == "reject" and taken:
            return "taken"
        if not taken and self.case.words and self.case.words not in str(self.problem):
            return f"told {self.problem!r}, without {self.case.words!r}"
        if self._faces and self._faces.missed:
            return f"not found: {self._faces.missed}"
        return None

    @property
    def misplaced(self) -> str | None:
        """What lies elsewhere than in the upright picture, if it was taken: its edges, or a face that is known."""
        if self.image is None or self.image["status"] != "completed":
            return None
        size = (self.image["width"], self.image["height"])
        if self.case.size and size != self.case.size:
            return f"{size[0]} × {size[1]} pixels instead of {self.case.size[0]} × {self.case.size[1]}"
        if self._faces and self._faces.missed:
            return f"not at {self._faces.missed}, but at {self._faces.more}"
        return None

    @property
    def false_alarms(self) -> list[Box]:
        """Faces where none is: the detector's weights see some, and that is no matter of the file."""
        return self._faces.more if self._faces else []

    @property
    def _faces(self) -> "_Faces | None":
        if self.case.faces is None or self.image is None:
            return None
        return _compare(self.case.faces, [face["box"] for face in self.image["faces"]])


def listed() -> list[Case]:
    """The files of the folder, in the order of their list; none where it is not there."""
    if not (FOLDER / "expected.json").exists():
        return []
    entries = json.loads((FOLDER / "expected.json").read_text())
    return [
        Case(e["file"], e["category"], e["expect"], (FOLDER / e["file"]).read_bytes(), e.get("faces")) for e in entries
    ]


def _compare(expected: list[Box], found: list[Box]) -> _Faces:
    more, missed = list(found), []
    for box in expected:
        best = max(more, key=lambda other: overlap(box, other), default=None)
        if best is not None and overlap(box, best) >= _SAME:
            more.remove(best)
        else:
            missed.append(box)
    return _Faces(missed, more)


def overlap(a: Box, b: Box) -> float:
    """Intersection over union of two boxes [x, y, width, height]."""
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    inside = max(0, width) * max(0, height)
    return inside / (a[2] * a[3] + b[2] * b[3] - inside)
