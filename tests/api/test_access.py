"""Two senders with a key each: neither can see, change or guess anything of the other's, by any route."""

from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import anyio
import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from fastapi.testclient import TestClient
from starlette.routing import Mount

from api.access import ASSETS, PICTURES, public_paths
from api.app import create_app
from facet.principals import KeyScope
from facet.reprocessing.request import ReprocessingRequest
from facet.services import Services
from facet.settings import Settings
from tests.support.api import assert_problem, complete
from tests.support.databases import make_tables
from tests.support.images import picture

PARAMETERS = {"image_id", "delivery_id", "reprocessing_id"}
"""Ids in paths and queries, of which every endpoint must know whose they are."""


class Sender:
    """A key, and what was sent with it."""

    def __init__(self, app: FastAPI, key: str) -> None:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self.client = TestClient(app, headers=headers, raise_server_exceptions=False, follow_redirects=False)
        self.ids: dict[str, str] = {}
        self.request_id = ""

    def send(self, request_id: str, path: str = "/v1/images", **headers: str) -> Any:
        form = {"request_id": request_id, "callback_url": "http://127.0.0.1:9/x"}
        return self.client.post(path, files={"image": ("p.png", picture())}, data=form, headers=headers)

    def send_and_end(self, services: Services, request_id: str) -> None:
        image_id = self.send(request_id).json()["id"]
        complete(services, image_id)
        [delivery_id] = services.deliveries.undelivered([UUID(image_id)])
        reprocessing = services.reprocessings.create(ReprocessingRequest(request_id_prefix=request_id))
        self.request_id = request_id
        self.ids = {
            "image_id": image_id,
            "delivery_id": str(delivery_id),
            "reprocessing_id": str(reprocessing.id),
        }


def new_services(home: Path, **settings: Any) -> Services:
    services = Services(Settings(home=home, outbound_allow="127.0.0.1", **settings))
    make_tables(services.database)
    return services


@pytest.fixture
def services(tmp_path: Path) -> Services:
    return new_services(tmp_path)


@pytest.fixture
def app(services: Services) -> FastAPI:
    return create_app(services)


@pytest.fixture
def ada(app: FastAPI, services: Services) -> Sender:
    """Has a finished image, with a callback."""
    sender = Sender(app, services.keys.create("ada", KeyScope.SUBMIT))
    sender.send_and_end(services, "adas-own-words")
    return sender


@pytest.fixture
def bob(app: FastAPI, services: Services) -> Sender:
    return Sender(app, services.keys.create("bob", KeyScope.SUBMIT))


def endpoints(app: FastAPI) -> list[tuple[str, str]]:
    """Method and path of whatever the application answers, in its documentation or not."""
    mounted = [route for route in app.routes if isinstance(route, Mount)]
    assert [route.path for route in mounted] == [ASSETS.rstrip("/")], "teach this test what is mounted"
    routes = list(iter_route_contexts([route for route in app.routes if route not in mounted]))
    assert all(route.path and route.methods for route in routes), "teach this test the new kind of route"
    found = sorted((method, route.path) for route in routes for method in route.methods if method != "HEAD")
    assert {("GET", "/v1/images/{image_id}"), ("DELETE", "/v1/images/{image_id}"), ("GET", "/openapi.json")} <= {*found}
    return found


def ask(sender: Sender, method: str, path: str, ids: dict[str, str]) -> Any:
    unknown = {word.split("}")[0] for word in path.split("{")[1:]} - PARAMETERS
    assert not unknown, f"{path}: teach this test whose {unknown} is, and the route too"
    form: dict[str, Any] = {"data": {"request_id": "x"}} if method == "POST" else {}
    if path in ("/v1/images", "/api/image/") and method == "POST":
        form |= {"files": {"image": ("p.png", picture())}}
        form["data"]["callback_url"] = "http://127.0.0.1:9/x"
    query = {name: value for name, value in ids.items() if f"{{{name}}}" not in path} | {"request_id": "adas-own-words"}
    return sender.client.request(method, path.format(**ids), params=query, **form)


def is_public(path: str) -> bool:
    return path in public_paths(Settings()) or path.startswith(PICTURES)


def needed_scope(method: str, path: str) -> str:
    if path.startswith("/v1/reprocessings"):
        return "admin"
    return "read" if method == "GET" else "submit"


