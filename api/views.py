"""Rows as answers."""

from api import schemas
from deployments.flow_runs import ui_url
from facet.models import Face, Image
from facet.settings import Settings


def links(image: Image, settings: Settings) -> schemas.Links:
    url = settings.image_url(image.id)
    return schemas.Links(
        self=url,
        original=f"{url}/original",
        annotated=f"{url}/annotated" if image.annotate else None,
        flow_run=f"{url}/flow-run",
    )


def accepted(image: Image, settings: Settings) -> schemas.Accepted:
    return schemas.Accepted(id=image.id, request_id=image.request_id, status=image.status, links=links(image, settings))


def full(image: Image, settings: Settings) -> schemas.Image:
    run, delivery = image.run, image.deliveries[-1] if image.deliveries else None
    return schemas.Image(
        id=image.id,
        request_id=image.request_id,
        status=image.status,
        failure=schemas.Failure(code=image.failure_code, reason=image.failure_reason or "")
        if image.failure_code
        else None,
        created_at=image.created_at,
        finished_at=image.finished_at,
        filename=image.filename,
        media_type=image.media_type,
        size_bytes=image.size_bytes,
        width=image.width,
        height=image.height,
        min_confidence=image.min_confidence,
        min_face_size=image.min_face_size,
        annotate=image.annotate,
        faces=[_face(face, image) for face in image.faces],
        detector=image.detector,
        timings=image.timings,
        flow_run=schemas.FlowRun(id=run.flow_run_id, name=run.flow_run_name, url=ui_url(run.flow_run_id, settings))
        if run and run.flow_run_id
        else None,
        callback=schemas.Callback(
            id=delivery.id,
            url=delivery.url,
            state=delivery.state,
            attempts=[schemas.Attempt.model_validate(attempt) for attempt in delivery.attempts],
        )
        if delivery
        else None,
        links=links(image, settings),
    )


def _face(face: Face, image: Image) -> schemas.Face:
    x, y, width, height = face.box
    return schemas.Face(
        id=face.id,
        confidence=face.confidence,
        box=face.box,
        box_normalized=[x / image.width, y / image.height, width / image.width, height / image.height],
        keypoints=face.keypoints,
    )
