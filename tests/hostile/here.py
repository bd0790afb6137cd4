"""What becomes of a file, judged in this process: the same checks, decoder and detector, with no stack around them."""

import time

from api.problems import of_image
from facet.detector.base import DetectionParameters, Detector
from facet.errors import ImageError
from facet.pictures.codec import check, decode
from facet.settings import Settings
from tests.hostile.cases import Case, Outcome

_MAX_PIXELS, _MAX_SIDE = Settings.model_fields["max_image_pixels"].default, 65_535


def judged(case: Case, detector: Detector) -> Outcome:
    """Only in a picture with a known face are faces looked for."""
    begun = time.monotonic()
    try:
        header = check(case.data, max_pixels=_MAX_PIXELS, max_side=_MAX_SIDE)
        pixels = decode(case.data, max_pixels=_MAX_PIXELS, max_side=_MAX_SIDE)
    except ImageError as error:
        problem = of_image(error)
        return Outcome(case, problem.status, problem.code, None, time.monotonic() - begun, problem.detail)
    faces = detector.detect([pixels], [DetectionParameters(max_side=1024)])[0] if case.faces else []
    assert pixels.shape == (header.height, header.width, 3), case.name
    image = {
        "status": "completed",
        "width": header.width,
        "height": header.height,
        "faces": [{"box": list(face.box)} for face in faces if face.confidence > 0.94],
    }
    return Outcome(case, 202, None, image, time.monotonic() - begun)
