"""Bodies are bounded while they stream in: what is over its limit is refused before the rest of it is read.

A packed body is refused, since what it would unpack to is bounded by nothing.
"""

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.canonical import path_of
from facet.settings import Settings

FIELDS = 16
"""Form fields that a request has at most."""
_PLAIN = {"", "identity"}


class BodyRefused(HTTPException):
    """A body that is not read. `field` is what is wrong with the request."""

    def __init__(
        self, status: int, code: str, field: str, message: str, fix: str, headers: dict[str, str] | None = None
    ) -> None:
        self.code, self.field, self.message, self.fix = code, field, message, fix
        super().__init__(status, f"{message}. {fix}", headers)


def _too_large(limit: int) -> BodyRefused:
    """Over its limit, as it was announced or as it came."""
    return BodyRefused(413, "too-large", "body", "The body is too large", f"Send at most {limit} bytes.")


def _encoded(codings: str) -> BodyRefused:
    return BodyRefused(
        415,
        "unsupported-media-type",
        "Content-Encoding",
        f"The body is packed: {codings[:100]}",
        "Send it as it is, without Content-Encoding.",
        {"Accept-Encoding": "identity"},
    )


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
        codings = headers.get("content-encoding", "")
        refused: BodyRefused | None = None
        if announced.isdecimal() and int(announced) > limit:
            refused = _too_large(limit)
        elif scope["method"] not in ("GET", "HEAD") and {name.strip().lower() for name in codings.split(",")} - _PLAIN:
            refused = _encoded(codings)

        async def bounded() -> Message:
            nonlocal left, refused
            if refused:
                raise refused
            message = await receive()
            left -= len(message.get("body", b""))
            if left < 0:
                refused = _too_large(limit)
                raise refused
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
