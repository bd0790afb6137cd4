"""Who may ask what: every request needs a key, but for the few paths that are public.

The key is looked at before anything of the body is read. What a key may do, its scope, each route says by asking for a
`Reader` or a `Submitter`, or by being for `admins_only`; what it may see, the domain asks of that `Principal`.
"""

import re
from collections.abc import Callable, Sequence, Set
from ipaddress import IPv6Address, ip_address, ip_network
from math import ceil
from typing import Annotated

from fastapi import Request, Security
from fastapi.security import HTTPBearer
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from api import problems
from api.canonical import path_of
from api.problems import Problem
from facet.access.api_keys import ApiKeys
from facet.access.rate_limit import RateLimit
from facet.errors import Unavailable
from facet.local import is_loopback
from facet.principals import EVERYONE, KeyScope, Principal
from facet.settings import Settings

LIVENESS = "/healthz"
PICTURES = "/v1/pictures/"
ASSETS = "/assets/"
_PAGES = {"/", "/gallery", "/image"}
_DOCS = {"/docs", "/openapi.json"}
_PRINCIPAL = "facet.principal"


def public_paths(settings: Settings) -> set[str]:
    """The paths that need no key, besides `ASSETS`, and `PICTURES`, which need a signature.

    The console's pages are among them: they hold nothing, and a browser sends no key when it opens one.
    """
    docs = _DOCS if settings.docs == "open" else set()
    metrics = {"/metrics"} if settings.metrics == "open" else set()
    return {LIVENESS, "/readyz"} | _PAGES | docs | metrics


class Access:
    """ASGI middleware that lets a request in with its principal, or answers with a problem."""

    def __init__(self, app: ASGIApp, *, keys: ApiKeys, settings: Settings) -> None:
        self._app = app
        self._keys = keys
        self._public: Set[str] = public_paths(settings)
        self._origins = settings.cors_origin_list
        self._per_key = RateLimit(settings.rate_limit)
        self._per_address = RateLimit(settings.rate_limit_address)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            try:
                scope[_PRINCIPAL] = await self._admit(scope)
            except Problem as problem:
                return await problems.answer(problem)(scope, receive, send)
            except Unavailable as error:
                return await problems.answer(problems.unavailable(error))(scope, receive, send)
        await self._app(scope, receive, send)

    async def _admit(self, scope: Scope) -> Principal | None:
        path = path_of(scope)
        if path == LIVENESS:
            return None
        address = _address(scope)
        if path in self._public or path.startswith((PICTURES, ASSETS)):
            if (wait := self._per_address.take(address)) and await run_in_threadpool(self._keys.required):
                raise _too_many(wait)
            return None
        headers = Headers(scope=scope)
        scheme, _, key = headers.get("authorization", "").partition(" ")
        key = key.strip() if scheme.lower() == "bearer" else ""
        principal = await run_in_threadpool(self._identify, key, address)
        if principal is EVERYONE:
            _check_local(scope, headers, self._origins)
        elif principal:
            if wait := self._per_key.take(principal.id):
                raise _too_many(wait)
        else:
            if wait := self._per_address.take(address):
                raise _too_many(wait)
            raise _not_known(key)
        return principal

    def _identify(self, key: str, address: str) -> Principal | None:
        if not self._keys.required():
            return EVERYONE
        if not key or (self._per_address.take(address, count=False) and not self._keys.lists(key)):
            return None  # an address that has sent too many bad keys asks the database for no other
        return self._keys.authenticate(key)


def _too_many(wait: float) -> Problem:
    seconds = str(ceil(wait))
    detail = f"Too many requests a minute. Try again after {seconds} s."
    return Problem(429, "rate-limited", detail, headers={"Retry-After": seconds})


def _address(scope: Scope) -> str:
    """The sender's address; of IPv6 the network, of which one sender has all addresses."""
    host = (scope.get("client") or ("", 0))[0]
    try:
        address = ip_address(host)
    except ValueError:
        return host
    return str(ip_network((address, 64), strict=False)) if isinstance(address, IPv6Address) else host


def _check_local(scope: Scope, headers: Headers, listed_origins: Sequence[str]) -> None:
    """While no key is configured: this machine's own users only, and not the web pages that they look at."""
    server = (scope.get("server") or ("", 0))[0]
    name = re.sub(r":\d*$", "", headers.get("host", ""))
    if not (is_loopback(server) and is_loopback(name)):
        fix = "Make a key with `facet keys create`, or set FACET_API_KEYS."
        raise Problem(403, "loopback-only", f"Without an API key Facet answers on loopback only. {fix}")
    origin = headers.get("origin", "")
    if scope["method"] != "GET" and origin and origin not in listed_origins and not is_loopback(_host_of(origin)):
        raise Problem(
            403,
            "cross-site",
            "While no API key is configured, pages of other sites may change nothing. "
            "Use the console's own page, or list the origin in FACET_CORS_ORIGINS.",
        )


def _host_of(origin: str) -> str:
    match = re.fullmatch(r"https?://(\[[^]]*\]|[^:/]*)(:\d+)?", origin)
    return match[1] if match else ""


def _not_known(key: str) -> Problem:
    if not key:
        detail = "This needs an API key. Send it as `Authorization: Bearer <key>`."
        return Problem(401, "no-key", detail, headers={"WWW-Authenticate": 'Bearer realm="facet"'})
    detail = "The API key is unknown or revoked. Send another, or ask the service's operator for one."
    return Problem(401, "bad-key", detail, headers={"WWW-Authenticate": 'Bearer realm="facet", error="invalid_token"'})


_bearer = HTTPBearer(
    auto_error=False,
    scheme_name="ApiKey",
    description="An API key. The scopes are those of the key: `read`, `submit` (and read), `admin` (everything).",
)


def _needs(needed: KeyScope) -> Callable[..., Principal]:
    def check(request: Request, _: Annotated[object, Security(_bearer)]) -> Principal:
        principal: Principal | None = request.scope.get(_PRINCIPAL)
        if principal is None:  # a path that was made public, and should not have been
            raise _not_known("")
        if not principal.scope.covers(needed):
            challenge = f'Bearer realm="facet", error="insufficient_scope", scope="{needed}"'
            detail = f"This needs a key of the scope {needed}; this one's is {principal.scope}. Send one that has it."
            raise Problem(403, "scope", detail, headers={"WWW-Authenticate": challenge})
        return principal

    return check


Reader = Annotated[Principal, Security(_needs(KeyScope.READ), scopes=[KeyScope.READ])]
Submitter = Annotated[Principal, Security(_needs(KeyScope.SUBMIT), scopes=[KeyScope.SUBMIT])]
admins_only = Security(_needs(KeyScope.ADMIN), scopes=[KeyScope.ADMIN])
