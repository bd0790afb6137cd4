"""Show or hide the faces."""

from collections.abc import Sequence

from prefect import task
from prefect.cache_policies import NO_CACHE

from facet.annotations import Annotation
from facet.jobs import ImageJob, Jobs
from facet.pictures.run_cache import Pictures
from tasks.each_image import TRANSIENT_RETRIES, each_image


@task(name="draw", task_run_name="draw", cache_policy=NO_CACHE, **TRANSIENT_RETRIES)
def draw(jobs: Jobs, pictures: Pictures) -> Jobs:
    """Draw the annotated pictures that `detect` has not drawn, or that were too large to keep."""
    return draw_each(jobs, pictures)


def draw_each(jobs: Sequence[ImageJob], pictures: Pictures) -> Jobs:
    """Draw the annotated picture of each live job that asks for one and has none in hand."""

    def work(job: ImageJob) -> ImageJob:
        if job.annotation is not Annotation.NONE:
            pictures.annotated(job)
        return job

    return each_image("draw", jobs, work)
