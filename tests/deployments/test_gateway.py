"""The gateway before the API, with the configuration that it is shipped with: whom it believes, and what it lets in."""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import answers, bare_environment, free_port, running, wait_for
from tests.support.secrets_table import ROOT
from tests.support.serving import HAPROXY

pytestmark = pytest.mark.skipif(HAPROXY is None, reason="HAProxy is not installed")

# Behind uvicorn as `facet api` runs it: says who it takes for the sender, and what it was told of them.
_ECHO = """
import json, sys, uvicorn
async def echo(scope, receive, send):
    headers = [[name.decode(), value.decode()] for name, value in scope["headers"]]
    said = {"client": scope["client"][0], "scheme": scope["scheme"], "path": scope["path"], "headers": headers}
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": json.dumps(said).encode()})
uvicorn.run(echo, host="127.0.0.1", port=int(sys.argv[1]), lifespan="off", log_level="warning")
"""
_CLAIMS = {
    "X-Forwarded-For": "198.51.100.7",
    "Forwarded": "for=198.51.100.7;proto=https",
    "X-Real-IP": "198.51.100.7",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "elsewhere.example",
    "X-Forwarded-Prefix": "/elsewhere",
    "x-forwarded-Port": "443",
}
_TRUSTED = "127.0.0.9"

Ask = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ask]:
    """Sends a raw path through the gateway from an address of this machine; status, and what the API was told."""
    folder = tmp_path_factory.mktemp("gateway")
    with _echo(folder) as api, _gateway(folder, api) as port:

        def send(path: str, address: str = "127.0.0.2", **headers: str) -> tuple[int, dict[str, Any]]:
            connection = HTTPConnection("127.0.0.1", port, timeout=10, source_address=(address, 0))
            connection.request("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})
            answer = connection.getresponse()
            body = answer.read()
            connection.close()
            return answer.status, json.loads(body) if answer.status == 200 else {}

        wait_for(lambda: answers(port) and send("/v1/images")[0] == 200, 20, "the gateway finds the API")
        yield send


@contextmanager
def _echo(folder: Path) -> Iterator[int]:
    port = free_port()
    with running([sys.executable, "-c", _ECHO, str(port)], folder / "api.log", env=bare_environment()):
        yield port


@contextmanager
def _gateway(folder: Path, api: int) -> Iterator[int]:
    port = free_port()
    config = (ROOT / "deployments" / "compose" / "haproxy.cfg").read_text()
    for pattern, here in (
        (r"bind :8000", f"bind 127.0.0.1:{port}"),
        (r"server-template api 10 api:8000", f"server api 127.0.0.1:{api}"),
        (r"resolvers docker init-addr none", "init-addr none"),
        (r"inter 2s fall 2 rise 1", "inter 100ms fall 2 rise 1"),
    ):
        config, count = re.subn(pattern, here, config)
        assert count == 1, pattern
    (folder / "haproxy.cfg").write_text(config)
    environment = {**bare_environment(), "TRUSTED_PROXIES": f"{_TRUSTED} 192.0.2.0/24"}
    with running([str(HAPROXY), "-f", str(folder / "haproxy.cfg")], folder / "gateway.log", env=environment):
        yield port


def test_senders_are_told_apart_by_their_own_address(ask: Ask) -> None:
    for address in ("127.0.0.2", "127.0.0.3"):
        assert ask("/v1/images", address)[1]["client"] == address


def test_what_a_sender_claims_is_not_believed_and_not_passed_on(ask: Ask) -> None:
    status, told = ask("/v1/images", **{name.replace("-", "_"): value for name, value in _CLAIMS.items()})
    assert status == 200
    assert told["client"] == "127.0.0.2" and told["scheme"] == "http"
    assert [value for name, value in told["headers"] if name == "x-forwarded-for"] == ["127.0.0.2"]
    claimed = {name.lower() for name in _CLAIMS} - {"x-forwarded-for"}
    assert not claimed & {name for name, _ in told["headers"]}


def test_a_listed_proxy_is_believed_about_whom_it_speaks_for(ask: Ask) -> None:
    said = {"X_Forwarded_For": "203.0.113.66, 198.51.100.7", "X_Forwarded_Proto": "https"}
    status, told = ask("/v1/images", _TRUSTED, **said)
    assert status == 200
    assert told["client"] == "198.51.100.7" and told["scheme"] == "https"
    assert [value for name, value in told["headers"] if name == "x-forwarded-for"] == ["198.51.100.7"]


@pytest.mark.parametrize(
    "path",
    ["/metrics", "/%6Detrics", "/%6d%65%74%72%69%63%73", "//metrics", "/./metrics", "/v1/../metrics", "/METRICS",
     "/metrics/", "/metrics?a=b", "/prefix/metrics", "/%2e/metrics", "http://facet.example/metrics"],
)  # fmt: skip
def test_metrics_are_nobodys_outside_however_the_path_is_written(ask: Ask, path: str) -> None:
    assert ask(path)[0] == 404


@pytest.mark.parametrize("path", ["/", "/v1/images?request_id=metrics", "/v1/images/not-metrics", "/healthz"])
def test_other_paths_are_let_in(ask: Ask, path: str) -> None:
    status, told = ask(path)
    assert (status, told["path"]) == (200, path.partition("?")[0])


def test_without_listed_proxies_the_configuration_is_valid() -> None:
    command = [str(HAPROXY), "-c", "-f", str(ROOT / "deployments" / "compose" / "haproxy.cfg")]
    done = subprocess.run(command, env=bare_environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
