"""Errors as problem details (RFC 9457): each names what is wrong, where, and how to mend it."""

import logging
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, Field
from pydantic.json_schema import models_json_schema
from starlette.exceptions import HTTPException

from api.body_limits import BodyRefused
from api.canonical import allowed_methods
from api.field_errors import FieldError, field_error
from api.security_headers import SECURITY_HEADERS
from facet.errors import ImageError, Overloaded, Unavailable
from facet.outbound.addresses import UrlRefused
from facet.persistence.cursors import BadCursor
from facet.pictures.codec import FORMATS

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
_RETRY_AFTER = "5"
_RETRY_LATER = "30"
_UNREADABLE = "There was an error parsing the body"
"""FastAPI's words for JSON that is not even text, or has a number of thousands of digits."""


class ProblemDetails(BaseModel):
    """The body of every error."""

    type: str = Field("about:blank", examples=["about:blank"])
    title: str = Field(examples=["Unsupported Media Type"])
    status: int = Field(examples=[415])
    detail: str = Field(examples=["The bytes are of no known picture format."])
    code: str = Field(examples=["not-a-picture"])
    errors: list[FieldError] = []


class Problem(Exception):
    """An error to be told to the client."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        errors: list[FieldError] | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status, self.code, self.detail = status, code, detail
        self.errors = errors or []
        self.headers = headers


def responses(*statuses: int, public: bool = False) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI description of the errors that a route answers, besides those of all routes that need a key."""
    schema = {"schema": {"$ref": "#/components/schemas/ProblemDetails"}}
    known = sorted({*statuses} | ({429} if public else {401, 403, 429}))
    return {status: {"description": HTTPStatus(status).phrase, "content": {MEDIA_TYPE: schema}} for status in known}


_IMAGE_ERRORS = {
    "not-a-picture": (415, f"Send the file's own bytes, not base64, in one of these formats: {FORMATS}."),
    "unsupported": (415, "Send it as a JPEG of 8 bits a channel, or as a PNG or TIFF of 8 or 16."),
    "too-large": (413, "Send a smaller picture."),
    "undecodable": (422, "Send the whole, undamaged file."),
}


def install(app: FastAPI) -> None:
    """Make every error of the application a problem, and describe them so in its OpenAPI document."""
    describe = app.openapi

    def openapi() -> dict[str, Any]:
        document = describe()
        _, schema = models_json_schema([(ProblemDetails, "serialization")], ref_template="#/components/schemas/{model}")
        document["components"]["schemas"].update(schema["$defs"])
        return document

    app.openapi = openapi  # type: ignore[method-assign]

    @app.exception_handler(Problem)
    async def on_problem(request: Request, error: Problem) -> JSONResponse:
        return answer(error)

    @app.exception_handler(BodyRefused)
    async def on_refused_body(request: Request, error: BodyRefused) -> JSONResponse:
        fields = [FieldError(field=error.field, message=error.message, fix=error.fix)]
        return _answer(error.status_code, error.code, error.detail, fields, error.headers)

    @app.exception_handler(BadCursor)
    async def on_bad_cursor(request: Request, error: BadCursor) -> JSONResponse:
        fix = "Send the next_cursor of the page before, unchanged."
        message = "The cursor is of no page of this list."
        return _answer(422, "invalid", f"{message} {fix}", [FieldError(field="cursor", message=message, fix=fix)])

    @app.exception_handler(Overloaded)
    async def on_overloaded(request: Request, error: Overloaded) -> JSONResponse:
        log.warning("%s %s: %s", request.method, request.url.path, error)
        return _answer(503, "overloaded", f"{error} Try again later.", headers={"Retry-After": _RETRY_LATER})

    @app.exception_handler(Unavailable)
    async def on_unavailable(request: Request, error: Unavailable) -> JSONResponse:
        log.error("%s %s: %s", request.method, request.url.path, error)
        return answer(unavailable(error))

    @app.exception_handler(RequestValidationError)
    async def on_invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        problem = invalid(error)
        return _answer(problem.status, problem.code, problem.detail, problem.errors)

    @app.exception_handler(HTTPException)
    async def on_http(request: Request, error: HTTPException) -> Response:
        if error.detail == _UNREADABLE:
            return answer(no_json())
        allowed = allowed_methods(request) if error.status_code == 405 else []
        headers = {"Allow": ", ".join(allowed)} if allowed else error.headers
        if request.method == "OPTIONS" and allowed:
            return Response(status_code=204, headers=headers)
        details = {
            404: f"There is nothing at {request.url.path}. /docs lists the paths.",
            405: f"{request.method} is not allowed here. Use {' or '.join(allowed)}.",
        }
        phrase = HTTPStatus(error.status_code).phrase
        detail = details.get(error.status_code, error.detail)
        return _answer(error.status_code, phrase.lower().replace(" ", "-"), detail, headers=headers)

    @app.exception_handler(Exception)
    async def on_bug(request: Request, error: Exception) -> JSONResponse:
        log.exception("%s %s failed", request.method, request.url.path, exc_info=error)
        # This answer alone passes no middleware.
        return _answer(500, "error", "An unexpected error; it is in the service's log.", headers=SECURITY_HEADERS)


def answer(problem: Problem) -> JSONResponse:
    """The problem as an answer, for what stands before the routes."""
    return _answer(problem.status, problem.code, problem.detail, problem.errors, problem.headers)


def no_json() -> Problem:
    """A body that is to be JSON, and does not parse."""
    message, fix = "It is no JSON", "Send one JSON object in UTF-8."
    return Problem(
        422, "invalid", f"body: {message}. {fix}", errors=[FieldError(field="body", message=message, fix=fix)]
    )


def unavailable(error: Unavailable) -> Problem:
    return Problem(503, "unavailable", f"{error} Try again shortly.", headers={"Retry-After": _RETRY_AFTER})


def of_image(error: ImageError) -> Problem:
    """A picture that is not taken."""
    status, fix = _IMAGE_ERRORS[error.code]
    fields = [FieldError(field="image", message=str(error), fix=fix)]
    return Problem(status, error.code, f"{error} {fix}", errors=fields)


def of_url(error: UrlRefused, field: str) -> Problem:
    """A URL that is not called."""
    fields = [FieldError(field=field, message=str(error), fix=error.fix)]
    return Problem(422, error.code, f"{error} {error.fix}", errors=fields)


def invalid(error: RequestValidationError) -> Problem:
    """Fields that are wrong."""
    errors = [field_error(entry) for entry in error.errors()]
    detail = " ".join(f"{e.field}: {e.message}. {e.fix}".strip() for e in errors)
    return Problem(422, "invalid", detail, errors=errors)


def details(problem: Problem) -> ProblemDetails:
    """The problem as it is sent."""
    return ProblemDetails(
        title=HTTPStatus(problem.status).phrase,
        status=problem.status,
        detail=problem.detail,
        code=problem.code,
        errors=problem.errors,
    )


def _answer(
    status: int,
    code: str,
    detail: str,
    errors: list[FieldError] | None = None,
    headers: Any = None,
) -> JSONResponse:
    problem = ProblemDetails(
        title=HTTPStatus(status).phrase, status=status, detail=detail, code=code, errors=errors or []
    )
    return JSONResponse(problem.model_dump(), status_code=status, headers=headers, media_type=MEDIA_TYPE)
