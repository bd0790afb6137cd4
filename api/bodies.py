"""The bodies of submissions: a form with files, or JSON with URLs. Read here, since one route takes either."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Any, Generic, TypeVar

from fastapi import Depends, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.datastructures import FormData, UploadFile

from api import schemas
from api.body_limits import FIELDS
from api.forms import is_nothing, problem, read_form
from api.problems import Problem, no_json
from facet.outbound.addresses import UrlRefused
from facet.services import Services
from facet.settings import Settings

Body = TypeVar("Body", bound=BaseModel)
Fields = TypeVar("Fields")


def content(*models: type[BaseModel]) -> dict[str, Any]:
    """The OpenAPI description of a body: the first model as a form, the second as JSON."""
    types = ("multipart/form-data", "application/json")
    schemata = [_inline(schema := model.model_json_schema(), schema.get("$defs", {})) for model in models]
    return {
        "requestBody": {
            "required": True,
            "content": {kind: {"schema": schema} for kind, schema in zip(types, schemata, strict=False)},
        }
    }


def _inline(schema: Any, definitions: dict[str, Any]) -> Any:
    """The schema with what it refers to in its place, since an OpenAPI document has its definitions elsewhere."""
    if isinstance(schema, list):
        return [_inline(part, definitions) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return definitions[schema["$ref"].rsplit("/", 1)[1]]
    return {name: _inline(part, definitions) for name, part in schema.items() if name != "$defs"}


@dataclass(frozen=True, slots=True)
class Sent(Generic[Fields]):
    """What was sent, and those of its URLs that are refused."""

    fields: Fields
    refused_urls: Mapping[str, UrlRefused]


async def _submission(request: Request) -> AsyncIterator[Sent[schemas.ImageUpload | schemas.ImageLink]]:
    if _is_json(request):
        body = await _json(request)
        link = validated(schemas.ImageLink, body)
        yield Sent(link, await _refused_urls(request, [body]))
        return
    async with _form(request, files=1) as form:
        upload = validated(schemas.ImageUpload, dict(form))
        yield Sent(upload, await _refused_urls(request, [dict(form)]))


async def _legacy(request: Request) -> AsyncIterator[Sent[schemas.LegacyUpload]]:
    async with _form(request, files=1) as form:
        upload = validated(schemas.LegacyUpload, dict(form))
        yield Sent(upload, await _refused_urls(request, [dict(form)]))


async def _batch(request: Request) -> AsyncIterator[Sent[list[dict[str, Any]]]]:
    """The items of a batch, each as it was sent: they are judged one by one."""
    limit = _settings(request).max_request_images
    if _is_json(request):
        body = await _json(request)
        items = body.get("images") if isinstance(body, dict) else None
        if not isinstance(items, list):
            raise _invalid("images", "Input should be a list", "Send a list of objects with image_url and request_id.")
        yield Sent(_counted(items, limit, "images"), await _refused_urls(request, items))
        return
    async with _form(request, files=limit + 1, fields=FIELDS + limit) as form:
        items = _counted(_items(form), limit, "image")
        yield Sent(items, await _refused_urls(request, items))


async def _refused_urls(request: Request, items: Sequence[Any]) -> Mapping[str, UrlRefused]:
    services: Services = request.app.state.facet.services
    found = [item.get(name) for item in items if isinstance(item, dict) for name in ("callback_url", "image_url")]
    return await services.submitted_urls.refused(url for url in found if isinstance(url, str))


Submission = Annotated[Sent[schemas.ImageUpload | schemas.ImageLink], Depends(_submission)]
LegacySubmission = Annotated[Sent[schemas.LegacyUpload], Depends(_legacy)]
BatchItems = Annotated[Sent[list[dict[str, Any]]], Depends(_batch)]


def validated(model: type[Body], fields: Any) -> Body:
    """Raises RequestValidationError, of which the locations are those of a body."""
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        errors = error.errors(include_url=False, include_input=False)
        raise RequestValidationError([entry | {"loc": ("body", *entry["loc"])} for entry in errors]) from None


def _items(form: FormData) -> list[dict[str, Any]]:
    """A file each, with the fields that are sent once for all; `request_id` once for all, or once for each."""
    shared = {name: value for name, value in form.items() if name not in ("image", "request_id")}
    images, ids = form.getlist("image"), form.getlist("request_id")
    if len(ids) not in (1, len(images)):
        raise _invalid("request_id", f"It was sent {len(ids)} times", "Send it once for all images, or once for each.")
    ids = ids if len(ids) == len(images) else ids * len(images)
    return [shared | {"image": image, "request_id": name} for image, name in zip(images, ids, strict=True)]


def _counted(items: list[Any], limit: int, field: str) -> list[Any]:
    if not 0 < len(items) <= limit:
        raise _invalid(field, f"The batch has {len(items)} images", f"Send 1 to {limit}.")
    return items


def _invalid(field: str, message: str, fix: str) -> Problem:
    return problem(422, "invalid", field, message, fix)


def _settings(request: Request) -> Settings:
    settings: Settings = request.app.state.facet.services.settings
    return settings


def _is_json(request: Request) -> bool:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json"


async def _json(request: Request) -> Any:
    try:
        return await request.json()
    except (ValueError, RecursionError):  # no JSON, no text, or a number of thousands of digits
        raise no_json() from None


@asynccontextmanager
async def _form(request: Request, *, files: int, fields: int = FIELDS) -> AsyncIterator[FormData]:
    form = await read_form(request, files=files, fields=fields, field_bytes=_settings(request).max_field_bytes)
    try:
        yield FormData([(name, value) for name, value in form.multi_items() if not is_nothing(value)])
    finally:
        await form.close()


def without_file(item: Any) -> tuple[Any, UploadFile | None]:
    """An item's fields, and its file if it has one."""
    if not isinstance(item, dict) or not isinstance(image := item.get("image"), UploadFile):
        return item, None
    return {name: value for name, value in item.items() if name != "image"}, image
