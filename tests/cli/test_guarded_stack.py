"""The stack with everything guarded: API keys, signed links, signed callbacks, and a password on Prefect's server."""

import json
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from cli.doctor import examine
from facet.settings import get_settings
from tests.support import local_http
from tests.support.processes import wait_for
from tests.support.receiver import receiving
from tests.support.stack import Stack, new_stack, started

API_KEY, LINK_SECRET, LOGIN = "key-" + "k" * 36, "link-" + "l" * 36, "admin:pass-pppppppppppp"
TOKEN = "tok-" + "t" * 36
HOOK = "whsec_" + "aGhoaGhoaGhoaGhoaGhoaGhoaGhoaGho"
SECRETS = (API_KEY, LINK_SECRET, LOGIN.split(":")[1], b64encode(LOGIN.encode()).decode(), HOOK, TOKEN)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    stack = new_stack(
        tmp_path_factory.mktemp("guarded") / "home",
        FACET_WORKER_SLOTS="1",
        FACET_API_KEYS=f"shop:submit:{API_KEY}",
        FACET_LINK_SECRET=LINK_SECRET,
        FACET_WEBHOOK_SECRETS=HOOK,
        FACET_OUTBOUND_ALLOW="127.0.0.1",
        FACET_LOG_LEVEL="DEBUG",
        PREFECT_SERVER_API_AUTH_STRING=LOGIN,
    )
    with started(stack):
        yield stack


def prefect(stack: Stack, path: str, **body: Any) -> Any:
    url = f"http://127.0.0.1:{stack.prefect_port}/api{path}"
    user, _, password = LOGIN.partition(":")
    return local_http.post(url, json=body, auth=(user, password), timeout=30).raise_for_status().json()


def test_a_photo_goes_through_and_no_secret_is_left_anywhere(stack: Stack, photo: bytes) -> None:
    with receiving() as receiver, httpx.Client(base_url=stack.url, timeout=30) as client:
        form = {"request_id": "guarded", "callback_url": f"{receiver.url}?token={TOKEN}"}
        assert client.post("/v1/images", files={"image": ("p.jpg", photo)}, data=form).status_code == 401
        key = {"Authorization": f"Bearer {API_KEY}"}
        answer = client.post("/v1/images", files={"image": ("p.jpg", photo)}, data=form, headers=key)
        assert answer.status_code == 202, answer.text
        body = receiver.body_of("guarded")
        assert len(body["faces"]) == 1
        link = body["output_image_url"]
        assert local_http.get(link, timeout=30).headers["content-type"] == "image/jpeg"
        assert local_http.get(link.replace("signature=", "signature=x"), timeout=30).status_code == 403
        image = client.get(f"/v1/images/{body['image_id']}", headers=key).json()
        server = f"http://127.0.0.1:{stack.prefect_port}/api"
        assert local_http.post(f"{server}/flow_runs/filter", json={"sort": "ID_DESC"}, timeout=30).status_code == 401

    def flow_run() -> Any:
        return prefect(stack, "/flow_runs/filter", flow_runs={"id": {"any_": [image["flow_run"]["id"]]}})[0]

    wait_for(lambda: flow_run()["state_type"] == "COMPLETED", 60, "the run is over")
    kept = {path: prefect(stack, f"/{path}/filter") for path in ("flow_runs", "task_runs", "artifacts", "logs")}
    kept |= {path: prefect(stack, f"/{path}/filter") for path in ("deployments", "work_pools")}
    assert flow_run()["parameters"] == {"image_ids": [body["image_id"]]}
    assert any("signature=" in str(artifact["data"]) for artifact in kept["artifacts"])
    logs = [path for path in (stack.home / "logs").iterdir() if path.is_file()]
    assert {path.name for path in logs} >= {"api.log", "worker.log", "prefect.log"}
    said = {path.name: path.read_text() for path in logs} | {name: json.dumps(rows) for name, rows in kept.items()}
    for where, text in said.items():
        for secret in SECRETS:
            assert secret not in text, where
    assert not [name for name, text in said.items() if "signature=" in text and name != "artifacts"]
    assert not [path for path in Path(stack.home).rglob("*.conf") if any(s in path.read_text() for s in SECRETS)]


@pytest.mark.parametrize(("login", "is_well"), [(LOGIN, True), ("admin:another", False), ("", False)])
def test_the_doctor_logs_in_to_prefect(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, login: str, is_well: bool
) -> None:
    for name, value in stack.environment.items():
        if name.startswith("FACET_"):
            monkeypatch.setenv(name, value)
    monkeypatch.setenv("PREFECT_API_URL", f"http://127.0.0.1:{stack.prefect_port}/api")
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", login)
    get_settings.cache_clear()
    checks = {check.name: check for check in examine()}
    get_settings.cache_clear()
    assert all(check.ok for check in checks.values()) is is_well, checks
    if not is_well:
        assert "PREFECT_API_AUTH_STRING" in checks["Prefect"].fix
