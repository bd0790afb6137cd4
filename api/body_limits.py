"""Bodies are bounded while they stream in: what is over its limit is refused before the rest of it is read."""

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.canonical import path_of
from facet.settings import Settings

FIELDS = 16
"""Form fields that a request has at most."""


class BodyTooLarge(HTTPException):
    """The body is over its limit, as it was announced or as it came."""

    def __init__(self, limit: int) -> None:
        self.fix = f"Send at most {limit} bytes."
        super().__init__(413, f"The body is too large. {self.fix}")


class BodyLimits:
    """ASGI middleware that counts what it hands on, whether the body is announced, chunked or both."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        headers = Headers(scope=scope)
        limit = self._limit(path_of(scope), headers)
        announced = headers.get("content-length", "")
        left = limit
        refused = announced.isdecimal() and int(announced) > limit

        async def bounded() -> Message:
            nonlocal left, refused
            if refused:
                raise BodyTooLarge(limit)
            message = await receive()
            left -= len(message.get("body", b""))
            if left < 0:
                refused = True
                raise BodyTooLarge(limit)
            return message

        await self._app(scope, bounded, send)

    def _limit(self, path: str, headers: Headers) -> int:
        settings = self._settings
        fields = FIELDS * settings.max_field_bytes
        has_files = headers.get("content-type", "").lower().startswith("multipart/")
        if path == "/v1/images:batch":
            return settings.max_request_bytes if has_files else settings.max_request_images * settings.max_field_bytes
        if path in ("/v1/images", "/api/image/") and has_files:
            return settings.max_image_bytes + fields
        return fields
