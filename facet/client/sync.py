"""The client for ordinary code."""

import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self, Unpack, cast

import httpx

from facet.client import protocol
from facet.client.protocol import ApiError, Call, Poller, RetryPolicy
from facet.client.types import Accepted, Annotation, Delivery, Image, Reprocessing, SubmissionFields


class Client:
    """Talks to one API; any number of threads may use it. Every method raises ApiError.

    An API that is overloaded (429, 503) or away is asked again, as late as it says, for up to `patience` seconds. That
    doubles nothing: each submission has an `Idempotency-Key`.
    """

    def __init__(self, url: str, *, api_key: str | None = None, patience: float = 300.0) -> None:
        self.url = url.rstrip("/")
        self._http = httpx.Client(**protocol.options(self.url, api_key))
        self._patience = patience

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def submit(
        self, source: Path | str | tuple[str, bytes], *, request_id: str, **fields: Unpack[SubmissionFields]
    ) -> Accepted:
        """Submit a file, its name and bytes, or the URL of a picture that the service then fetches."""
        return cast(Accepted, self._json(protocol.submission(source, request_id, fields)))

    def image(self, image_id: str) -> Image:
        return cast(Image, self._json(Call("GET", f"/v1/images/{image_id}")))

    def wait(self, image_ids: Iterable[str], *, seconds: float | None = None) -> Iterator[Image]:
        """Each image when it has ended, in the order given. Raises TimeoutError after so many seconds in all."""
        poller = Poller(list(image_ids), seconds)
        while call := poller.next():
            ready = poller.take(self._json(call))
            yield from ready
            if not ready:
                time.sleep(protocol.POLL_SECONDS)

    def result(self, image_id: str, *, seconds: float | None = None) -> Image:
        """The image with its faces, once it is completed. Raises NoResult where it ended otherwise; TimeoutError."""
        [image] = self.wait([image_id], seconds=seconds)
        return protocol.result_of(image)

    def annotated(self, image_id: str, style: Annotation | None = None, *, max_side: int | None = None) -> bytes | None:
        """The picture with its faces shown or hidden: as it was stored, or drawn now; None where there is none."""
        query = {name: value for name, value in (("style", style), ("max_side", max_side)) if value is not None}
        try:
            return self._send(Call("GET", f"/v1/images/{image_id}/annotated", {"params": query})).content
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def original(self, image_id: str) -> bytes:
        return self._send(Call("GET", f"/v1/images/{image_id}/original")).content

    def remove(self, image_id: str) -> None:
        self._send(Call("DELETE", f"/v1/images/{image_id}"))

    def images(self, **query: Any) -> Iterator[Image]:
        """All images, newest first: `status`, `request_id`, `limit` of a page."""
        return cast(Iterator[Image], self._pages("/v1/images", query))

    def deliveries(self, **query: Any) -> Iterator[Delivery]:
        """All deliveries, newest first: `state`, `image_id`, `limit` of a page."""
        return cast(Iterator[Delivery], self._pages("/v1/deliveries", query))

    def redeliver(self, delivery_id: str) -> Delivery:
        return cast(Delivery, self._json(Call("POST", f"/v1/deliveries/{delivery_id}/redeliver")))

    def reprocess(self, request: Mapping[str, Any]) -> Reprocessing:
        return cast(Reprocessing, self._json(Call("POST", "/v1/reprocessings", {"json": dict(request)})))

    def reprocessing(self, reprocessing_id: str) -> Reprocessing:
        return cast(Reprocessing, self._json(Call("GET", f"/v1/reprocessings/{reprocessing_id}")))

    def reprocessings(self, **query: Any) -> Iterator[Reprocessing]:
        return cast(Iterator[Reprocessing], self._pages("/v1/reprocessings", query))

    def change_reprocessing(self, reprocessing_id: str, change: str) -> Reprocessing:
        """`change` is `pause`, `resume` or `cancel`."""
        return cast(Reprocessing, self._json(Call("POST", f"/v1/reprocessings/{reprocessing_id}/{change}")))

    def readiness(self) -> dict[str, Any]:
        """What `/readyz` says, ready or not."""
        return dict(self._once(Call("GET", "/readyz")).json())

    def _pages(self, path: str, query: Mapping[str, Any]) -> Iterator[Any]:
        cursor = None
        while True:
            page = self._json(protocol.page(path, query, cursor))
            yield from page[path.rsplit("/", 1)[1]]
            if (cursor := page["next_cursor"]) is None:
                return

    def _json(self, call: Call) -> dict[str, Any]:
        return dict(self._send(call).json())

    def _send(self, call: Call) -> httpx.Response:
        policy = RetryPolicy(self._patience)
        while True:
            try:
                answer = self._once(call)
            except ApiError as error:
                pause: float | None = policy.after_error(error)
            else:
                pause = policy.after_answer(answer)
            if pause is None:
                return answer
            time.sleep(pause)

    def _once(self, call: Call) -> httpx.Response:
        try:
            return self._http.request(call.method, call.path, **call.content)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise protocol.not_reachable(self.url, error) from error
