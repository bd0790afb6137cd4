"""The client for asynchronous code."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from pathlib import Path
from typing import Any, Self, Unpack, cast

import httpx

from facet.client import protocol
from facet.client.protocol import ApiError, Call, Poller, RetryPolicy
from facet.client.types import Accepted, Annotation, Delivery, Image, Reprocessing, SubmissionFields


class AsyncClient:
    """`Client` for an event loop: the same methods, to be awaited or iterated asynchronously."""

    def __init__(self, url: str, *, api_key: str | None = None, patience: float = 300.0) -> None:
        self.url = url.rstrip("/")
        self._http = httpx.AsyncClient(**protocol.options(self.url, api_key))
        self._patience = patience

    async def close(self) -> None:
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def submit(
        self, source: Path | str | tuple[str, bytes], *, request_id: str, **fields: Unpack[SubmissionFields]
    ) -> Accepted:
        """Submit a file, its name and bytes, or the URL of a picture that the service then fetches."""
        call = await asyncio.to_thread(protocol.submission, source, request_id, fields)
        return cast(Accepted, await self._json(call))

    async def image(self, image_id: str) -> Image:
        return cast(Image, await self._json(Call("GET", f"/v1/images/{image_id}")))

    async def wait(self, image_ids: Iterable[str], *, seconds: float | None = None) -> AsyncIterator[Image]:
        """Each image when it has ended, in the order given. Raises TimeoutError after so many seconds in all."""
        poller = Poller(list(image_ids), seconds)
        while call := poller.next():
            ready = poller.take(await self._json(call))
            for image in ready:
                yield image
            if not ready:
                await asyncio.sleep(protocol.POLL_SECONDS)

    async def result(self, image_id: str, *, seconds: float | None = None) -> Image:
        """The image with its faces, once it is completed. Raises NoResult where it ended otherwise; TimeoutError."""
        [image] = [image async for image in self.wait([image_id], seconds=seconds)]
        return protocol.result_of(image)

    async def annotated(
        self, image_id: str, style: Annotation | None = None, *, max_side: int | None = None
    ) -> bytes | None:
        """The picture with its faces shown or hidden: as it was stored, or drawn now; None where there is none."""
        query = {name: value for name, value in (("style", style), ("max_side", max_side)) if value is not None}
        try:
            return (await self._send(Call("GET", f"/v1/images/{image_id}/annotated", {"params": query}))).content
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    async def original(self, image_id: str) -> bytes:
        return (await self._send(Call("GET", f"/v1/images/{image_id}/original"))).content

    async def remove(self, image_id: str) -> None:
        await self._send(Call("DELETE", f"/v1/images/{image_id}"))

    def images(self, **query: Any) -> AsyncIterator[Image]:
        """All images, newest first: `status`, `request_id`, `limit` of a page."""
        return cast(AsyncIterator[Image], self._pages("/v1/images", query))

    def deliveries(self, **query: Any) -> AsyncIterator[Delivery]:
        """All deliveries, newest first: `state`, `image_id`, `limit` of a page."""
        return cast(AsyncIterator[Delivery], self._pages("/v1/deliveries", query))

    async def redeliver(self, delivery_id: str) -> Delivery:
        return cast(Delivery, await self._json(Call("POST", f"/v1/deliveries/{delivery_id}/redeliver")))

    async def reprocess(self, request: Mapping[str, Any]) -> Reprocessing:
        return cast(Reprocessing, await self._json(Call("POST", "/v1/reprocessings", {"json": dict(request)})))

    async def reprocessing(self, reprocessing_id: str) -> Reprocessing:
        return cast(Reprocessing, await self._json(Call("GET", f"/v1/reprocessings/{reprocessing_id}")))

    def reprocessings(self, **query: Any) -> AsyncIterator[Reprocessing]:
        return cast(AsyncIterator[Reprocessing], self._pages("/v1/reprocessings", query))

    async def change_reprocessing(self, reprocessing_id: str, change: str) -> Reprocessing:
        """`change` is `pause`, `resume` or `cancel`."""
        return cast(Reprocessing, await self._json(Call("POST", f"/v1/reprocessings/{reprocessing_id}/{change}")))

    async def readiness(self) -> dict[str, Any]:
        """What `/readyz` says, ready or not."""
        return dict((await self._once(Call("GET", "/readyz"))).json())

    async def _pages(self, path: str, query: Mapping[str, Any]) -> AsyncIterator[Any]:
        cursor = None
        while True:
            page = await self._json(protocol.page(path, query, cursor))
            for row in page[path.rsplit("/", 1)[1]]:
                yield row
            if (cursor := page["next_cursor"]) is None:
                return

    async def _json(self, call: Call) -> dict[str, Any]:
        return dict((await self._send(call)).json())

    async def _send(self, call: Call) -> httpx.Response:
        policy = RetryPolicy(self._patience)
        while True:
            try:
                answer = await self._once(call)
            except ApiError as error:
                pause: float | None = policy.after_error(error)
            else:
                pause = policy.after_answer(answer)
            if pause is None:
                return answer
            await asyncio.sleep(pause)

    async def _once(self, call: Call) -> httpx.Response:
        try:
            return await self._http.request(call.method, call.path, **call.content)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise protocol.not_reachable(self.url, error) from error
