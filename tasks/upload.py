"""Upload the annotated pictures, and with that end the images."""

from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.actions import ArtifactCreate
from prefect.context import SyncClientContext
from prefect.runtime import flow_run, task_run

from facet.jobs import ImageJob
from facet.pictures import Pictures
from facet.services import Services
from tasks.each_image import IO_THREADS, TRANSIENT_RETRIES, all_images, each_image


@task(name="upload", task_run_name="upload", cache_policy=NO_CACHE, **TRANSIENT_RETRIES)
def upload(jobs: list[ImageJob], pictures: Pictures, services: Services) -> list[ImageJob]:
    """Store each annotated picture, then make the new results the ones that are read."""

    def store(job: ImageJob) -> ImageJob:
        if job.annotate:
            services.store.put(job.annotated_key, pictures.annotated(job), "image/jpeg")
        return job

    def complete(live: list[ImageJob]) -> list[ImageJob]:
        completion = services.claims.complete(live)
        for job in live:
            if job.image_id in completion.lost:
                services.store.delete(job.annotated_key)
        for key in completion.replaced:
            services.store.delete(key)
        return [job.with_changes(lost=job.image_id in completion.lost) for job in live]

    stored = each_image("upload", jobs, store, threads=IO_THREADS)
    done = all_images("complete", stored, complete)
    _show([job for job in done if job.live and job.annotate], services)
    return done


def _show(jobs: list[ImageJob], services: Services) -> None:
    """Make the image artifacts over one connection each thread; `create_image_artifact` would open one for each."""
    flow_run_id, task_run_id = UUID(flow_run.id), UUID(task_run.id)

    def show(job: ImageJob) -> None:
        context.client.create_artifact(
            ArtifactCreate(
                type="image",
                data=f"{services.settings.image_url(job.image_id)}/annotated",
                description=f"Image {job.image_id} of request {job.request_id}: {job.outcome}",
                flow_run_id=flow_run_id,
                task_run_id=task_run_id,
            )
        )

    with SyncClientContext.get_or_create() as context, ThreadPoolExecutor(IO_THREADS) as pool:
        list(pool.map(show, jobs))
