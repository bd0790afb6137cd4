from datetime import timedelta
from pathlib import Path
from threading import Event

from fastapi.testclient import TestClient

from api.readiness import Readiness
from facet.errors import Unavailable
from facet.persistence.models import Maintenance
from facet.services import Services
from tests.api.conftest import Submit


def test_the_process_lives(client: TestClient) -> None:
    assert client.get("/healthz").json()["status"] == "ok"


def test_without_prefect_it_is_degraded_and_says_so(client: TestClient) -> None:
    answer = client.get("/readyz")
    assert answer.status_code == 200
    body = answer.json()
    assert (body["status"], body["parts"]["prefect"]["status"]) == ("degraded", "unavailable")
    assert body["parts"]["database"]["status"] == body["parts"]["object_store"]["status"] == "ok"


def test_without_its_store_it_is_not_ready(client: TestClient, tmp_path: Path) -> None:
    for entry in tmp_path.glob("objects"):
        entry.rmdir()
    (tmp_path / "objects").touch()
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["parts"]["object_store"]["status"]) == (503, "unavailable")


def test_maintenance_that_is_overdue_is_told_and_takes_nothing_away(client: TestClient, services: Services) -> None:
    with services.database.write() as session:
        row = session.get(Maintenance, 1) or Maintenance(id=1)
        row.completed_at = row.expected_since = services.database.now(session) - timedelta(hours=5)
        session.add(row)
    answer = client.get("/readyz")
    part = answer.json()["parts"]["maintenance"]
    assert (answer.status_code, part["status"]) == (200, "degraded")
    assert part["detail"] == "`maintain` has not completed for 5.0 hours."


def test_however_many_ask_a_part_is_looked_at_once_in_a_moment() -> None:
    looks, go = [], Event()

    def part() -> None:
        looks.append(1)
        go.wait(20)

    readiness = Readiness({"part": part}, moment=3600)
    asked = [readiness.look() for _ in range(50)]
    go.set()
    assert {look.result(20).status for look in asked} == {"ok"}
    assert readiness.look().result(20).status == "ok" and len(looks) == 1


def test_a_look_that_is_no_longer_fresh_is_made_anew() -> None:
    away = Event()

    def part() -> None:
        if away.is_set():
            raise Unavailable("It is away.")

    readiness = Readiness({"part": part}, moment=-1)
    assert readiness.look().result(20).status == "ok"
    away.set()
    seen = readiness.look().result(20)
    assert (seen.status, seen.parts["part"].detail) == ("unavailable", "It is away.")


def test_metrics_count_the_queue_and_the_requests(client: TestClient, submit: Submit) -> None:
    image_id = submit().json()["id"]
    client.get(f"/v1/images/{image_id}")
    page = client.get("/metrics").text
    assert 'facet_images{status="queued"} 1.0' in page
    assert "facet_queue_oldest_seconds" in page
    assert 'route="/v1/images/{image_id}",status="200"' in page
    assert image_id not in page


def test_the_openapi_document_describes_errors_and_the_callback(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    submit = document["paths"]["/v1/images"]["post"]
    assert set(submit["responses"]) == {"202", "400", "401", "403", "409", "413", "415", "422", "429", "503"}
    assert "application/problem+json" in submit["responses"]["415"]["content"]
    assert {"ProblemDetails", "FieldError", "CallbackBody"} <= set(document["components"]["schemas"])
    [callback] = submit["callbacks"].values()
    [(url, operations)] = callback.items()
    assert url == "{$request.body#/callback_url}" and "post" in operations
    references = set(_references(document))
    assert {r.rsplit("/", 1)[1] for r in references} <= set(document["components"]["schemas"])


def _references(node: object) -> list[str]:
    if isinstance(node, dict):
        return [v for k, v in node.items() if k == "$ref"] + [r for v in node.values() for r in _references(v)]
    return [r for v in node for r in _references(v)] if isinstance(node, list) else []
