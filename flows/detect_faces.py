"""The main flow: find the faces of one or many images."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from prefect import flow
from prefect.artifacts import create_table_artifact
from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext
from prefect.exceptions import TerminationSignal
from prefect.logging import get_run_logger
from prefect.states import Completed, Failed

from deployments.prefect.flow_runs import get_dispatcher
from facet.errors import Unavailable
from facet.jobs import Failure, Jobs
from facet.pictures.run_cache import Pictures
from facet.services import Services, get_services
from facet.work.claims import LostClaim
from tasks.callback import callback
from tasks.detect import detect
from tasks.draw import draw
from tasks.fetch import fetch
from tasks.for_show import for_show
from tasks.persist import persist
from tasks.upload import upload

_ASK_SECONDS = 1.0


@flow(name="detect-faces", persist_result=False)
def detect_faces(image_ids: list[UUID]) -> State[None]:
    """Find the faces of these images, store and draw them, and call the senders back.

    One image's failure never fails its neighbours. A run with a failed image ends Failed, so that it stands out;
    retrying it redoes only what is not done.
    """
    services = get_services()
    context = FlowRunContext.get()
    assert context and context.flow_run
    flow_run = context.flow_run
    run_id = _run_id(flow_run.idempotency_key, flow_run.id)
    jobs = services.claims.open(image_ids, run_id=run_id, flow_run_id=flow_run.id, flow_run_name=flow_run.name)
    with _handed_back(run_id, services), services.claims.leased(run_id), _retried_later(run_id, jobs, services):
        pictures = Pictures(services.store, services.decoder, min_side=services.settings.max_side)
        jobs = fetch(jobs, pictures, services.image_urls)
        max_side = services.settings.max_side
        jobs = detect(jobs, pictures, services.detector, services.claims, run_id, max_side=max_side)
        jobs = persist(jobs, services.claims)
        jobs = draw(jobs, pictures)
        jobs = upload(jobs, pictures, services.store, services.claims, services.links)
        _end_the_rest(jobs, services)
        called_back = callback(image_ids, services.deliveries, return_state=True)
    _dispatch_next(services)
    _report(image_ids, jobs, services)
    unsuccessful = [job for job in jobs if job.failure or job.retryable]
    if unsuccessful:
        return Failed(message=f"{len(unsuccessful)} of {len(jobs)} image(s) failed: {unsuccessful[0].outcome}")
    if not called_back.is_completed():
        return Failed(message=called_back.message)
    return Completed(message=", ".join(job.outcome for job in jobs) if len(jobs) <= 3 else f"{len(jobs)} images")


def _run_id(idempotency_key: str | None, flow_run_id: UUID) -> UUID:
    """The dispatcher's batch; a flow run that someone started by hand is its own."""
    try:
        return UUID(idempotency_key or "")
    except ValueError:
        return flow_run_id


@contextmanager
def _handed_back(run_id: UUID, services: Services) -> Iterator[None]:
    """A worker that is ended ends its runs by SIGTERM, for another to take up; that is no image's fault."""
    try:
        yield
    except TerminationSignal:
        try:
            services.claims.hand_back(run_id)
        except Unavailable as error:
            get_run_logger().warning("The run is not handed back, and its lease will end: %s", error)
        raise


@contextmanager
def _retried_later(run_id: UUID, jobs: Jobs, services: Services) -> Iterator[None]:
    """Where the database does not answer for longer than a task tries, wait for it: no image is to blame.

    A run that ended here without a word would have its images charged an attempt, as one that crashed.
    """
    try:
        yield
    except Unavailable as error:
        outage = Failure(code=error.code, reason=str(error))
        until = time.monotonic() + services.settings.run_seconds
        while time.monotonic() < until:
            try:
                services.claims.retry_all_later(jobs, outage)
                services.claims.close(run_id)
                break
            except Unavailable as still:
                get_run_logger().warning("The images go back to the queue when it answers: %s", still)
                time.sleep(_ASK_SECONDS)
        raise


def _end_the_rest(jobs: Jobs, services: Services) -> None:
    for job in jobs:
        try:
            if job.failure:
                services.claims.fail(job, job.failure)
            elif job.retryable:
                services.claims.retry_later(job, job.retryable)
            elif job.yielded:
                services.claims.release(job)
        except LostClaim:
            continue


def _dispatch_next(services: Services) -> None:
    """This run's slot is free: let what waits have it at once, rather than at a dispatcher's next tick."""
    try:
        get_dispatcher(services).dispatch()
    except Unavailable as error:
        get_run_logger().warning("The dispatchers' timers go on: %s", error)


def _report(image_ids: list[UUID], jobs: Jobs, services: Services) -> None:
    log = get_run_logger()
    by_id = {job.image_id: job for job in jobs}
    rows = []
    for image_id in image_ids:
        job = by_id.get(image_id)
        outcome = job.outcome if job else "nothing to do"
        log.info("Image %s of request %s: %s", image_id, job.request_id if job else "-", outcome)
        rows.append(
            {
                "image": f"[{image_id}]({services.settings.image_url(image_id)})",
                "request": job.request_id if job else "",
                "size": f"{job.width} × {job.height}" if job else "",
                "outcome": outcome,
                "detect (s)": job.timings.get("detect", "") if job else "",
            }
        )
    with for_show():
        create_table_artifact(table=rows, description="What became of each image of this run.")
