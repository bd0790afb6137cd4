"""Upload the annotated pictures, and with that end the images."""

import re
from collections.abc import Sequence

from prefect import task
from prefect.artifacts import create_image_artifact, create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from facet.access.signed_links import Links
from facet.annotations import Annotation
from facet.errors import Unavailable
from facet.jobs import ImageJob, Jobs
from facet.pictures.run_cache import Pictures
from facet.storage import ObjectStore
from facet.work.claims import Claims
from tasks.each_image import IO_THREADS, TRANSIENT_RETRIES, all_images, each_image
from tasks.for_show import for_show


@task(name="upload", task_run_name="upload", cache_policy=NO_CACHE, **TRANSIENT_RETRIES)
def upload(jobs: Jobs, pictures: Pictures, objects: ObjectStore, claims: Claims, links: Links) -> Jobs:
    """Store each annotated picture, then make the new results the ones that are read."""

    def store(job: ImageJob) -> ImageJob:
        if job.annotation is not Annotation.NONE:
            objects.put(job.annotated_key, pictures.annotated(job), "image/jpeg")
        return job

    def complete(live: list[ImageJob]) -> list[ImageJob]:
        completion = claims.complete(live)
        unread = [job.annotated_key for job in live if job.image_id in completion.lost]
        for key in [*unread, *completion.replaced]:
            try:
                objects.delete(key)
            except Unavailable as error:  # the images have ended all the same
                get_run_logger().warning("The object %s is left to maintenance: %s", key, error)
        return [job.with_changes(lost=job.image_id in completion.lost) for job in live]

    stored = each_image("upload", jobs, store, threads=IO_THREADS)
    done = all_images("complete", stored, complete)
    with for_show():
        _show([job for job in done if job.live and job.annotation is not Annotation.NONE], links)
    return done


def _show(jobs: Sequence[ImageJob], links: Links) -> None:
    """Make one artifact of the pictures, however many: a picture by itself, several as a page."""
    if not jobs:
        return
    captions = [f"Image {job.image_id} of request {job.request_id}: {job.outcome}" for job in jobs]
    urls = [links.annotated(job.image_id) for job in jobs]
    if len(jobs) == 1:
        create_image_artifact(image_url=urls[0], description=captions[0])
        return
    page = "\n\n".join(
        f"{_plain(caption)}\n\n![{job.image_id}]({url})" for job, caption, url in zip(jobs, captions, urls, strict=True)
    )
    create_markdown_artifact(markdown=page, description=f"The annotated pictures of {len(jobs)} images.")


def _plain(text: str) -> str:
    """Text of a sender's, with nothing in it that Markdown would understand."""
    return re.sub(r"([!-/:-@[-`{-~])", r"\\\1", text)