def test_what_is_public_is_known(app: FastAPI) -> None:
    public = {path for _, path in endpoints(app) if is_public(path)}
    documents, health, pages = (
        {"/docs", "/openapi.json"},
        {"/healthz", "/readyz", "/metrics"},
        {"/", "/gallery", "/image"},
    )
    assert public == documents | health | pages | {"/v1/pictures/{image_id}/annotated"}


def test_no_route_answers_without_a_key_or_with_a_wrong_one(app: FastAPI, ada: Sender) -> None:
    nobody, guesser = Sender(app, ""), Sender(app, f"facet_{'0' * 12}_{'a' * 43}")
    for method, path in endpoints(app):
        for sender, code in ((nobody, "no-key"), (guesser, "bad-key")):
            answer = ask(sender, method, path, ada.ids)
            if is_public(path):
                assert answer.status_code != 401, path
                assert ada.request_id not in answer.text and ada.ids["image_id"] not in answer.text, path
            else:
                assert_problem(answer, 401, code)
                assert answer.headers["www-authenticate"].startswith("Bearer"), path


def test_no_route_tells_or_does_anything_of_anothers(
    app: FastAPI, services: Services, ada: Sender, bob: Sender
) -> None:
    own = [ada.client.get(f"/v1/images/{ada.ids['image_id']}").json(), ada.client.get("/v1/deliveries").json()]
    objects = sorted(services.store.keys("images/"))
    for method, path in endpoints(app):
        nowhere = {name: str(uuid4()) for name in ada.ids}
        others, nothings = ask(bob, method, path, ada.ids), ask(bob, method, path, nowhere)
        assert (others.status_code, others.headers.get("content-type")) == (
            nothings.status_code,
            nothings.headers.get("content-type"),
        ), f"{method} {path} tells that it is there"
        if "{" in path and not is_public(path):
            assert others.status_code == (403 if needed_scope(method, path) == "admin" else 404), f"{method} {path}"
        if not is_public(path) and (method, path) not in {("POST", "/v1/images"), ("POST", "/api/image/")}:
            said, of_nothing = others.text, nothings.text
            for name in ada.ids:
                said, of_nothing = said.replace(ada.ids[name], "id"), of_nothing.replace(nowhere[name], "id")
            assert said == of_nothing and ada.request_id not in said, f"{method} {path}"
    assert own == [ada.client.get(f"/v1/images/{ada.ids['image_id']}").json(), ada.client.get("/v1/deliveries").json()]
    assert set(objects) <= set(services.store.keys("images/"))


def test_lists_have_a_keys_own_and_an_admins_all(tmp_path: Path, database_url: str) -> None:
    services = new_services(tmp_path, database_url=database_url)
    app = create_app(services)
    ada, bob = (Sender(app, services.keys.create(name, KeyScope.SUBMIT)) for name in ("ada", "bob"))
    for sender in (ada, bob):
        sender.send_and_end(services, "holiday")
    path = f"/v1/deliveries/{ada.ids['delivery_id']}/redeliver"
    assert [sender.client.post(path).status_code for sender in (ada, bob)] == [202, 404]
    admin = Sender(app, services.keys.create("root", KeyScope.ADMIN))
    for path, name in (("/v1/images", "image_id"), ("/v1/deliveries", "delivery_id")):
        seen = {
            sender: [row["id"] for row in sender.client.get(path).json()[path.rsplit("/")[-1]]]
            for sender in (ada, bob, admin)
        }
        assert seen == {ada: [ada.ids[name]], bob: [bob.ids[name]], admin: [bob.ids[name], ada.ids[name]]}
        assert admin.client.get(f"{path}/{ada.ids[name]}").status_code == 200
    assert admin.client.post(f"/v1/deliveries/{ada.ids['delivery_id']}/redeliver").status_code == 202
    assert admin.client.delete(f"/v1/images/{ada.ids['image_id']}").status_code == 204


def test_a_run_that_holds_anothers_images_is_not_named_after_them(
    app: FastAPI, services: Services, ada: Sender, bob: Sender
) -> None:
    ids = [UUID(sender.send(f"{name}-holiday").json()["id"]) for sender, name in ((ada, "ada"), (bob, "bob"))]
    services.claims.open(ids, run_id=uuid4(), flow_run_id=uuid4(), flow_run_name="ada-holiday and 1 more")
    seen = bob.client.get(f"/v1/images/{ids[1]}").json()
    assert seen["flow_run"]["name"] is None and "ada" not in str(seen)
    admin = Sender(app, services.keys.create("root", KeyScope.ADMIN))
    assert admin.client.get(f"/v1/images/{ids[1]}").json()["flow_run"]["name"] == "ada-holiday and 1 more"


