"""How a task handles the images of a batch: one image's trouble is never its neighbours'."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from prefect.client.schemas.objects import State, TaskRun
from prefect.logging import get_run_logger
from prefect.runtime import task_run
from prefect.tasks import Task, exponential_backoff

from facet.errors import ImageError, ObjectNotFound, Unavailable
from facet.jobs import OBJECT_MISSING, Failure, ImageJob, Jobs
from facet.work.claims import LostClaim

RETRIES = 3
IO_THREADS = 4


def is_transient(task: "Task[..., Any]", run: TaskRun, state: State[Any]) -> bool:
    """Retry only what may go better next time."""
    return isinstance(state.result(raise_on_failure=False), Unavailable)


TRANSIENT_RETRIES: dict[str, Any] = {
    "retries": RETRIES,
    "retry_delay_seconds": exponential_backoff(backoff_factor=1),
    "retry_jitter_factor": 0.5,
    "retry_condition_fn": is_transient,
}


def each_image(step: str, jobs: Sequence[ImageJob], work: Callable[[ImageJob], ImageJob], *, threads: int = 1) -> Jobs:
    """Do `work` for every live job. What cannot be done is noted in the job; what is transient raises Unavailable.

    Prefect then tries the task again, and all of it is safe to repeat; the last try marks the image `retryable`.
    `threads` lets work that waits for others (store, database) overlap.
    """

    def attempt(job: ImageJob) -> tuple[ImageJob | Exception, float]:
        begun = time.perf_counter()
        try:
            return work(job), seconds_since(begun)
        except Exception as error:
            return error, seconds_since(begun)

    live = [job for job in jobs if job.live]
    if threads > 1 and len(live) > 1:
        with ThreadPoolExecutor(threads) as pool:
            attempts: Iterator[tuple[ImageJob | Exception, float]] = iter(list(pool.map(attempt, live)))
    else:
        attempts = map(attempt, live)
    done = Jobs()
    for job in jobs:
        if not job.live:
            done.append(job)
            continue
        result, seconds = next(attempts)
        if isinstance(result, Unavailable):
            if task_run.run_count <= RETRIES:
                raise result
            result = job.with_changes(retryable=Failure(code=result.code, reason=str(result)))
        elif isinstance(result, Exception):
            result = note(job, result)
        seconds = round(result.timings.get(step, 0) + seconds, 4)  # a step may go on in a later task
        done.append(result.with_changes(timings=result.timings | {step: seconds}))
    return done


def all_images(step: str, jobs: Sequence[ImageJob], work: Callable[[list[ImageJob]], list[ImageJob]]) -> Jobs:
    """Do `work` for all live jobs at once, in one transaction say; one by one if one of them makes that fail."""
    live = [job for job in jobs if job.live]
    begun = time.perf_counter()
    try:
        done = work(live) if live else []
    except Unavailable as error:
        if task_run.run_count <= RETRIES:
            raise
        done = [job.with_changes(retryable=Failure(code=error.code, reason=str(error))) for job in live]
    except Exception:
        return each_image(step, jobs, lambda job: work([job])[0])
    seconds = round(seconds_since(begun) / max(1, len(live)), 4)
    timed = (job.with_changes(timings=job.timings | {step: seconds}) for job in done)
    return Jobs(next(timed) if job.live else job for job in jobs)


def seconds_since(begun: float) -> float:
    """Seconds since this reading of `time.perf_counter`, as timings have them."""
    return round(time.perf_counter() - begun, 4)


def note(job: ImageJob, error: Exception) -> ImageJob:
    """The job with an error that no retry would mend."""
    if isinstance(error, LostClaim):
        return job.with_changes(lost=True)
    if isinstance(error, ImageError):
        return job.with_changes(failure=Failure(code=error.code, reason=str(error)))
    if isinstance(error, ObjectNotFound):
        return job.with_changes(failure=OBJECT_MISSING)
    get_run_logger().exception("Image %s met an unexpected error", job.image_id)
    return job.with_changes(failure=Failure(code="error", reason=f"Unexpected {type(error).__name__}: {error}"))
