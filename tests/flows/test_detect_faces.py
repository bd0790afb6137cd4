"""The main job on the real stack: API, Prefect server, worker, database and store."""

import signal
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import pytest
from prefect.artifacts import create_table_artifact
from prefect.exceptions import TerminationSignal
from prefect.logging import disable_run_logger
from prefect.settings import PREFECT_API_URL, temporary_settings
from sqlalchemy import text

from deployments.prefect.flow_runs import PrefectFlowRuns
from facet.errors import Unavailable
from facet.jobs import Failure
from facet.persistence.models import Image, ImageStatus, Lane, Run, RunState
from facet.pictures.codec import decode
from facet.services import Services
from facet.settings import Settings
from flows.detect_faces import _handed_back, _retried_later
from tasks.for_show import for_show
from tests.faults.proxy import FaultProxy, Mode, Way
from tests.support import local_http
from tests.support.databases import make_tables
from tests.support.images import add_images, picture
from tests.support.processes import wait_for
from tests.support.receiver import Receiver
from tests.support.stack import Stack


@pytest.fixture(scope="module")
def stack(shared_stack: Stack) -> Stack:
    return shared_stack


def test_a_photo_becomes_a_callback_through_a_flow_run_of_six_tasks(
    stack: Stack, receiver: Receiver, photo: bytes
) -> None:
    accepted = stack.submit(photo, request_id="main-job", callback_url=receiver.url)
    body = receiver.body_of("main-job")
    assert set(body) == {"image_id", "request_id", "faces", "output_image_url", "status", "failure"}
    assert (body["image_id"], body["status"], body["failure"]) == (accepted["id"], "completed", None)
    [face] = body["faces"]
    assert face["confidence"] > 0.99
    x, y, _, height = face["box"]
    assert face["box"] == pytest.approx([180, 65, 84, 108], abs=1), "the reference's own box"
    assert set(face["keypoints"]) == {"left_eye", "right_eye", "nose", "mouth_left", "mouth_right"}
    drawn = decode(local_http.get(body["output_image_url"]).content, max_pixels=10**6)
    assert drawn[y + height // 2, x][1] > 150 > drawn[y + height // 2, x][0]

    image = stack.image(accepted["id"])
    wait_for(lambda: stack.image(accepted["id"])["callback"]["state"] == "delivered", 10, "delivered")
    steps = {"waited", "fetch", "decode", "detect", "persist", "draw", "upload", "total"}
    assert set(stack.image(accepted["id"])["timings"]) == steps
    flow_run_id = image["flow_run"]["id"]
    of_run = {"flow_runs": {"id": {"any_": [flow_run_id]}}}
    wait_for(
        lambda: stack.prefect("/flow_runs/filter", **of_run)[0]["state_type"] == "COMPLETED", 30, "the run completed"
    )
    [run] = stack.prefect("/flow_runs/filter", **of_run)
    assert run["name"] == "main-job"
    assert {f"image:{accepted['id']}", "request:main-job", "interactive"} <= set(run["tags"])
    tasks = {"fetch", "detect", "persist faces", "draw", "upload", "callback"}
    wait_for(  # Prefect's server records them some time after they have ended
        lambda: {task["name"] for task in stack.prefect("/task_runs/filter", **of_run)} == tasks, 30, "the six tasks"
    )
    artifacts = {a["type"]: a for a in stack.prefect("/artifacts/filter", **of_run)}
    assert accepted["id"] in artifacts["table"]["data"]
    assert artifacts["image"]["data"] == body["output_image_url"]
    of_logs = {"logs": {"flow_run_id": {"any_": [flow_run_id]}}}
    wait_for(
        lambda: any(
            accepted["id"] in line["message"] and "1 face" in line["message"]
            for line in stack.prefect("/logs/filter", **of_logs)
        ),
        30,
        "the image's line in the run's logs",
    )


def test_a_photo_without_faces_calls_back_too(stack: Stack, receiver: Receiver) -> None:
    stack.submit(picture(), request_id="empty", callback_url=receiver.url, annotate="false")
    body = receiver.body_of("empty")
    assert (body["faces"], body["status"], body["output_image_url"]) == ([], "completed", None)


def test_a_picture_that_broke_in_the_store_fails_with_its_reason_and_its_neighbours_go_on(
    stack: Stack, receiver: Receiver, photo: bytes
) -> None:
    with stack.prefect_away():  # so that one run takes them all
        ids = [
            stack.submit(photo, request_id=f"batch-{n}", callback_url=receiver.url, min_face_size="40")["id"]
            for n in range(4)
        ]
        (stack.home / "objects" / "images" / ids[1] / "original").write_bytes(photo[:20_000])
    bodies = [receiver.body_of(f"batch-{n}") for n in range(4)]
    assert [body["status"] for body in bodies] == ["completed", "failed", "completed", "completed"]
    assert bodies[1]["failure"]["code"] == "undecodable"
    image = stack.image(ids[1])
    assert (image["status"], image["failure"]["code"]) == ("failed", "undecodable")
    wait_for(
        lambda: (
            stack.prefect("/flow_runs/filter", flow_runs={"id": {"any_": [image["flow_run"]["id"]]}})[0]["state_type"]
            == "FAILED"
        ),
        30,
        "the run with the failed image ends Failed",
    )


def test_a_failing_receiver_is_tried_again_quickly(stack: Stack, receiver: Receiver) -> None:
    receiver.statuses = [500, 503, 204]
    image_id = stack.submit(picture(), request_id="flaky", callback_url=receiver.url)["id"]
    wait_for(lambda: receiver.count("flaky") == 3, 60, "three attempts")
    wait_for(lambda: stack.image(image_id)["callback"]["state"] == "delivered", 10, "delivered")
    attempts = stack.image(image_id)["callback"]["attempts"]
    assert [attempt["status_code"] for attempt in attempts] == [500, 503, 204]


@pytest.mark.parametrize("status", [403, 422, 500])
def test_what_prefect_or_a_proxy_has_against_a_requests_id_keeps_no_image_from_its_run(
    stack: Stack, status: int
) -> None:
    """As a firewall that takes it for an attack."""
    proxy = FaultProxy(stack.prefect_port)
    image = Image(id=uuid4(), request_id="a' OR 1=1")
    with closing(proxy), temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{proxy.port}/api"}):
        runs = PrefectFlowRuns()
        with proxy.failing(Mode(Way.STATUS, status=status, holding=b"OR 1=1")):
            created = runs.create(uuid4(), [image], Lane.INTERACTIVE, Lane.INTERACTIVE)
        with (
            proxy.failing(Mode(Way.STATUS, status=status, holding=b"image_ids")),
            pytest.raises(Unavailable, match=str(status)),
        ):
            runs.create(uuid4(), [image], Lane.INTERACTIVE, Lane.INTERACTIVE)
    [run] = stack.prefect("/flow_runs/filter", flow_runs={"id": {"any_": [str(created.flow_run_id)]}})
    assert run["parameters"] == {"image_ids": [str(image.id)]}
    assert (run["name"], run["work_queue_name"]) == ("1 image(s)", "interactive")


def test_a_photo_submitted_while_prefect_is_down_is_accepted_and_processed_later(
    stack: Stack, receiver: Receiver, photo: bytes
) -> None:
    for process in stack.processes("prefect-server"):
        process.kill()
    image_id = stack.submit(photo, request_id="early", callback_url=receiver.url)["id"]
    assert stack.image(image_id)["status"] == "queued"
    assert len(receiver.body_of("early", 120)["faces"]) == 1


def test_the_predecessors_clients_are_served(stack: Stack, receiver: Receiver, photo: bytes) -> None:
    answer = local_http.post(
        f"{stack.url}/api/image/",
        files={"image": ("photo.jpg", photo)},
        data={"request_id": "123456789", "callback_url": receiver.url},
    )
    assert (answer.status_code, answer.json()["status"]) == (202, "ok")
    body = receiver.body_of("123456789")
    download = local_http.get(f"{stack.url}/api/image/", params={"image_id": body["image_id"]})
    assert download.headers["content-type"] == "image/jpeg"
    assert len(body["faces"]) == 1


def test_a_run_that_its_worker_ends_is_handed_back_with_nobody_charged(tmp_path: Path) -> None:
    services = Services(Settings(home=tmp_path))
    make_tables(services.database)
    images = add_images(services.database, 1)
    jobs = services.claims.open(
        [image.id for image in images], run_id=(run_id := uuid4()), flow_run_id=uuid4(), flow_run_name="run"
    )
    services.claims.mark_in_progress(run_id, jobs)
    with pytest.raises(TerminationSignal), _handed_back(run_id, services), services.claims.leased(run_id):
        raise TerminationSignal(signal.SIGTERM)
    with services.database.read() as session:
        run = session.get_one(Run, run_id)
    assert (run.state, run.in_progress) == (RunState.RESERVED, [])
    services.database.close()


def test_a_run_that_an_outage_ends_sets_its_images_back_with_nobody_charged(tmp_path: Path) -> None:
    services = Services(Settings(home=tmp_path))
    make_tables(services.database)
    images = add_images(services.database, 2)
    ids = [image.id for image in images]
    jobs = services.claims.open(ids, run_id=(run_id := uuid4()), flow_run_id=uuid4(), flow_run_name="run")
    services.claims.mark_in_progress(run_id, jobs)
    services.claims.fail(jobs[0], Failure(code="undecodable", reason="It is broken."))
    with (
        disable_run_logger(),
        pytest.raises(Unavailable, match="SQLITE_READONLY"),
        services.claims.leased(run_id),
        _retried_later(run_id, jobs, services),
    ):
        with services.database.read() as session:  # until this connection is dropped, nothing can be written
            session.execute(text("PRAGMA query_only=ON"))
        raise Unavailable("The database does not answer: SQLITE_READONLY.")
    with services.database.read() as session:
        run = session.get_one(Run, run_id)
        failed, waiting = (session.get_one(Image, image_id) for image_id in ids)
    assert (run.state, run.in_progress) == (RunState.OVER, [])
    assert (failed.status, failed.failure_code) == (ImageStatus.FAILED, "undecodable")
    assert (waiting.status, waiting.run_id) == (ImageStatus.QUEUED, None)
    assert (waiting.attempts, waiting.outages) == (0, 1)
    services.database.close()


def test_an_artifact_that_prefect_does_not_take_changes_nothing() -> None:
    """Such as one of a flow run that was deleted meanwhile."""
    with disable_run_logger(), for_show():
        create_table_artifact(table=[])  # there is no server at the tests' own address
