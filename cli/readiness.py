"""Whether the parts of the embedded stack answer; and while one does not, which it is and why."""

import os
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from facet.settings import Settings

_LOG_BYTES = 4000
_LOG_LINES = 15


class StackFailed(Exception):
    """The stack cannot start, or has not become ready."""


@dataclass(frozen=True, slots=True)
class Part:
    """`lacks` says what is wanting; None once nothing is. `log` is the name of its log."""

    name: str
    log: str
    lacks: Callable[[Settings], str | None]


def prefect_url(settings: Settings) -> str:
    return f"http://127.0.0.1:{settings.prefect_port}"


def prefect_login() -> tuple[str, str] | None:
    """User and password of the Prefect server, where it has been given some."""
    login = os.environ.get("PREFECT_API_AUTH_STRING") or os.environ.get("PREFECT_SERVER_API_AUTH_STRING")
    user, _, password = (login or "").partition(":")
    return (user, password) if login else None


def is_ready(settings: Settings) -> bool:
    """Whether every part answers."""
    return not any(part.lacks(settings) for part in PARTS)


def await_parts(
    settings: Settings,
    process: subprocess.Popen[bytes],
    parts: Sequence[Part],
    *,
    seconds: float,
    say: Callable[[str], object],
) -> None:
    """Wait until the parts answer, and say for which. Raises StackFailed, with the end of its log, when one does not.

    `process` runs the parts.
    """
    until, said = time.monotonic() + seconds, ""
    while lacking := next(((part.name, lack) for part in parts if (lack := part.lacks(settings))), None):
        if process.poll() is not None:
            raise StackFailed(f"The stack has ended before it was ready; see {_logs(settings)}.")
        if time.monotonic() > until:
            raise StackFailed(_given_up(settings, parts, seconds))
        if said != (said := f"Waiting for {lacking[0]}: {lacking[1]}."):
            say(said)
        time.sleep(0.3)


def _prefect(settings: Settings) -> str | None:
    return _lack("GET", f"{prefect_url(settings)}/api/health", lambda _: None)


def _api(settings: Settings) -> str | None:
    def lack(body: Any) -> str | None:
        parts = body["parts"].items()
        return ", ".join(f"{name} {part['detail']}" for name, part in parts if part["status"] == "unavailable") or None

    return _lack("GET", f"{settings.local_url}/readyz", lack)


def _worker(settings: Settings) -> str | None:
    def lack(workers: Any) -> str | None:
        return None if any(worker["status"] == "ONLINE" for worker in workers) else "none is online"

    url = f"{prefect_url(settings)}/api/work_pools/{settings.work_pool}/workers/filter"
    return _lack("POST", url, lack, json={}, auth=prefect_login())


PREFECT = Part("Prefect's server", "prefect.log", _prefect)
PARTS = (PREFECT, Part("the API", "api.log", _api), Part("a worker", "worker.log", _worker))


def _lack(method: str, url: str, lack: Callable[[Any], str | None], **content: Any) -> str | None:
    """What the answer lacks, or that there is none."""
    try:
        # Without the machine's certificates, which take far longer to load than these local servers to answer.
        answer = httpx.request(method, url, timeout=5, trust_env=False, verify=False, **content)
        lacking = lack(answer.json())
        return lacking if lacking or answer.is_success else f"{url} answers {answer.status_code}"
    except httpx.HTTPError as error:
        return f"{url} does not answer ({type(error).__name__})"
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"{url} answers {answer.status_code}"


def _given_up(settings: Settings, parts: Sequence[Part], seconds: float) -> str:
    said = [f"The stack is not ready after {seconds:g} s; FACET_START_SECONDS gives it more."]
    for part in parts:
        if lack := part.lacks(settings):
            said.append(f"{part.name[0].upper()}{part.name[1:]}: {lack}. {_end_of(_logs(settings) / part.log)}")
    return "\n".join(said)


def _end_of(log: Path) -> str:
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _LOG_BYTES))
            lines = file.read().decode(errors="replace").splitlines()[-_LOG_LINES:]
    except FileNotFoundError:
        lines = []
    return "\n    ".join([f"The end of {log}:", *lines]) if lines else f"Its log {log} is empty."


def _logs(settings: Settings) -> Path:
    return settings.home.absolute() / "logs"
