"""The examples as a user runs them, on a stack that signs its callbacks: with them the client, sync and async."""

import csv
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image as Pillow

from facet.client import ApiError, Client, NoResult
from tests.support.images import picture
from tests.support.processes import answers, free_port, running, wait_for
from tests.support.shared_stack import SECRET
from tests.support.stack import ROOT, Stack

PHOTO = ROOT / "examples" / "eileen-collins.jpg"


@pytest.fixture(scope="module")
def stack(shared_stack: Stack) -> Stack:
    return shared_stack


@pytest.fixture
def client(stack: Stack) -> Iterator[Client]:
    with Client(stack.url) as client:
        yield client


def run(stack: Stack, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "examples" / script), *arguments]
    environment = os.environ | {"FACET_URL": stack.url, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=True)


def test_a_photo_is_drawn(stack: Stack, tmp_path: Path) -> None:
    out = tmp_path / "faces.png"
    assert "1 face(s)" in run(stack, "draw_faces.py", str(PHOTO), str(out)).stdout
    pixels = np.asarray(Pillow.open(out).convert("RGB"))
    assert (pixels == (0x2E, 0xE6, 0xA6)).all(axis=2).sum() > 100


def test_a_folder_is_sent_and_each_photo_has_its_line(stack: Stack, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "portrait.jpg").write_bytes(PHOTO.read_bytes())
    for number in range(5):
        (tmp_path / f"{number}.png").write_bytes(picture())
    (tmp_path / "broken.png").write_bytes(b"no picture")
    done = run(stack, "bulk_upload.py", str(tmp_path))
    lines = {row["photo"]: (row["status"], row["faces"]) for row in csv.DictReader(done.stdout.splitlines())}
    assert lines == {f"{number}.png": ("completed", "0") for number in range(5)} | {
        "sub/portrait.jpg": ("completed", "1")
    }
    assert "broken.png: The bytes are of no known picture format." in done.stderr


def test_the_receiver_takes_what_is_signed_and_refuses_the_rest(stack: Stack, client: Client, tmp_path: Path) -> None:
    port, log = free_port(), tmp_path / "receiver.log"
    command = [sys.executable, "-m", "uvicorn", "examples.receiver:app", "--port", str(port)]
    with running(command, log, env=os.environ | {"FACET_WEBHOOK_SECRETS": SECRET}, cwd=ROOT):
        wait_for(lambda: answers(port), 60, "the receiver answers")
        url = f"http://127.0.0.1:{port}/faces"
        image = client.submit(PHOTO, request_id="signed", callback_url=url)
        [delivery] = _delivered(client, image["id"])
        assert delivery["attempts"][0]["status_code"] == 204
        client.redeliver(delivery["id"])
        wait_for(lambda: len(_delivered(client, image["id"])[0]["attempts"]) == 2, 60, "it came again")
        assert log.read_text().count("signed: completed, 1 face(s)") == 1
        assert httpx.post(url, json={"faces": []}).status_code == 401


def _delivered(client: Client, image_id: str) -> list[dict[str, object]]:
    def found() -> list[dict[str, object]]:
        return [dict(row) for row in client.deliveries(image_id=image_id, state="delivered")]

    wait_for(found, 90, "the callback was delivered")
    return found()


def test_the_client_tells_results_from_what_has_none(client: Client) -> None:
    first, second = (client.submit((f"{name}.png", picture()), request_id=name) for name in ("first", "second"))
    ended = list(client.wait([second["id"], first["id"]], seconds=90))
    assert [image["request_id"] for image in ended] == ["second", "first"]
    away = client.submit("http://127.0.0.1:1/a.jpg", request_id="away")
    with pytest.raises(NoResult, match="of request away"):
        client.result(away["id"], seconds=120)
    blurred = client.annotated(first["id"], "blur", max_side=32)
    assert blurred is not None and blurred.startswith(b"\xff\xd8")
    client.remove(first["id"])
    assert client.annotated(first["id"]) is None
    with pytest.raises(ApiError, match="There is no image"):
        client.result(first["id"])
