"""What tests of the API share: images worked on as a flow run does, and what each problem must be."""

from typing import Any
from uuid import UUID, uuid4

from facet.jobs import FoundFace, ImageJob
from facet.services import Services

FACE = FoundFace(confidence=0.9991, box=[128, 64, 256, 128], keypoints={"nose": [200, 100]})


def claim(services: Services, image_id: str) -> ImageJob:
    """Claim the image as its flow run would."""
    [job] = services.claims.open([UUID(image_id)], run_id=uuid4(), flow_run_id=uuid4(), flow_run_name="a run")
    return job


def complete(services: Services, image_id: str, *, annotated: bool = True) -> None:
    job = claim(services, image_id).with_changes(faces=[FACE], detector="test 1")
    services.claims.store_faces([job])
    if annotated:
        services.store.put(job.annotated_key, b"\xff\xd8drawn", "image/jpeg")
    services.claims.complete([job])


def assert_problem(answer: Any, status: int, code: str, field: str | None = None) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    assert (problem["status"], problem["code"]) == (status, code)
    assert problem["title"] and problem["detail"]
    if field:
        assert [error["field"] for error in problem["errors"]] == [field]
        assert problem["errors"][0]["fix"]
    return problem