def test_a_reading_key_reads_its_owners_images_and_changes_none(
    app: FastAPI, services: Services, ada: Sender, bob: Sender
) -> None:
    bob.send_and_end(services, "bobs")
    reader = Sender(app, services.keys.create("ada-dashboard", KeyScope.READ, owner="ada"))
    assert [row["id"] for row in reader.client.get("/v1/images").json()["images"]] == [ada.ids["image_id"]]
    for method, path in endpoints(app):
        if not is_public(path) and (needed := needed_scope(method, path)) != "read":
            answer = ask(reader, method, path, ada.ids)
            assert needed in assert_problem(answer, 403, "scope")["detail"], path
            assert f'scope="{needed}"' in answer.headers["www-authenticate"]
    assert ada.client.get(f"/v1/images/{ada.ids['image_id']}").status_code == 200


def test_one_idempotency_key_of_two_senders_is_two(ada: Sender, bob: Sender) -> None:
    first, second = (sender.send("same", **{"Idempotency-Key": "1"}) for sender in (ada, bob))
    assert (first.status_code, second.status_code) == (202, 202)
    assert first.json()["id"] != second.json()["id"] and "idempotency-replayed" not in second.headers
    again = ada.send("same", **{"Idempotency-Key": "1"})
    assert again.json()["id"] == first.json()["id"]


def test_the_predecessors_route_takes_the_key_too(services: Services, ada: Sender, bob: Sender) -> None:
    image_id = ada.send("legacy", "/api/image/").json()["image_id"]
    complete(services, image_id)
    assert ada.client.get("/api/image/", params={"image_id": image_id}).status_code == 200
    assert_problem(bob.client.get("/api/image/", params={"image_id": image_id}), 404, "unknown-image")


def test_a_revoked_key_stops_at_once_and_the_last_one_opens_nothing(services: Services, ada: Sender) -> None:
    services.keys.revoke("ada")
    assert_problem(ada.client.get("/v1/images"), 401, "bad-key")
    fresh = Sender(create_app(Services(services.settings)), "")  # a process started since
    assert_problem(fresh.client.get("/v1/images"), 401, "no-key")


def test_a_key_of_the_settings_owns_by_its_owners_name(tmp_path: Path) -> None:
    old, new, other = "a" * 32, "b" * 32, "c" * 32
    keys = f"shop:submit:{old},shop:submit:{new}, other:submit:{other}"
    app = create_app(new_services(tmp_path, api_keys=keys))
    image_id = Sender(app, old).send("r").json()["id"]
    statuses = [Sender(app, key).client.get(f"/v1/images/{image_id}").status_code for key in (new, other, "d" * 32)]
    assert statuses == [200, 404, 401]


@pytest.mark.parametrize(
    ("framing", "most"),
    [((b"content-length", b"99999999"), 99999999), ((b"transfer-encoding", b"chunked"), 10**12)],
)
def test_a_strangers_body_is_let_by_within_bounds_and_only_once_it_is_answered(
    tmp_path: Path, framing: tuple[bytes, bytes], most: int
) -> None:
    services = new_services(tmp_path, max_request_bytes=1_000_000)
    services.keys.create("ada", KeyScope.SUBMIT)
    said: list[Any] = []
    read = 0

    async def receive() -> Any:
        nonlocal read
        assert said[-1]["type"] == "http.response.body" and b"no-key" in said[-1]["body"]
        read += 65_536
        return {"type": "http.request", "body": bytes(65_536), "more_body": read < most}

    async def send(message: Any) -> None:
        said.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/images",
        "query_string": b"",
        "headers": [(b"content-type", b"multipart/form-data; boundary=b"), framing],
        "client": ("10.0.0.1", 1),
        "server": ("10.0.0.2", 80),
    }
    anyio.run(create_app(services), scope, receive, send)
    assert said[0]["status"] == 401 and (b"connection", b"close") in said[0]["headers"]
    assert said[-1] == {"type": "http.response.body"} and 1_000_000 <= read < 1_200_000


def test_the_openapi_document_says_which_scope_each_route_needs(app: FastAPI) -> None:
    document = app.openapi()
    assert document["components"]["securitySchemes"]["ApiKey"]["scheme"] == "bearer"
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            needed = [] if is_public(path) else [{"ApiKey": [needed_scope(method.upper(), path)]}]
            assert operation.get("security", []) == needed, f"{method} {path}"
            if needed:
                assert {"401", "403", "429"} <= set(operation["responses"]), f"{method} {path}"
