"""How a task handles the images of a batch: one image's trouble is never its neighbours'."""

import time
from collections.abc import Callable, Sequence
from typing import Any

from prefect.client.schemas.objects import State, TaskRun
from prefect.logging import get_run_logger
from prefect.runtime import task_run
from prefect.tasks import Task, exponential_backoff

from facet.claims import LostClaim
from facet.errors import ImageError, ObjectNotFound, Unavailable
from facet.jobs import Failure, ImageJob

RETRIES = 3


def is_transient(task: "Task[..., Any]", run: TaskRun, state: State[Any]) -> bool:
    """Retry only what may go better next time."""
    return isinstance(state.result(raise_on_failure=False), Unavailable)


TRANSIENT_RETRIES: dict[str, Any] = {
    "retries": RETRIES,
    "retry_delay_seconds": exponential_backoff(backoff_factor=1),
    "retry_jitter_factor": 0.5,
    "retry_condition_fn": is_transient,
}


def each_image(step: str, jobs: Sequence[ImageJob], work: Callable[[ImageJob], ImageJob]) -> list[ImageJob]:
    """Do `work` for every live job. What cannot be done is noted in the job; what is transient raises Unavailable.

    Prefect then tries the task again, and all of it is safe to repeat; the last try sets the image back instead.
    """
    done, trouble = [], None
    for job in jobs:
        if not job.live:
            done.append(job)
            continue
        begun = time.perf_counter()
        try:
            result = work(job)
        except Unavailable as error:
            if task_run.run_count <= RETRIES:
                trouble = error
            result = job.with_changes(setback=Failure(code="unavailable", reason=str(error)))
        except Exception as error:
            result = note(job, error)
        done.append(result.with_changes(timings=result.timings | {step: seconds_since(begun)}))
    if trouble:
        raise trouble
    return done


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
        return job.with_changes(failure=Failure(code="object-missing", reason="The stored picture is gone."))
    get_run_logger().exception("Image %s met an unexpected error", job.image_id)
    return job.with_changes(failure=Failure(code="error", reason=f"Unexpected {type(error).__name__}: {error}"))
