"""What is made in Prefect for people to look at, and nothing depends on."""

from collections.abc import Iterator
from contextlib import contextmanager

from prefect.logging import get_run_logger


@contextmanager
def for_show() -> Iterator[None]:
    """An artifact that Prefect does not take, such as one of a run that was deleted, is logged and changes nothing."""
    try:
        yield
    except Exception as error:
        get_run_logger().warning("An artifact is not made: %s: %s", type(error).__name__, error)
