"""What the two clients share: requests, how long they are repeated, and how answers are read."""

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import httpx

from facet.client.types import Image
from facet.local import is_loopback

FINISHED = ("completed", "failed", "cancelled")
POLL_SECONDS = 0.5
AT_ONCE = 100
"""Images that one request asks for."""

_LONGEST_PAUSE = 30.0


class ApiError(Exception):
    """The API did not do what was asked: `code` is its problem's, or `not-reachable`; the message is for people."""

    def __init__(self, code: str, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.code, self.status = code, status


class NoResult(Exception):
    """An image ended without a result: `image` says why."""

    def __init__(self, image: Image) -> None:
        reason = image["failure"]["reason"] if image["failure"] else image["status"]
        super().__init__(f"Image {image['id']} of request {image['request_id']}: {reason}")
        self.image = image


@dataclass(frozen=True, slots=True)
class Call:
    """One request, as httpx takes it."""

    method: str
    path: str
    content: Mapping[str, Any] = field(default_factory=dict)


def submission(source: Path | str | tuple[str, bytes], request_id: str, fields: Mapping[str, Any]) -> Call:
    """Reads the file, if it is one. Raises OSError."""
    content = {name: value for name, value in fields.items() if value is not None} | {"request_id": request_id}
    headers = {"Idempotency-Key": str(uuid4())}
    if isinstance(source, str):
        return Call("POST", "/v1/images", {"json": content | {"image_url": source}, "headers": headers})
    file = source if isinstance(source, tuple) else (_readable(source.name), source.read_bytes())
    form = {name: str(value) for name, value in content.items()}
    return Call("POST", "/v1/images", {"data": form, "files": {"image": file}, "headers": headers})


def of_images(image_ids: Sequence[str]) -> Call:
    return Call("GET", "/v1/images", {"params": {"image_id": list(image_ids), "limit": AT_ONCE}})


def page(path: str, query: Mapping[str, Any], cursor: str | None) -> Call:
    asked = {**query, "cursor": cursor}
    return Call("GET", path, {"params": {name: value for name, value in asked.items() if value is not None}})


class Poller:
    """Images that are waited for, asked for together, and handed out in their order as each ends."""

    def __init__(self, image_ids: Sequence[str], seconds: float | None) -> None:
        self._left = list(image_ids)
        self._ended: dict[str, Image] = {}
        self._until = None if seconds is None else time.monotonic() + seconds

    def next(self) -> Call | None:
        """What to ask; None when all have been handed out."""
        unknown = [image_id for image_id in dict.fromkeys(self._left) if image_id not in self._ended]
        return of_images(unknown[:AT_ONCE]) if self._left else None

    def take(self, answer: Mapping[str, Any]) -> list[Image]:
        """Those that can be handed out now. Raises ApiError for one that is not there, and TimeoutError."""
        found = {image["id"]: cast(Image, image) for image in answer["images"]}
        self._ended |= {key: image for key, image in found.items() if image["status"] in FINISHED}
        ready = []
        while self._left and self._left[0] in self._ended:
            ready.append(self._ended[self._left.pop(0)])
        if self._left and not ready:
            first = self._left[0]
            if first not in found:
                raise ApiError("unknown-image", f"There is no image {first}.", 404)
            if self._until is not None and time.monotonic() > self._until:
                raise TimeoutError(f"Image {first} is still {found[first]['status']}.")
        return ready


class RetryPolicy:
    """How one request is repeated while the API is overloaded (429, 503) or away."""

    def __init__(self, seconds: float) -> None:
        self._until = time.monotonic() + seconds
        self._pause = 1.0

    def after_answer(self, answer: httpx.Response) -> float | None:
        """Seconds to wait before the request is sent again; None: the answer is good. Raises ApiError."""
        if answer.is_success:
            return None
        self._pause = _asked_wait(answer) or self._pause
        if answer.status_code not in (429, 503) or self._is_over:
            raise problem(answer)
        return self._next()

    def after_error(self, error: ApiError) -> float:
        """The same where there was no answer. Raises the error."""
        if self._is_over:
            raise error
        return self._next()

    @property
    def _is_over(self) -> bool:
        return time.monotonic() + self._pause > self._until

    def _next(self) -> float:
        pause, self._pause = self._pause, min(2 * self._pause, _LONGEST_PAUSE)
        return pause


def options(url: str, api_key: str | None) -> dict[str, Any]:
    """How httpx is set up. An API on this machine is asked through no proxy; certificates are trusted as elsewhere."""
    try:
        is_local = is_loopback(httpx.URL(url).host)
    except httpx.InvalidURL:  # which the first request says
        is_local = False
    return {
        "base_url": url,
        "headers": {"Authorization": f"Bearer {api_key}"} if api_key else {},
        "timeout": 60.0,
        "trust_env": not is_local,
        "verify": httpx.create_ssl_context(),
    }


def not_reachable(url: str, error: Exception) -> ApiError:
    return ApiError("not-reachable", f"The API at {url} does not answer: {error!r}.")


def problem(answer: httpx.Response) -> ApiError:
    try:
        body = answer.json()
        return ApiError(body["code"], body["detail"], answer.status_code)
    except (ValueError, KeyError, TypeError):
        return ApiError("error", f"{answer.request.url} answered {answer.status_code}.", answer.status_code)


def result_of(image: Image) -> Image:
    """Raises NoResult."""
    if image["status"] != "completed":
        raise NoResult(image)
    return image


def _readable(name: str) -> str:
    """A file's name as text, whatever its bytes are."""
    return os.fsencode(name).decode(errors="replace")


def _asked_wait(answer: httpx.Response) -> float:
    """Seconds of a `Retry-After`; 0 without one."""
    value = answer.headers.get("Retry-After", "")
    return float(value) if value.isdigit() else 0.0
