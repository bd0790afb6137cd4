"""Hostile files through the real stack, and what a stranger's server can do to a worker that fetches from it."""

from collections.abc import Iterator
from typing import Any

import pytest

from facet.detector import create_detector
from tests.hostile.cases import Outcome
from tests.hostile.here import judged
from tests.hostile.kinds import kinds
from tests.hostile.pictures import generated
from tests.hostile.run import MAX_CHILD_MB, MAX_SECONDS, SIDE, ChildMemory, every_case, send_all, summary
from tests.support import local_http
from tests.support.scripted import Script, answer, scripted
from tests.support.stack import Stack, new_stack, started

_MAX_BYTES = 2_000_000


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    stack = new_stack(
        tmp_path_factory.mktemp("stack") / "home",
        FACET_WORKER_SLOTS="1",
        FACET_MAX_ATTEMPTS="2",
        FACET_FETCH_TIMEOUT="2",
        FACET_MAX_IMAGE_BYTES=str(_MAX_BYTES),
        **SIDE,
    )
    with started(stack):
        yield stack


@pytest.fixture(scope="module")
def sample(stack: Stack, photo: bytes) -> list[Outcome]:
    """One file of each category, through the whole service."""
    small = [case for case in [*generated(photo), *kinds(photo)] if len(case.data) < _MAX_BYTES]
    cases = {case.category: case for case in reversed(small)}
    with ChildMemory(stack) as memory:
        outcomes = send_all(stack, list(cases.values()))
    figures = summary(outcomes, memory.megabytes)
    assert figures["max_seconds"] <= MAX_SECONDS, figures
    assert 0 < figures["max_child_mb"] <= MAX_CHILD_MB, figures
    return outcomes


def test_a_file_of_each_category_is_of_its_class_and_none_is_an_error_of_the_server(sample: list[Outcome]) -> None:
    assert {outcome.case.name: outcome.wrong for outcome in sample if outcome.wrong} == {}
    assert {outcome.case.name: outcome.misplaced for outcome in sample if outcome.misplaced} == {}


def test_each_file_is_of_its_class_and_has_its_face_where_it_is(photo: bytes) -> None:
    """Judged here, since a flow run for each would take minutes; `make test-hostile` sends all of them."""
    detector = create_detector("mtcnn", threads=1)
    outcomes = [judged(case, detector) for case in every_case(photo)]
    assert {outcome.case.name: outcome.wrong for outcome in outcomes if outcome.wrong} == {}
    assert {outcome.case.name: outcome.misplaced for outcome in outcomes if outcome.misplaced} == {}
    assert sum(outcome.status == 202 and bool(outcome.case.faces) for outcome in outcomes) > 80


def by_url(stack: Stack, url: str, **fields: Any) -> dict[str, Any]:
    body = {"image_url": url, "request_id": "by-url"} | fields
    accepted = local_http.post(f"{stack.url}/v1/images", json=body, timeout=30)
    assert accepted.status_code == 202, accepted.text
    return stack.finished(accepted.json()["id"], 120)


def test_an_image_is_fetched_once_and_stored_as_the_original(stack: Stack, photo: bytes) -> None:
    with scripted(answer(200, body=photo)) as server:
        image = by_url(stack, server.url)
        assert (image["status"], len(image["faces"]), image["image_url"]) == ("completed", 1, server.url)
        assert (image["media_type"], image["size_bytes"], image["width"]) == ("image/jpeg", len(photo), 512)
        original = local_http.get(image["links"]["original"])
        assert (original.content, original.headers["x-content-type-options"]) == (photo, "nosniff")
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("script", "code", "requests"),
    [
        (answer(404), "image-url-failed", 1),
        (answer(302, Location="http://127.0.0.1:9/"), "image-url-failed", 1),
        (answer(200, body=b"<html>"), "not-a-picture", 1),
        (answer(200, body=bytes(2_000_001)), "too-large", 1),
        (answer(503), "image-url-unavailable", 2),
        (lambda connection, over: over.wait(60), "image-url-unavailable", 2),
    ],
    ids=["missing", "redirect", "no picture", "too large", "overloaded", "silent"],
)
def test_what_cannot_be_fetched_ends_with_the_true_reason(
    stack: Stack, script: Script, code: str, requests: int
) -> None:
    with scripted(script) as server:
        image = by_url(stack, server.url)
        assert (image["status"], image["failure"]["code"], image["width"]) == ("failed", code, None)
        assert len(server.requests) == requests, "what may go better is tried again, and nothing else is"
    assert local_http.get(f"{stack.url}/v1/images/{image['id']}/original").status_code == 404
    assert not [path for path in stack.home.glob(f"objects/images/{image['id']}/*")]
