"""An image that takes its process down, in a batch with good ones."""

from pathlib import Path

from tests.support.images import picture
from tests.support.processes import wait_for
from tests.support.stack import new_stack, started


def test_a_poison_image_among_31_good_ones_fails_alone(tmp_path: Path) -> None:
    """The poison is a picture so large that detection exceeds the child's memory limit, which ends the child."""
    stack = new_stack(
        tmp_path / "home",
        FACET_CHILD_MEMORY_MB="600",
        FACET_MAX_BATCH="32",
        FACET_MAX_RUNS="1",
        FACET_MAX_ATTEMPTS="2",
        FACET_WORKER_SLOTS="1",
    )
    good, poison = picture(), picture(9_000, 5_500)
    with started(stack):
        with stack.prefect_away():
            stack.submit(good, request_id="first")  # takes the only slot, so that the rest wait together
            ids = [
                stack.submit(poison if n == 13 else good, request_id=f"r-{n}", min_face_size="10")["id"]
                for n in range(32)
            ]
        wait_for(lambda: stack.image(ids[13])["status"] == "failed", 120, "the poison image is given up")
        images = [stack.finished(image_id) for image_id in ids]
    assert [image["status"] for image in images].count("completed") == 31
    failure = images[13]["failure"]
    assert failure["code"] == "crashed" and "Given up after 2 attempts" in failure["reason"]
