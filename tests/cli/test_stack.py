"""`facet up` and `facet demo` as a newcomer meets them."""

import json
import signal
import socket
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from facet.pictures.codec import decode
from tests.support.processes import wait_for
from tests.support.stack import ROOT, Stack, new_stack, started


@pytest.fixture
def stack(tmp_path: Path) -> Stack:
    return new_stack(tmp_path / "home")


def run(stack: Stack, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*stack.command, *arguments], env=stack.environment, cwd=ROOT, capture_output=True, text=True, timeout=240
    )


def test_the_demo_shows_a_face_and_leaves_no_process(tmp_path: Path) -> None:
    """On IPv6, with proxies that do not answer, and behind a public URL that this machine cannot reach."""
    stack = new_stack(
        tmp_path / "home",
        FACET_HOST="::1",
        FACET_PUBLIC_URL="https://photos.invalid/facet",
        HTTP_PROXY="http://127.0.0.1:9",
        all_proxy="socks5h://127.0.0.1:9",
    )
    done = run(stack, "demo", "--out", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert len(told["faces"]) == 1
    assert told["output_image_url"].startswith("https://photos.invalid/facet/v1/")
    assert json.loads((tmp_path / "out" / "callback.json").read_text()) == told
    picture = decode((tmp_path / "out" / "annotated.jpg").read_bytes(), max_pixels=10**6)
    assert picture.shape == (512, 512, 3)
    assert stack.processes() == []


def test_the_demo_says_what_is_wrong(stack: Stack, tmp_path: Path) -> None:
    missing = run(stack, "demo", "--image", str(tmp_path / "none.jpg"))
    assert missing.returncode != 0 and "There is no file" in missing.stderr
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", stack.port))
        taken.listen()
        refused = run(stack, "demo", "--out", str(tmp_path / "out"))
    assert refused.returncode != 0
    assert "FACET_PORT" in refused.stderr and "Traceback" not in refused.stderr
    assert stack.processes() == []


def test_after_kill_9_everything_goes_on_where_it_was(stack: Stack, photo: bytes) -> None:
    with started(stack):
        done = stack.submit(photo, request_id="done")["id"]
        stack.finished(done)
        with busy(stack):
            dead = stack.run_of("maintain")
            wait_for(lambda: stack.flow_run(dead)["state_type"] == "RUNNING", 60, "maintain runs")
            for worker in stack.processes("worker"):
                worker.send_signal(signal.SIGSTOP)  # so that it and the next image are surely unfinished
        waiting = stack.submit(photo, request_id="waiting")["id"]
        for part in stack.processes():
            part.kill()
    with closing(sqlite3.connect(stack.home / "facet.db")) as connection, connection:
        connection.execute("UPDATE maintenance SET expected_since = '2026-01-01', completed_at = NULL")
    with started(stack):  # ready, though maintenance is overdue
        assert stack.image(done)["status"] == "completed"
        assert len(stack.finished(waiting)["faces"]) == 1
        assert stack.flow_run(dead)["state_type"] == "CRASHED"
        again = stack.run_of("maintain")
        wait_for(lambda: stack.flow_run(again)["state_type"] == "COMPLETED", 60, "maintain runs again")


@contextmanager
def busy(stack: Stack) -> Iterator[None]:
    """Whoever writes to the database waits."""
    with closing(sqlite3.connect(stack.home / "facet.db", timeout=30, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            connection.execute("ROLLBACK")


def test_ctrl_c_ends_all_of_it_and_a_second_stack_of_the_home_is_refused(stack: Stack) -> None:
    with started(stack) as process:
        second = run(stack, "up")
        assert second.returncode != 0 and "already running" in second.stderr
        process.send_signal(signal.SIGINT)
        wait_for(lambda: process.poll() is not None, 60, "the stack has stopped")
        assert process.returncode == 0
        assert stack.processes() == []
