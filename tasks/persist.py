"""Store the faces."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from facet.jobs import ImageJob, Jobs
from facet.work.claims import Claims
from tasks.each_image import TRANSIENT_RETRIES, all_images


@task(name="persist-faces", task_run_name="persist faces", cache_policy=NO_CACHE, **TRANSIENT_RETRIES)
def persist(jobs: Jobs, claims: Claims) -> Jobs:
    """Replace each image's faces of this claim; what was its result before stays readable until `upload`."""

    def work(live: list[ImageJob]) -> list[ImageJob]:
        lost = claims.store_faces(live)
        return [job.with_changes(lost=job.image_id in lost) for job in live]

    return all_images("persist", jobs, work)
