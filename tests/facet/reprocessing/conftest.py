"""Reprocessings on real databases, without Prefect: what its flow would do is done here."""

from collections.abc import Callable, Sequence
from uuid import UUID, uuid4

import pytest

from facet.jobs import FoundFace, ImageJob
from facet.persistence.database import Database
from facet.persistence.models import Image
from facet.reprocessing.feeder import Feeder
from facet.reprocessing.reprocessings import Reprocessings
from facet.settings import Settings
from facet.work.claims import Claims

FACE = FoundFace(confidence=0.99, box=[1, 2, 3, 4], keypoints={"nose": [1, 1]})
NEW = "mtcnn 2"

Detect = Callable[..., list[ImageJob]]


@pytest.fixture
def reprocessings(database: Database) -> Reprocessings:
    return Reprocessings(database)


@pytest.fixture
def feeder(database: Database, settings: Settings) -> Feeder:
    """Its window is 16 images: twice two runs of four."""
    return Feeder(database, settings)


@pytest.fixture
def detect(claims: Claims) -> Detect:
    """Claim these images as a flow run does, and complete them with so many faces."""

    def detect(images: Sequence[Image | UUID], faces: int = 1, detector: str = "mtcnn 1") -> list[ImageJob]:
        ids = [image.id if isinstance(image, Image) else image for image in images]
        jobs = claims.open(ids, run_id=(run_id := uuid4()), flow_run_id=run_id, flow_run_name="run")
        jobs = [job.with_changes(faces=[FACE] * faces, detector=detector) for job in jobs]
        claims.store_faces(jobs)
        claims.complete(jobs)
        claims.close(run_id)
        return jobs

    return detect
