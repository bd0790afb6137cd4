"""One form for each request, before anything else looks at it: where its path begins and ends, and HEAD as GET.

Clients reach the API under the path of `FACET_PUBLIC_URL`. A proxy may take that prefix off or pass it on: here it is
always the scope's `root_path`, and part of its `path`, as ASGI wants it. A final slash counts for nothing, so that no
client is redirected, out of the prefix or with its photo sent twice.
"""

from starlette.requests import Request
from starlette.routing import Match, Mount
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_LEGACY = "/api/image/"
_EXACT = {"/", _LEGACY, "/metrics/"}
"""Left as they are. A gateway that denies `/metrics` may not know that `/metrics/` would be the same."""


def path_of(scope: Scope) -> str:
    """The path within the API: decoded, without the prefix."""
    return str(scope["path"]).removeprefix(scope.get("root_path", ""))


def allowed_methods(request: Request) -> list[str]:
    """Those that a path takes; none where there is nothing."""
    scope = {**request.scope, "root_path": request.scope.get("app_root_path", request.scope.get("root_path", ""))}

    def takes(method: str) -> bool:
        return any(
            route.matches({**scope, "method": method})[0] is Match.FULL
            and (method == "GET" or not isinstance(route, Mount))
            for route in request.app.routes
        )

    methods = [method for method in ("GET", "POST", "PUT", "PATCH", "DELETE") if takes(method)]
    return methods + ["HEAD"] * ("GET" in methods) + ["OPTIONS"] * bool(methods)


class Canonical:
    """ASGI middleware, before all that look at a path or a method."""

    def __init__(self, app: ASGIApp, *, prefix: str) -> None:
        self._app = app
        self._prefix = prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        is_head = scope["method"] == "HEAD"

        async def headers_alone(message: Message) -> None:
            await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

        path = self._prefix + _canonical(self._without_prefix(scope["path"]))
        scope = {**scope, "root_path": self._prefix, "path": path, "method": "GET" if is_head else scope["method"]}
        await self._app(scope, receive, headers_alone if is_head else send)

    def _without_prefix(self, path: str) -> str:
        if path == self._prefix:
            return "/"
        return path.removeprefix(self._prefix) if path.startswith(f"{self._prefix}/") else path


def _canonical(path: str) -> str:
    if path in _EXACT:
        return path
    return _LEGACY if f"{path}/" == _LEGACY else path.removesuffix("/")
