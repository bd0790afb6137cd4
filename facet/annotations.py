"""What is made of the faces in an annotated picture."""

from enum import StrEnum
from typing import Annotated, Any

from pydantic import BeforeValidator, TypeAdapter, ValidationError, WithJsonSchema


class Annotation(StrEnum):
    """`boxes` shows the faces, `blur` and `pixelate` hide them; `none`: the photo as it is."""

    BOXES = "boxes"
    BLUR = "blur"
    PIXELATE = "pixelate"
    NONE = "none"


_BOOLEAN = TypeAdapter(bool)


def _from_boolean(value: Any) -> Any:
    """Also `true` for boxes and `false` for none, as it was when there was no more to choose from."""
    try:
        return Annotation.BOXES if _BOOLEAN.validate_python(value) else Annotation.NONE
    except ValidationError:
        return value


AskedAnnotation = Annotated[
    Annotation,
    BeforeValidator(_from_boolean),
    WithJsonSchema({"anyOf": [{"type": "string", "enum": list(Annotation)}, {"type": "boolean"}]}),
]
