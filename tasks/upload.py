"""Upload the annotated pictures, and with that end the images."""

import time

from prefect import task
from prefect.artifacts import create_image_artifact
from prefect.cache_policies import NO_CACHE

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
    for job in done:
        if job.live and job.annotate:
            create_image_artifact(
                image_url=f"{services.settings.image_url(job.image_id)}/annotated",
                description=f"Image {job.image_id} of request {job.request_id}: {job.outcome}",
            )
    return done
