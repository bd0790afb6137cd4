"""Fetch the stored pictures."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from facet.jobs import ImageJob, Jobs
from facet.pictures import Pictures
from tasks.each_image import IO_THREADS, TRANSIENT_RETRIES, each_image


@task(name="fetch", task_run_name="fetch", cache_policy=NO_CACHE, **TRANSIENT_RETRIES)
def fetch(jobs: Jobs, pictures: Pictures) -> Jobs:
    """Bring the original files of all jobs into memory."""

    def work(job: ImageJob) -> ImageJob:
        pictures.original(job)
        return job

    return each_image("fetch", jobs, work, threads=IO_THREADS)
