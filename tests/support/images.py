"""Images for tests: rows to work on, and pictures made on the spot."""

import cv2
import numpy as np
from sqlalchemy import select

from facet.database import Database
from facet.models import Image, Lane


def picture(width: int = 64, height: int = 48, form: str = "png") -> bytes:
    """A picture without a face."""
    done, data = cv2.imencode(f".{form}", np.full((height, width, 3), 90, np.uint8))
    assert done
    return data.tobytes()


def add_images(
    database: Database, count: int, *, lane: Lane = Lane.INTERACTIVE, callback_url: str | None = None
) -> list[Image]:
    """Rows as a submission leaves them, oldest first."""
    images = []
    for number in range(count):
        with database.write() as session:
            image = Image(
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
                annotate=True,
            )
            session.add(image)
        images.append(image)
    return images


def reload(database: Database, image: Image) -> Image:
    with database.read() as session:
        return session.scalars(select(Image).where(Image.id == image.id)).one()
