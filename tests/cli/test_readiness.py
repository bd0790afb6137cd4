"""What the stack's start says while a part does not answer, and when it gives up."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.readiness import PARTS, StackFailed, await_parts, is_ready
from cli.stack import _check_port
from facet.settings import Settings
from tests.support.processes import free_port
from tests.support.scripted import answer, scripted


@pytest.fixture
def supervisor() -> Iterator[subprocess.Popen[bytes]]:
    """A process that goes on, and starts nothing."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "logs").mkdir()
    return Settings(home=tmp_path, port=free_port(), prefect_port=free_port())


def test_each_part_that_does_not_answer_is_named_with_the_end_of_its_log(
    settings: Settings, supervisor: subprocess.Popen[bytes]
) -> None:
    (settings.home / "logs" / "prefect.log").write_text("\n".join(f"line {number}" for number in range(1000)))
    said: list[str] = []
    with pytest.raises(StackFailed) as caught:
        await_parts(settings, supervisor, PARTS, seconds=0.5, say=said.append)
    url = f"http://127.0.0.1:{settings.prefect_port}/api/health"
    assert said == [f"Waiting for Prefect's server: {url} does not answer (ConnectError)."]
    message = str(caught.value)
    assert message.startswith(
        "The stack is not ready after 0.5 s; FACET_START_SECONDS gives it more.\nPrefect's server: "
    )
    assert "line 985\n" in message and "line 999\n" in message and "line 984" not in message
    assert "The API: http://127.0.0.1:" in message and "api.log is empty" in message and "A worker: " in message


def test_a_stack_that_has_ended_is_not_waited_for(settings: Settings, supervisor: subprocess.Popen[bytes]) -> None:
    supervisor.kill()
    supervisor.wait()
    with pytest.raises(StackFailed, match="has ended"):
        await_parts(settings, supervisor, PARTS, seconds=60, say=print)


def test_a_part_of_the_api_that_is_away_is_named(settings: Settings) -> None:
    body = b'{"status": "degraded", "parts": {"prefect": {"status": "unavailable", "detail": "away"}}}'
    with scripted(answer(200, body=body)) as server:
        lack = PARTS[1].lacks(settings.model_copy(update={"port": server.port}))
    assert lack == "prefect away"
    assert not is_ready(settings)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "0.0.0.0", "::"])
def test_a_port_is_looked_at_on_each_address_of_its_host(host: str) -> None:
    port = free_port()
    _check_port("FACET_PORT", host, port)
    where = "::1" if host in ("::1", "::") else "127.0.0.1"
    family = socket.AF_INET6 if ":" in where else socket.AF_INET
    with (
        socket.create_server((where, port), family=family),
        pytest.raises(StackFailed, match=r"Address already in use.*FACET_PORT"),
    ):
        _check_port("FACET_PORT", host, port)


@pytest.mark.parametrize("host", ["facet.invalid", "192.0.2.1"])
def test_a_host_that_is_not_this_machine_is_named(host: str) -> None:
    with pytest.raises(StackFailed, match="set FACET_HOST"):
        _check_port("FACET_PORT", host, free_port())
