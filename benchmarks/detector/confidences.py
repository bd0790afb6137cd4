"""What `min_confidence` costs and saves, on WIDER FACE's labels.

    python -m benchmarks.detector.confidences [--data FOLDER]

A face's confidence depends on no other face, so each photo is searched once and its boxes are filtered.
"""

import argparse
from collections.abc import Sequence

import numpy as np

from benchmarks.detector.accuracy import LEVELS, average_precisions, precision_and_recall, recall_by_size
from benchmarks.detector.engines import Rows
from benchmarks.detector.pictures import data_folder, photos, wider_labels
from facet.detector import DetectionParameters, create_detector

CONFIDENCES = (0.6, 0.7, 0.8, 0.85, 0.9, 0.94, 0.97, 0.99, 0.999)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", help="folder of test photos (default: FACET_TEST_DATA or ../shared/data)")
    folder = data_folder(parser.parse_args(arguments).data)
    labels = wider_labels(folder)
    detector = create_detector("mtcnn", threads=1)
    first, second, _ = DetectionParameters().thresholds
    parameters = DetectionParameters(thresholds=(first, second, min(CONFIDENCES)))
    found: dict[str, Rows] = {}
    for picture in photos(folder, "wider"):
        faces = detector.detect([picture.load()], [parameters])[0]
        rows = [[x, y, x + w, y + h, face.confidence] for face in faces for x, y, w, h in (face.box,)]
        found[picture.name] = np.array(rows, np.float64).reshape(-1, 5)
    print(f"{len(found)} photos, IoU 0.5", *(f"AP {level}" for level in LEVELS), sep="  ", end="")
    print("  precision  recall  recall from 40 px  boxes")
    for confidence in CONFIDENCES:
        kept = {name: rows[rows[:, 4] > confidence] for name, rows in found.items()}
        precision, recall = precision_and_recall(kept, labels)
        faces_found = [(count, count * part) for count, part in recall_by_size(kept, labels)[2:]]
        large = sum(right for _, right in faces_found) / sum(count for count, _ in faces_found)
        aps = "".join(f"{ap:9.3f}" for ap in average_precisions(kept, labels))
        boxes = sum(len(rows) for rows in kept.values())
        print(f"  {confidence:<20g}{aps}{precision:11.3f}{recall:8.3f}{large:19.3f}{boxes:7d}")


if __name__ == "__main__":
    main()
