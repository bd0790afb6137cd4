"""The served OpenAPI document against what is served: generated requests, and no error of the server's."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from api.app import create_app
from facet.intake.submitted_urls import SubmittedUrls
from facet.services import Services
from facet.settings import Settings
from tests.support.databases import make_tables

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
AWAY = {"/readyz"}
"""Answers 503, rightly, since no Prefect is there."""


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FastAPI]:
    services = Services(Settings(home=tmp_path_factory.mktemp("home"), outbound_allow="127.0.0.1"))
    services.submitted_urls = SubmittedUrls(services.addresses, seconds=0.05)  # made-up hosts may keep it waiting
    make_tables(services.database)
    yield create_app(services)
    services.database.close()


def operations() -> list[tuple[str, str]]:
    paths = create_app(Services(Settings(home=Path("unused")))).openapi()["paths"]
    return [(path, method) for path, of in paths.items() for method in of if path not in AWAY]


@pytest.mark.parametrize(("path", "method"), operations())
def test_every_answer_is_as_described(app: FastAPI, path: str, method: str) -> None:
    operation = schemathesis.openapi.from_asgi("/openapi.json", app)[path][method]

    @settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(operation.as_strategy())
    def validate(case: schemathesis.Case) -> None:
        case.call_and_validate(checks=CHECKS)

    validate()
