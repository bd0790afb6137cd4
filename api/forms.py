"""Forms with files, read so that what is wrong with one names the part and how to mend it."""

import re
from urllib.parse import unquote_to_bytes

from fastapi import Request
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser

from api.field_errors import FieldError
from api.problems import Problem

_EXTENDED_NAME = re.compile(rb"""filename\*\s*=\s*"?[\w-]*'[^']*'([^;"\s]*)""", re.IGNORECASE)
_NAMED = re.compile(rb"[;\s]filename\s*=", re.IGNORECASE)
_IMAGE = re.compile(rb"""[;\s]name\s*=\s*(?:image|"image")\s*(?:;|$)""", re.IGNORECASE)


async def read_form(request: Request, *, files: int, fields: int, field_bytes: int) -> FormData:
    """Raises Problem. The form is to be closed."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    limits = {"max_files": files, "max_fields": fields, "max_part_size": field_bytes}
    try:
        if kind == "multipart/form-data":
            return await _Parser(request.headers, request.stream(), **limits).parse()
        if kind == "application/x-www-form-urlencoded":
            return await request.form(**limits)
    except MultiPartException as error:
        raise _problem(error.message, limits) from None
    except HTTPException as error:
        if error.status_code != 400:  # not the form's: such as a body over its limit
            raise
        raise _problem(error.detail, limits) from None
    message = f"The body is {kind or 'of no declared type'}"
    fix = "Send multipart/form-data with the photo as a file, or application/json with its URL."
    raise problem(415, "unsupported-media-type", "Content-Type", message, fix)


def problem(status: int, code: str, field: str, message: str, fix: str) -> Problem:
    """A problem of one field."""
    error = FieldError(field=field, message=message, fix=fix)
    return Problem(status, code, f"{field}: {message}. {fix}", errors=[error])


class _Parser(MultiPartParser):
    """Takes the part `image` for a file whether it has a filename, RFC 8187's `filename*`, or none."""

    _begun = _ended = False

    async def parse(self) -> FormData:
        form = await super().parse()
        if self._begun and not self._ended:
            await form.close()
            fix = "Send all of it: an HTTP library's own forms end with the boundary and two hyphens."
            raise problem(400, "bad-request", "body", "The form ends before its last boundary", fix)
        return form

    def on_part_begin(self) -> None:
        self._begun = True
        super().on_part_begin()

    def on_end(self) -> None:
        self._ended = True
        super().on_end()

    def on_headers_finished(self) -> None:
        part = self._current_part
        sent = part.content_disposition or b""
        if not _NAMED.search(sent) and ((extended := _EXTENDED_NAME.search(sent)) or _IMAGE.search(sent)):
            name = unquote_to_bytes(extended[1]) if extended else b""
            part.content_disposition = sent + b'; filename="%s"' % re.sub(rb'[\x00-\x1f"\\]', b"_", name)
        super().on_headers_finished()

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        part = self._current_part
        if part.file is None and len(part.data) + end - start > self.max_part_size:
            fix = f"Send at most {self.max_part_size} bytes; the photo goes as the file part image."
            raise problem(400, "bad-request", part.field_name[:100], "The field is too long", fix)
        super().on_part_data(data, start, end)


def _problem(message: str, limits: dict[str, int]) -> Problem:
    """What the parser found, in a sender's words."""
    field, fix = "body", "Send multipart/form-data as RFC 7578 has it; an HTTP library's own does."
    if message.startswith("Too many files"):
        field, fix = "image", "Send one photo a request to /v1/images, or up to 100 to /v1/images:batch."
    elif message.startswith("Too many fields"):
        fix = f"Send at most {limits['max_fields']} fields beside the files."
    elif message.startswith("Field exceeded"):
        fix = f"Send at most {limits['max_part_size']} bytes in a field."
    elif "boundary in multipart" in message:
        field, fix = "Content-Type", "Let your HTTP library set the header, or add the boundary that the body has."
    elif "Content-Disposition" in message:
        field, fix = "Content-Disposition", 'Name each part: Content-Disposition: form-data; name="image".'
    return problem(400, "bad-request", field, message.rstrip("."), fix)


def is_nothing(value: str | UploadFile) -> bool:
    """An empty field, or a file input in which nothing was chosen."""
    return value == "" if isinstance(value, str) else not value.filename and not value.size
