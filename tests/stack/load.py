"""Clients of the published port: they send photos, know how to try again, and check what they are called back with."""

import json
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import httpx
from standardwebhooks import Webhook

from tests.support.scripted import Scripted

_PATIENCE_SECONDS = 120


@dataclass
class Client:
    """Sends photos with one API key, and knows what was accepted."""

    url: str
    key: str
    secret: str
    received: Scripted
    callback_host: str
    photo: bytes
    accepted: dict[str, str] = field(default_factory=dict)
    """Image ids by request id, of all that was answered 202."""
    odd: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _verified: int = 0
    _copies: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}

    def send(self, request_id: str) -> None:
        """Submit one photo; again under the same key where it was refused, cut off or not answered."""
        key, until = str(uuid4()), time.monotonic() + _PATIENCE_SECONDS
        callback = f"http://{self.callback_host}:{self.received.port}/callback"
        while time.monotonic() < until:
            try:
                answer = self.submit(request_id, callback, **{"Idempotency-Key": key})
            except httpx.HTTPError:
                time.sleep(0.5)
                continue
            if answer.status_code == 202:
                with self._lock:
                    self.accepted[request_id] = answer.json()["id"]
                return
            if answer.status_code not in (409, 502, 503, 504):
                self.odd.append(f"{request_id}: {answer.status_code} {answer.text[:200]}")
            time.sleep(0.5)
        self.odd.append(f"{request_id}: not accepted in {_PATIENCE_SECONDS} s")

    def submit(self, request_id: str, callback_url: str, **headers: str) -> httpx.Response:
        """Submit the photo once."""
        return httpx.post(
            f"{self.url}/v1/images",
            files={"image": ("photo.jpg", self.photo)},
            data={"request_id": request_id, "callback_url": callback_url},
            headers=self.headers | headers,
            timeout=30,
            trust_env=False,
        )

    def get(self, path: str) -> httpx.Response:
        """Again where the key's requests a minute are used up, or no API process is ready."""
        while True:
            answer = httpx.get(f"{self.url}{path}", headers=self.headers, timeout=30, trust_env=False)
            if answer.status_code not in (429, 503):
                return answer
            time.sleep(1)

    def called_back(self) -> dict[str, set[str]]:
        """The ids of what came for each request; each body's signature is checked, while it is fresh."""
        for headers, body in self.received.requests[self._verified :]:
            Webhook(self.secret).verify(body, headers)  # raises for what was not signed by this stack
            self._copies[json.loads(body)["request_id"]].add(headers["webhook-id"])
            self._verified += 1
        return self._copies

    def settle(self, seconds: float = 180) -> None:
        """Wait until all that was accepted has been called back."""
        until = time.monotonic() + seconds
        while self.accepted.keys() - self.called_back().keys() and time.monotonic() < until:
            time.sleep(0.5)

    def lost(self, name: str = "") -> list[str]:
        """What was accepted and is not completed with its face, was not called back, or twice over."""
        copies, lost = self.called_back(), []
        for request_id, image_id in self.accepted.items():
            if not request_id.startswith(name):
                continue
            image = self.get(f"/v1/images/{image_id}").json()
            if image.get("status") != "completed" or len(image.get("faces", [])) != 1:
                lost.append(f"{request_id} is {image.get('status')}: {image.get('failure')}")
            elif len(copies.get(request_id, ())) != 1:
                lost.append(f"{request_id} was called back {len(copies.get(request_id, ()))} times")
        return lost


class Stream:
    """Photos at a steady rate, in the background, until it is closed."""

    def __init__(self, client: Client, name: str, a_second: float) -> None:
        self._client, self._name, self._pause = client, name, 1 / a_second
        self._over = threading.Event()
        self._senders: list[threading.Thread] = []
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Stream":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()
        for sender in self._senders:
            sender.join()

    def _run(self) -> None:
        while not self._over.wait(self._pause):
            sender = threading.Thread(target=self._client.send, args=(f"{self._name}-{len(self._senders)}",))
            sender.start()
            self._senders.append(sender)


def secret(folder: Path, name: str) -> str:
    return (folder / name).read_text()
