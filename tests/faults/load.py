"""A steady stream of submissions by clients that know how to try again."""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import cv2
import httpx

from tests.faults.deployment import Deployment
from tests.support import local_http
from tests.support.images import picture
from tests.support.stack import ROOT

_DATA = Path(os.environ.get("FACET_TEST_DATA", ROOT.parent / "shared" / "data"))
_SIDE = 320
_CLIENTS = 32
_REQUEST_SECONDS = 30
_PATIENCE_SECONDS = 120
"""For so long a client tries to have one image accepted; a key whose holder died is busy for 60 s of it."""


def small_photos() -> list[bytes]:
    """A dozen small photos, most with faces: those of the test data, and always the example and an empty picture."""
    paths = [ROOT / "examples" / "eileen-collins.jpg", *sorted((_DATA / "dlib").glob("*.jpg"))]
    return [*(_shrunk(path) for path in paths), picture()]


def _shrunk(path: Path) -> bytes:
    pixels = cv2.imread(str(path))
    assert pixels is not None, path
    scale = min(1.0, _SIDE / max(pixels.shape[:2]))
    done, data = cv2.imencode(".jpg", cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA))
    assert done
    return data.tobytes()


@dataclass
class Submission:
    """One image as its sender knows it."""

    request_id: str
    photo: int
    key: str = field(default_factory=lambda: str(uuid4()))
    image_id: str | None = None
    """Set when the service has answered 202."""
    tries: int = 0
    odd: str | None = None
    """An answer that no client should get."""


class Stream:
    """`count` submissions, evenly over `seconds`, in threads; `wait` returns them."""

    def __init__(self, target: Deployment, photos: list[bytes], name: str, count: int, seconds: float) -> None:
        self._urls = [f"http://127.0.0.1:{api.port}/v1/images" for api in target.api]
        self._callback_url = target.callback_url
        self._photos = photos
        self._pool = ThreadPoolExecutor(_CLIENTS, thread_name_prefix="sender")
        begun = time.monotonic()
        self.submissions = [Submission(f"{name}-{n}", n % len(photos)) for n in range(count)]
        self._sent = [
            self._pool.submit(self._send, submission, number, begun + number * seconds / count)
            for number, submission in enumerate(self.submissions)
        ]

    def wait(self) -> list[Submission]:
        """Until each is accepted, or its client has lost its patience."""
        self._pool.shutdown()
        for sent in self._sent:
            sent.result()
        return self.submissions

    def _send(self, submission: Submission, number: int, at: float) -> None:
        time.sleep(max(0.0, at - time.monotonic()))
        until = time.monotonic() + _PATIENCE_SECONDS
        while time.monotonic() < until:
            url = self._urls[(number + submission.tries) % len(self._urls)]
            submission.tries += 1
            try:
                answer = local_http.post(
                    url,
                    files={"image": ("photo.jpg", self._photos[submission.photo])},
                    data={"request_id": submission.request_id, "callback_url": self._callback_url},
                    headers={"Idempotency-Key": submission.key},
                    timeout=_REQUEST_SECONDS,
                    trust_env=False,
                )
            except httpx.HTTPError:  # refused, cut off or silent: accepted perhaps, so it is sent again under its key
                answer = None
            if answer is not None and answer.status_code == 202:
                submission.image_id = answer.json()["id"]
                return
            if answer is not None and answer.status_code not in (409, 502, 503):
                submission.odd = f"{answer.status_code}: {answer.text[:300]}"
            time.sleep(min(0.3 * 2**submission.tries, 3.0))
