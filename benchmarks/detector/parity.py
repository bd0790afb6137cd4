"""Are the faces the reference's? Numbers are compared before any rounding."""

from dataclasses import dataclass, field

import numpy as np

from benchmarks.detector.engines import Answer, Engine, Image, Rows
from benchmarks.detector.pictures import Picture

BOX, KEYPOINT, CONFIDENCE = 1.0, 2.0, 1e-3
"""Tolerances: pixels, pixels and a difference of confidences."""

EXCUSED_BOX, EXCUSED_KEYPOINT, EXCUSED_CONFIDENCE, MOST_EXCUSED = 2.0, 2.0, 2e-3, 3
"""What a face may still be off by, and how many may, when the reference's own resize is the cause."""


@dataclass(slots=True)
class Parity:
    faces: int = 0
    bad: list[str] = field(default_factory=list)
    excused: list[str] = field(default_factory=list)
    raised: list[str] = field(default_factory=list)
    largest: Rows = field(default_factory=lambda: np.zeros(3))

    def compare(self, picture: Picture, image: Image, reference: Answer, facet: Answer, engine: Engine) -> None:
        """Take note of one picture's answers; `engine` is the reference's, to look for a cause."""
        where = f"{picture.group}/{picture.name}"
        if facet.error:
            self.bad.append(f"{where}: Facet raises {facet.error}")
            return
        if reference.error:
            self.raised.append(f"{where}: {reference.error}")
        self.faces += len(reference.rows)
        if len(reference.rows) != len(facet.rows):
            found = f"{len(facet.rows)} faces, the reference {len(reference.rows)}"
            # Every face too many or too few counts.
            self.bad += [f"{where}: {found}"] * abs(len(reference.rows) - len(facet.rows))
            return
        off = differences(reference.rows, facet.rows)
        self.largest = np.maximum(self.largest, off.max(0, initial=0.0))
        wrong = np.flatnonzero((off > (BOX, KEYPOINT, CONFIDENCE)).any(1))
        if not wrong.size:
            return
        exact: Answer = engine.ask("detect_with_exact_resize", image)
        agrees = np.zeros(len(off), bool)
        if len(exact.rows) == len(facet.rows):
            again = differences(exact.rows, facet.rows, order=reference.rows)
            agrees = np.all(again <= (BOX, KEYPOINT, CONFIDENCE), axis=1)
        for face in wrong:
            text = f"{where}, face {face}: " + "box {:.3f} px, keypoints {:.3f} px, confidence {:.1e}".format(
                *off[face]
            )
            small = (off[face] <= (EXCUSED_BOX, EXCUSED_KEYPOINT, EXCUSED_CONFIDENCE)).all()
            if agrees[face] and small and len(self.excused) < MOST_EXCUSED:
                self.excused.append(f"{text}; agrees when the reference resizes in float64")
            else:
                cause = "TensorFlow's resize" if agrees[face] else "unknown"
                self.bad.append(f"{text}; cause: {cause}")


def differences(reference: Rows, facet: Rows, order: Rows | None = None) -> Rows:
    """Largest differences (n, 3) of box, keypoints and confidence between each face and its nearest.

    The rows follow `order`, other results with the same faces, or else `reference`.
    """
    base = reference if order is None else order
    result = np.zeros((len(base), 3))
    for index, face in enumerate(base):
        a, b = _nearest(reference, face), _nearest(facet, face)
        off = np.abs(a - b)
        result[index] = off[:4].max(), off[5:].max(), off[4]
    return result


def _nearest(rows: Rows, face: Rows) -> Rows:
    nearest: Rows = rows[np.abs(rows[:, :4] - face[:4]).max(1).argmin()]
    return nearest
