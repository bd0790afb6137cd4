"""What guards every request: limits, loopback without keys, headers, CORS, and the pages that can be closed."""

import logging
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy.event import listen

from api.access import ASSETS
from api.app import create_app
from facet.principals import KeyScope
from facet.services import Services
from facet.settings import OWN_PATHS, Settings
from tests.api.conftest import LOOPBACK
from tests.api.test_access import Sender, ask, endpoints
from tests.support.api import assert_problem
from tests.support.databases import make_tables
from tests.support.images import picture

HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
}


def new_app(home: Path, **settings: Any) -> tuple[FastAPI, Services]:
    services = Services(Settings(home=home, **settings))
    make_tables(services.database)
    return create_app(services), services


def browser(app: FastAPI, base_url: str = LOOPBACK, **headers: str) -> TestClient:
    return TestClient(app, base_url=base_url, headers=headers, raise_server_exceptions=False)


# ---- limits


def test_a_key_that_asks_too_often_is_told_when_to_ask_again_and_others_are_not(tmp_path: Path) -> None:
    app, services = new_app(tmp_path, rate_limit=3)
    ada, bob = (Sender(app, services.keys.create(name, KeyScope.READ)).client for name in ("ada", "bob"))
    answers = [ada.get("/v1/images") for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert_problem(answers[3], 429, "rate-limited")
    assert 1 <= int(answers[3].headers["retry-after"]) <= 20
    assert bob.get("/v1/images").status_code == 200


def test_an_address_that_guesses_is_limited_and_keys_from_there_are_not(tmp_path: Path) -> None:
    app, services = new_app(tmp_path, rate_limit_address=2)
    key = services.keys.create("ada", KeyScope.READ)
    statuses = [Sender(app, f"{key}x").client.get("/v1/images").status_code for _ in range(3)]
    assert statuses == [401, 401, 429]
    assert Sender(app, "").client.get("/docs").status_code == 429
    assert Sender(app, "").client.get("/healthz").status_code == 200
    assert Sender(app, key).client.get("/v1/images").status_code == 200


def test_a_guesser_over_the_limit_costs_the_database_nothing(tmp_path: Path) -> None:
    app, services = new_app(tmp_path, rate_limit_address=2)
    key = services.keys.create("ada", KeyScope.READ)
    guesser = Sender(app, f"facet_{'0' * 12}_{'a' * 43}").client
    assert [guesser.get("/v1/images").status_code for _ in range(4)] == [401, 401, 429, 429]
    statements: list[str] = []
    listen(services.database.engine, "before_cursor_execute", lambda *event: statements.append(event[2]))
    assert {guesser.get("/v1/images").status_code for _ in range(20)} == {429}
    assert [statement for statement in statements if "api_keys" in statement] == []
    assert Sender(app, key).client.get("/v1/images").status_code == 200


def test_a_key_that_is_revoked_stops_at_an_address_over_the_limit_too(tmp_path: Path) -> None:
    app, services = new_app(tmp_path, rate_limit_address=1)
    ada = Sender(app, services.keys.create("ada", KeyScope.READ)).client
    statuses = [Sender(app, "").client.get("/docs").status_code for _ in range(2)] + [ada.get("/v1/images").status_code]
    services.keys.revoke("ada")
    assert [*statuses, ada.get("/v1/images").status_code] == [200, 429, 200, 429]


def test_without_keys_nothing_is_limited(tmp_path: Path) -> None:
    app, services = new_app(tmp_path, rate_limit=1, rate_limit_address=1)
    client = browser(app)
    for path in ("/assets/base.css", "/", "/readyz", "/v1/images"):
        assert {client.get(path).status_code for _ in range(3)} == {200}, path
    services.keys.create("ada", KeyScope.READ)
    assert client.get("/assets/base.css").status_code == 429


def test_one_ipv6_network_is_one_address(tmp_path: Path) -> None:
    app, services = new_app(tmp_path, rate_limit_address=1)
    services.keys.create("ada", KeyScope.READ)
    statuses = [
        TestClient(app, client=(address, 1)).get("/docs").status_code
        for address in ("2001:db8::1", "2001:db8::2", "2001:db8:0:1::1", "10.0.0.1", "10.0.0.2")
    ]
    assert statuses == [200, 429, 200, 200, 200]


# ---- without keys


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost:8000", "localhost", "[::1]:8000", "127.8.8.8"])
def test_without_keys_the_machines_own_users_are_answered(host: str, tmp_path: Path) -> None:
    app, _ = new_app(tmp_path)
    assert browser(app, Host=host).get("/v1/images").status_code == 200


@pytest.mark.parametrize("host", ["facet.example", "10.0.0.1:8000", "127.0.0.1.evil.example", "localhost.", ""])
def test_without_keys_a_name_that_was_made_to_lead_here_is_refused(host: str, tmp_path: Path) -> None:
    app, _ = new_app(tmp_path)
    answer = browser(app, Host=host).get("/v1/images")
    assert "facet keys create" in assert_problem(answer, 403, "loopback-only")["detail"]


def test_without_keys_a_connection_from_elsewhere_is_refused_whatever_it_says(tmp_path: Path) -> None:
    app, _ = new_app(tmp_path)
    assert_problem(browser(app, "http://10.0.0.1:8000", Host="127.0.0.1").get("/v1/images"), 403, "loopback-only")


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1.evil.example", "http://["])
def test_without_keys_a_page_of_another_site_changes_nothing(origin: str, tmp_path: Path) -> None:
    app, services = new_app(tmp_path)
    files, data = {"image": ("p.png", picture())}, {"request_id": "r"}
    answer = browser(app, Origin=origin).post("/v1/images", files=files, data=data)
    assert_problem(answer, 403, "cross-site")
    assert list(services.store.keys("images/")) == []


@pytest.mark.parametrize(
    "origin", ["http://127.0.0.1:8000", "http://[::1]:8000", "http://localhost", "https://p.example"]
)
def test_without_keys_a_page_of_this_machine_or_a_listed_one_may_submit(origin: str, tmp_path: Path) -> None:
    app, _ = new_app(tmp_path, cors_origins="https://p.example")
    files, data = {"image": ("p.png", picture())}, {"request_id": "r"}
    assert browser(app, Origin=origin).post("/v1/images", files=files, data=data).status_code == 202


def test_while_the_database_is_away_nothing_is_open(tmp_path: Path) -> None:
    away = Services(Settings(home=tmp_path, database_url="postgresql+psycopg2://x@127.0.0.1:1/x"))
    answer = browser(create_app(away), Authorization=f"Bearer facet_{'0' * 12}_{'a' * 43}").get("/v1/images")
    assert_problem(answer, 503, "unavailable")
    assert answer.headers["x-content-type-options"] == "nosniff" and int(answer.headers["retry-after"]) > 0
    assert browser(create_app(away)).get("/healthz").status_code == 200


# ---- one form of requests


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/", "/docs", "/openapi.json", "/assets/base.css", "/metrics"])
def test_what_can_be_got_can_be_asked_for_its_headers(path: str, tmp_path: Path) -> None:
    client = browser(new_app(tmp_path)[0])
    got, head = client.get(path), client.head(path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-type"] == got.headers["content-type"] and int(head.headers["content-length"]) > 0


def test_asking_for_headers_needs_the_key_of_the_whole(tmp_path: Path) -> None:
    app, services = new_app(tmp_path)
    key = services.keys.create("ada", KeyScope.READ)
    statuses = [Sender(app, sent).client.head("/v1/images").status_code for sent in (key, "", f"{key}x")]
    assert statuses == [200, 401, 401]
    assert Sender(app, key).client.head("/v1/images:batch").status_code == 405


@pytest.mark.parametrize("path", ["/v1/images/", "/v1//images", "/%761/images", "/docs/", "/v1/pictures/../images"])
def test_a_path_written_otherwise_opens_nothing_more(path: str, tmp_path: Path) -> None:
    app, services = new_app(tmp_path, docs="key", metrics="admin")
    services.keys.create("ada", KeyScope.READ)
    assert Sender(app, "").client.get(path).status_code in (401, 404)
    assert Sender(app, "").client.get("/metrics/").status_code == 401


def test_every_path_of_its_own_is_known_as_no_prefix(tmp_path: Path) -> None:
    app, _ = new_app(tmp_path)
    first = {path.split("/")[1] for _, path in endpoints(app)} | {ASSETS.strip("/")}
    assert first - {""} == OWN_PATHS
    for word in OWN_PATHS:
        with pytest.raises(ValueError, match=f"begins with /{word}"):
            Settings(public_url=f"https://example.com/{word}/facet")


@pytest.mark.parametrize(
    "url", ["example.com", "ftp://example.com", "https://example.com?x", "https://u@example.com", "https://x/a//b"]
)
def test_what_is_no_public_url_is_refused_at_the_start(url: str) -> None:
    with pytest.raises(ValueError, match=r"such as https://photos\.example\.com"):
        Settings(public_url=url)


# ---- headers, CORS


def test_every_answer_of_every_route_has_the_security_headers(tmp_path: Path) -> None:
    app, services = new_app(tmp_path, outbound_allow="127.0.0.1")
    sender = Sender(app, services.keys.create("root", KeyScope.ADMIN))
    sender.send_and_end(services, "r-1")
    strange = [Sender(app, "").client.get("/v1/images"), sender.client.get("/nothing"), sender.client.put("/healthz")]
    for answer in [*strange, *(ask(sender, method, path, sender.ids) for method, path in endpoints(app))]:
        for name, value in HEADERS.items():
            assert answer.headers[name] == value, answer.request.url
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
        assert answer.headers["cache-control"] in ("no-store", "private, no-cache")


def test_an_unexpected_error_has_them_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app, services = new_app(tmp_path)
    monkeypatch.setattr(services.catalog, "page", lambda *a, **k: 1 / 0)
    answer = browser(app).get("/v1/images")
    assert_problem(answer, 500, "error")
    assert {name: answer.headers[name] for name in HEADERS} == HEADERS and "content-security-policy" in answer.headers


def test_the_docs_page_may_run_its_own_script_and_nothing_inline_besides(tmp_path: Path) -> None:
    app, _ = new_app(tmp_path)
    answer = browser(app).get("/docs")
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
    assert "unsafe" not in policy["script-src"] and policy["script-src"].count("'sha256-") == 1
    assert policy["connect-src"] == "'self'" and "SwaggerUIBundle" in answer.text


def test_no_page_of_another_origin_may_read_unless_it_is_listed(tmp_path: Path) -> None:
    ask_first = {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "authorization"}
    shut, _ = new_app(tmp_path)
    answer = browser(shut, Origin="https://photos.example").get("/v1/images")
    assert not [name for name in answer.headers if name.startswith("access-control")]
    app, services = new_app(tmp_path, cors_origins="https://photos.example")
    key = services.keys.create("web", KeyScope.READ)
    for origin, allowed in (("https://photos.example", "https://photos.example"), ("https://evil.example", None)):
        asked = browser(app, Origin=origin).options("/v1/images", headers=ask_first)
        read = browser(app, Origin=origin, Authorization=f"Bearer {key}").get("/v1/images")
        refused = browser(app, Origin=origin).get("/v1/images")
        for answer in (asked, read, refused):
            assert answer.headers.get("access-control-allow-origin") == allowed
            assert "access-control-allow-credentials" not in answer.headers
    assert (asked.status_code, refused.status_code) == (400, 401)


@pytest.mark.parametrize("origins", ["*", "photos.example", "https://photos.example/path", "https://*.example"])
def test_what_is_no_origin_is_refused_at_the_start(origins: str) -> None:
    with pytest.raises(ValueError, match="is not an origin"):
        Settings(cors_origins=origins)


# ---- pages that can be closed


def test_docs_and_metrics_can_be_closed(tmp_path: Path) -> None:
    app, services = new_app(tmp_path, docs="key", metrics="admin")
    clients = [Sender(app, services.keys.create(scope, scope)).client for scope in (KeyScope.READ, KeyScope.ADMIN)]
    clients.insert(0, Sender(app, "").client)
    for path, statuses in (
        ("/docs", [401, 200, 200]),
        ("/openapi.json", [401, 200, 200]),
        ("/metrics", [401, 403, 200]),
        ("/healthz", [200, 200, 200]),
        ("/readyz", [200, 200, 200]),
    ):
        assert [client.get(path).status_code for client in clients] == statuses, path


def test_metrics_can_be_for_every_key(tmp_path: Path) -> None:
    app, services = new_app(tmp_path, metrics="key")
    keys = ["", *(services.keys.create(scope, scope) for scope in (KeyScope.READ, KeyScope.ADMIN))]
    assert [Sender(app, key).client.get("/metrics").status_code for key in keys] == [401, 200, 200]


# ---- keys at rest and in words


def test_neither_key_nor_hash_nor_link_is_logged_or_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    secret = "k" * 40
    caplog.set_level(logging.DEBUG)
    app, services = new_app(tmp_path, api_keys=f"shop:submit:{secret}", link_secret="l" * 40)
    made = services.keys.create("ada", KeyScope.SUBMIT)
    answers = [Sender(app, key).client.get("/v1/images").text for key in (made, secret, f"{made}x")]
    link = services.links.annotated(uuid4())
    answers.append(Sender(app, "").client.get(link).text)
    told = "\n".join([caplog.text, *answers, repr(services.settings), repr(vars(services.keys))])
    for word in (made, secret, "l" * 40):
        assert word not in told
    rows = [vars(row) for row in services.keys.all()]
    assert made not in str(rows) and made.rsplit("_", 1)[1] not in str(rows)


@pytest.mark.parametrize(
    "keys",
    ["shop", "shop:submit", f"shop:all:{'p' * 32}", "shop:submit:pppp", f":submit:{'p' * 32}", f"a b:read:{'p' * 32}"],
)
def test_a_malformed_key_of_the_settings_is_refused_without_being_told(keys: str) -> None:
    with pytest.raises(ValueError, match=r"key 2 of 2 is not owner:scope:secret") as refused:
        Settings(api_keys=f"ok:read:{'q' * 32},{keys}")  # type: ignore[arg-type]
    assert "pppp" not in str(refused.value) and "qqqq" not in str(refused.value)
