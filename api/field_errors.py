"""What is wrong with a field, and how to mend it, by the kind of error that validation found."""

from typing import Any

from pydantic import BaseModel, Field


class FieldError(BaseModel):
    """One field that is wrong."""

    field: str = Field(examples=["min_confidence"])
    message: str = Field(examples=["Input should be less than or equal to 1"])
    fix: str = Field(examples=["Send a number from 0 to 1."])


_JSON_OBJECT = "Send one JSON object in UTF-8, with Content-Type: application/json."
_FIXES = {
    "missing": "Add the field to the request.",
    "extra_forbidden": "Leave it out, or check its name: /docs lists the fields.",
    "json_invalid": _JSON_OBJECT,
    "dict_type": _JSON_OBJECT,
    "model_type": _JSON_OBJECT,
    "model_attributes_type": _JSON_OBJECT,
    "string_type": "Send text.",
    "string_unicode": "Send text in UTF-8.",
    "string_too_short": "Send {min_length} or more characters.",
    "string_too_long": "Send at most {max_length} characters.",
    "too_short": "Send at least {min_length}.",
    "too_long": "Send at most {max_length}.",
    "timezone_aware": "Send a time with its zone, such as 2026-01-31T12:00:00Z.",
}
_TIME = "Send a time such as 2026-01-31T12:00:00Z."
_PATTERNS = {
    "request_id": "Send it without control characters, such as line breaks.",
    "Idempotency-Key": "Send visible ASCII characters, without spaces.",
}
_SHOULD_BE = "Input should be "


def field_error(entry: dict[str, Any]) -> FieldError:
    """One of pydantic's errors."""
    field = ".".join(str(part) for part in entry["loc"][1:]) or str(entry["loc"][0])
    if entry["type"] == "json_invalid":
        field = "body"
    message = "It is no file" if field == "image" and entry["type"] == "value_error" else entry["msg"]
    return FieldError(field=field, message=message.removeprefix("Value error, "), fix=_fix(entry, field))


def _fix(entry: dict[str, Any], field: str) -> str:
    kind, message = entry["type"], entry["msg"]
    if field == "image":
        return "Send the photo as a file part named image, in multipart/form-data."
    if kind == "string_pattern_mismatch" and field.rsplit(".", 1)[-1] in _PATTERNS:
        return _PATTERNS[field.rsplit(".", 1)[-1]]
    if kind in _FIXES:
        return _FIXES[kind].format(**entry.get("ctx", {}))
    if kind.startswith(("datetime", "date_")):
        return _TIME
    if message.startswith(_SHOULD_BE):
        wanted = message.removeprefix(_SHOULD_BE)
        if kind in ("enum", "literal_error"):
            return f"Send {wanted}."
        return f"Send {wanted.split(',')[0]}." if wanted.startswith("a ") else f"Send a value {wanted}."
    return "Send values for which that holds." if kind == "value_error" else "Send what /docs describes for this field."
