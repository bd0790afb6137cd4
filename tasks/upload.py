"""Upload the annotated pictures, and with that end the images."""

import time
from uuid import UUID

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.actions import ArtifactCreate
from prefect.context import SyncClientContext
from prefect.runtime import flow_run, task_run

from facet.claims import LostClaim
from facet.jobs import ImageJob
from facet.pictures import Pictures
from facet.services import Services
from tasks.each_image import IO_THREADS, TRANSIENT_RETRIES, each_image, seconds_since


@task(name="upload", task_run_name="upload", cache_policy=NO_CACHE, **TRANSIENT_RETRIES)
def upload(jobs: list[ImageJob], pictures: Pictures, services: Services) -> list[ImageJob]:
    """Store each annotated picture, then make the new result the one that is read."""

    def work(job: ImageJob) -> ImageJob:
        if job.annotate:
            begun = time.perf_counter()
            services.store.put(job.annotated_key, pictures.annotated(job), "image/jpeg")
            job = job.with_changes(timings=job.timings | {"upload": seconds_since(begun)})
        try:
            former = services.claims.complete(job)
        except LostClaim:
            services.store.delete(job.annotated_key)
            raise
        if former:
            services.store.delete(former)
        return job

    done = each_image("upload", jobs, work, threads=IO_THREADS)
    _show([job for job in done if job.live and job.annotate], services)
    return done


def _show(jobs: list[ImageJob], services: Services) -> None:
    """Make the image artifacts over one connection; `create_image_artifact` would open one for each."""
    with SyncClientContext.get_or_create() as context:
        for job in jobs:
            context.client.create_artifact(
                ArtifactCreate(
                    type="image",
                    data=f"{services.settings.image_url(job.image_id)}/annotated",
                    description=f"Image {job.image_id} of request {job.request_id}: {job.outcome}",
                    flow_run_id=UUID(flow_run.id),
                    task_run_id=UUID(task_run.id),
                )
            )
