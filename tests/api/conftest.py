"""The API on a database and store of its own, without Prefect."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from facet.services import Services
from facet.settings import Settings

LOOPBACK = "http://127.0.0.1:8000"
"""The API answers nowhere else while no key is configured."""

Submit = Callable[..., Any]


@pytest.fixture
def services(tmp_path: Path, database_url: str) -> Services:
    return Services(Settings(home=tmp_path, database_url=database_url, outbound_allow="127.0.0.1"))


@pytest.fixture
def client(services: Services) -> TestClient:
    """Outside a `with`, so that no dispatcher runs: what it does is tested with a real Prefect server."""
    return TestClient(create_app(services), base_url=LOOPBACK, raise_server_exceptions=False)


@pytest.fixture
def submit(client: TestClient, photo: bytes) -> Submit:
    """Submit a photo; keywords are form fields."""

    def submit(data: bytes = photo, path: str = "/v1/images", **fields: str) -> Any:
        return client.post(path, files={"image": ("photo.jpg", data)}, data={"request_id": "r-1"} | fields)

    return submit
