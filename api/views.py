"""Rows as answers."""

from api import schemas
from deployments.prefect.flow_runs import ui_url
from facet.annotations import Annotation
from facet.persistence.models import Delivery, DeliveryState, Face, Image, Run
from facet.principals import Principal
from facet.settings import Settings


def links(image: Image, settings: Settings) -> schemas.Links:
    url = settings.image_url(image.id)
    return schemas.Links(
        self=url,
        original=f"{url}/original",
        annotated=None if image.annotation is Annotation.NONE else f"{url}/annotated",
        flow_run=f"{url}/flow-run",
    )


def accepted(image: Image, settings: Settings) -> schemas.Accepted:
    return schemas.Accepted(id=image.id, request_id=image.request_id, status=image.status, links=links(image, settings))


def full(image: Image, settings: Settings, who: Principal) -> schemas.Image:
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
        image_url=image.image_url,
        media_type=image.media_type,
        size_bytes=image.size_bytes,
        width=image.width,
        height=image.height,
        min_confidence=image.min_confidence,
        min_face_size=image.min_face_size,
        annotate=image.annotation,
        faces=[_face(face, image) for face in image.faces],
        detector=image.detector,
        timings=image.timings,
        flow_run=schemas.FlowRun(id=run.flow_run_id, name=_run_name(run, who), url=ui_url(run.flow_run_id, settings))
        if run and run.flow_run_id
        else None,
        callback=schemas.Callback(
            id=delivery.id,
            url=delivery.url,
            state=delivery.state,
            attempts=_attempts(delivery),
        )
        if delivery
        else None,
        reprocessing_id=image.reprocessing_id,
        links=links(image, settings),
    )


def _run_name(run: Run, who: Principal) -> str | None:
    """A run is named after one of its images' requests, which may be another sender's."""
    return run.flow_run_name if who.sees_all or run.size == 1 else None


def delivery(row: Delivery) -> schemas.Delivery:
    return schemas.Delivery(
        id=row.id,
        image_id=row.image_id,
        url=row.url,
        state=row.state,
        reason=row.reason,
        created_at=row.created_at,
        finished_at=row.finished_at,
        next_attempt_at=row.due_at if row.state is DeliveryState.PENDING else None,
        attempts=_attempts(row),
    )


def full_delivery(row: Delivery) -> schemas.FullDelivery:
    return schemas.FullDelivery(**dict(delivery(row)), body=row.body)


def _attempts(row: Delivery) -> list[schemas.Attempt]:
    return [schemas.Attempt.model_validate(attempt) for attempt in row.attempts]


def _face(face: Face, image: Image) -> schemas.Face:
    x, y, width, height = face.box
    assert image.width and image.height, "an image with faces has been seen"
    return schemas.Face(
        id=face.id,
        confidence=face.confidence,
        box=face.box,
        box_normalized=[x / image.width, y / image.height, width / image.width, height / image.height],
        keypoints=face.keypoints,
    )
