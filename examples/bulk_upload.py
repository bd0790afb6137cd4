"""Submit a folder, a few photos at a time, and print a CSV of them: `python examples/bulk_upload.py folder`."""

import asyncio
import csv
import os
import sys
from pathlib import Path

from facet.client import ApiError, AsyncClient

SENDERS = 4
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}


async def main(folder: Path) -> None:
    photos = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    url, api_key = os.environ.get("FACET_URL", "http://127.0.0.1:8000"), os.environ.get("FACET_API_KEY")
    places = asyncio.Semaphore(SENDERS)
    table = csv.writer(sys.stdout)
    table.writerow(["photo", "status", "faces", "id"])
    async with AsyncClient(url, api_key=api_key) as client:

        async def send(photo: Path) -> str | None:
            name = str(photo.relative_to(folder))
            async with places:
                try:
                    return (await client.submit(photo, request_id=name))["id"]
                except ApiError as error:
                    print(f"{name}: {error}", file=sys.stderr)
                    return None

        ids = [image_id for image_id in await asyncio.gather(*map(send, photos)) if image_id]
        async for image in client.wait(ids):
            table.writerow([image["request_id"], image["status"], len(image["faces"]), image["id"]])


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
