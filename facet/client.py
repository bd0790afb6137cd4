"""A client of Facet's API: submit photos, wait for their results, ask for reprocessings."""

import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx

Json = dict[str, Any]

FINISHED = ("completed", "failed", "cancelled")
_POLL_SECONDS = 0.5
_LONGEST_PAUSE = 30.0


class ApiError(Exception):
    """The API did not do what was asked: `code` is its problem's, or `not-reachable`; the message is for people."""

    def __init__(self, code: str, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.code, self.status = code, status


class Client:
    """Talks to one API; any number of threads may use it. Every method raises ApiError.

    An API that is overloaded (429, 503) or away is asked again, as late as it says, for up to `patience` seconds. That
    doubles nothing: each submission has an `Idempotency-Key`.
    """

    def __init__(self, url: str, *, api_key: str | None = None, patience: float = 300.0) -> None:
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self.url = url.rstrip("/")
        self._http = httpx.Client(base_url=self.url, headers=headers, timeout=60.0)
        self._patience = patience

    def close(self) -> None:
        self._http.close()

    def submit(self, source: Path | str, *, request_id: str, **fields: Any) -> Json:
        """Submit a file, or the URL of a picture that the service then fetches; `fields` as the API has them."""
        content = {name: value for name, value in fields.items() if value is not None} | {"request_id": request_id}
        headers = {"Idempotency-Key": str(uuid4())}
        if isinstance(source, str):
            return self._json("POST", "/v1/images", json=content | {"image_url": source}, headers=headers)
        form = {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in content.items()}
        files = {"image": (source.name, source.read_bytes())}
        return self._json("POST", "/v1/images", data=form, files=files, headers=headers)

    def image(self, image_id: str) -> Json:
        return self._json("GET", f"/v1/images/{image_id}")

    def annotated(self, image_id: str) -> bytes | None:
        """The annotated JPEG; None where there is none."""
        try:
            return self._send("GET", f"/v1/images/{image_id}/annotated").content
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def wait(self, image_ids: Iterable[str], *, seconds: float | None = None) -> Iterator[Json]:
        """Each image when it has ended, in the order given. Raises TimeoutError after so many seconds in all."""
        until = time.monotonic() + seconds if seconds is not None else None
        for image_id in image_ids:
            while (image := self.image(image_id))["status"] not in FINISHED:
                if until is not None and time.monotonic() > until:
                    raise TimeoutError(f"Image {image_id} is still {image['status']}.")
                time.sleep(_POLL_SECONDS)
            yield image

    def images(self, **query: Any) -> Iterator[Json]:
        return self._pages("/v1/images", "images", query)

    def deliveries(self, **query: Any) -> Iterator[Json]:
        return self._pages("/v1/deliveries", "deliveries", query)

    def redeliver(self, delivery_id: str) -> Json:
        return self._json("POST", f"/v1/deliveries/{delivery_id}/redeliver")

    def reprocess(self, request: Mapping[str, Any]) -> Json:
        return self._json("POST", "/v1/reprocessings", json=dict(request))

    def reprocessing(self, reprocessing_id: str) -> Json:
        return self._json("GET", f"/v1/reprocessings/{reprocessing_id}")

    def reprocessings(self, **query: Any) -> Iterator[Json]:
        return self._pages("/v1/reprocessings", "reprocessings", query)

    def change_reprocessing(self, reprocessing_id: str, change: str) -> Json:
        """`change` is `pause`, `resume` or `cancel`."""
        return self._json("POST", f"/v1/reprocessings/{reprocessing_id}/{change}")

    def readiness(self) -> Json:
        """What `/readyz` says, ready or not."""
        return dict(self._once("GET", "/readyz").json())

    def _pages(self, path: str, name: str, query: Mapping[str, Any]) -> Iterator[Json]:
        asked = {key: value for key, value in query.items() if value is not None}
        while True:
            page = self._json("GET", path, params=asked)
            yield from page[name]
            if page["next_cursor"] is None:
                return
            asked["cursor"] = page["next_cursor"]

    def _json(self, method: str, path: str, **content: Any) -> Json:
        return dict(self._send(method, path, **content).json())

    def _send(self, method: str, path: str, **content: Any) -> httpx.Response:
        until = time.monotonic() + self._patience
        pause = 1.0
        while True:
            try:
                answer = self._once(method, path, **content)
            except ApiError:
                if time.monotonic() + pause > until:
                    raise
            else:
                if answer.is_success:
                    return answer
                pause = _asked_wait(answer) or pause
                if answer.status_code not in (429, 503) or time.monotonic() + pause > until:
                    raise _problem(answer)
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _once(self, method: str, path: str, **content: Any) -> httpx.Response:
        try:
            return self._http.request(method, path, **content)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ApiError("not-reachable", f"The API at {self.url} does not answer: {error!r}.") from error


def _asked_wait(answer: httpx.Response) -> float:
    """Seconds of a `Retry-After`; 0 without one."""
    value = answer.headers.get("Retry-After", "")
    return float(value) if value.isdigit() else 0.0


def _problem(answer: httpx.Response) -> ApiError:
    try:
        problem = answer.json()
        return ApiError(problem["code"], problem["detail"], answer.status_code)
    except (ValueError, KeyError, TypeError):
        return ApiError("error", f"{answer.request.url} answered {answer.status_code}.", answer.status_code)
