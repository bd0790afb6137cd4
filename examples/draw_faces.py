"""Submit a photo, wait for its faces, and draw them: `python examples/draw_faces.py photo.jpg faces.png`."""

import os
import sys
from pathlib import Path

from PIL import Image, ImageDraw, ImageOps

from facet.client import Client


def main(photo: Path, drawing: Path) -> None:
    url, api_key = os.environ.get("FACET_URL", "http://127.0.0.1:8000"), os.environ.get("FACET_API_KEY")
    with Client(url, api_key=api_key) as client:
        accepted = client.submit(photo, request_id=photo.name, annotate="none")
        faces = client.result(accepted["id"], seconds=120)["faces"]
    picture = ImageOps.exif_transpose(Image.open(photo)).convert("RGB")  # boxes are those of the upright photo
    pen, line = ImageDraw.Draw(picture), max(2, max(picture.size) // 300)
    for face in faces:
        x, y, width, height = face["box"]
        pen.rectangle((x, y, x + width, y + height), outline="#2ee6a6", width=line)
        for point in face["keypoints"].values():
            pen.circle(tuple(point), line, fill="#ffd34d")
    picture.save(drawing)
    print(f"{len(faces)} face(s): {drawing}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
