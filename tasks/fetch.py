"""Fetch the pictures: from the store, or for the first time from the URLs that their senders named."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from facet.jobs import Failure, ImageJob, Jobs
from facet.pictures.run_cache import Pictures
from facet.work.image_urls import ImageUrls, NotFetched
from tasks.each_image import IO_THREADS, TRANSIENT_RETRIES, each_image


@task(name="fetch", task_run_name="fetch", cache_policy=NO_CACHE, **TRANSIENT_RETRIES)
def fetch(jobs: Jobs, pictures: Pictures, image_urls: ImageUrls) -> Jobs:
    """Bring the original files of all jobs into memory.

    A URL that does not answer sets its image back at once: the batch does not wait for a stranger's server.
    """

    def work(job: ImageJob) -> ImageJob:
        if job.image_url is None:
            pictures.original(job)
            return job
        try:
            job, data = image_urls.fetch(job)
        except NotFetched as error:
            return job.with_changes(retryable=Failure(code=error.code, reason=str(error)))
        pictures.keep_original(job, data)
        return job

    return each_image("fetch", jobs, work, threads=IO_THREADS)
