"""Images for tests: rows to work on, and pictures made on the spot."""

import io
from datetime import timedelta

import cv2
import numpy as np
from PIL import Image as Pillow
from PIL import ImageFilter, ImageOps
from sqlalchemy import select

from facet.annotations import Annotation
from facet.persistence.database import Database
from facet.persistence.models import Image, Lane


def picture(width: int = 64, height: int = 48, image_format: str = "png") -> bytes:
    """A picture without a face."""
    done, data = cv2.imencode(f".{image_format}", np.full((height, width, 3), 90, np.uint8))
    assert done
    return data.tobytes()


def group(portrait: bytes) -> bytes:
    """Four faces of different sizes and confidences, one of 0.9995 and the others under 0.998, on 1280 × 760 pixels."""
    person = Pillow.open(io.BytesIO(portrait))
    scene = Pillow.new("RGB", (1280, 760), "#39424e")
    blurred, grey = person.filter(ImageFilter.GaussianBlur(5)), ImageOps.grayscale(person)
    for each, size, at in (
        (person, 614, (0, 146)),
        (ImageOps.mirror(person), 512, (614, 0)),
        (blurred, 384, (660, 376)),
        (grey, 245, (1034, 514)),
    ):
        scene.paste(each.resize((size, size), Pillow.Resampling.LANCZOS), at)
    out = io.BytesIO()
    scene.save(out, "JPEG", quality=90)
    return out.getvalue()


def add_images(
    database: Database, count: int, *, lane: Lane = Lane.INTERACTIVE, callback_url: str | None = None
) -> list[Image]:
    """Rows as a submission leaves them, oldest first, no two of the same time."""
    images = []
    for number in range(count):
        with database.write() as session:
            image = Image(
                created_at=database.now(session) + timedelta(microseconds=number),
                request_id=f"request-{number}",
                lane=lane,
                media_type="image/png",
                size_bytes=100,
                sha256="0" * 64,
                width=64,
                height=48,
                callback_url=callback_url,
                min_confidence=0.94,
                min_face_size=20,
                annotation=Annotation.BOXES,
            )
            session.add(image)
        images.append(image)
    return images


def reload(database: Database, image: Image) -> Image:
    with database.read() as session:
        return session.scalars(select(Image).where(Image.id == image.id)).one()
