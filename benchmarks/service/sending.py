"""Photos sent to a service under test."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

from benchmarks.service.parts import Target


def client_of(target: Target) -> httpx.Client:
    return httpx.Client(base_url=target.url, timeout=60, trust_env=False)


def submit(client: httpx.Client, photo: Path, request_id: str, callback_url: str, path: str = "/v1/images") -> None:
    answer = client.post(
        path,
        files={"image": (photo.name, photo.read_bytes())},
        data={"request_id": request_id, "callback_url": callback_url},
    )
    assert answer.status_code == 202, answer.text


def submit_all(client: httpx.Client, photos: Mapping[str, Path], callback_url: str, path: str = "/v1/images") -> None:
    """Submit the photos, by their request ids, four at a time."""
    with ThreadPoolExecutor(4) as pool:
        for sent in [pool.submit(submit, client, photo, name, callback_url, path) for name, photo in photos.items()]:
            sent.result()
