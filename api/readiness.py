"""Whether the parts that the service needs do answer, looked at once in a moment, however many ask."""

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock

from api import schemas
from deployments.prefect.flow_runs import PrefectFlowRuns
from facet.errors import Unavailable
from facet.services import Services

_MOMENT_SECONDS = 1.0
_WAITED_FOR = {"prefect", "maintenance"}
"""Parts without which submissions are still taken."""

Check = Callable[[], str | None]
"""Raises Unavailable, saying why; returns what is amiss where the part does its work all the same."""


def checks(services: Services, flow_runs: PrefectFlowRuns) -> dict[str, Check]:
    """What each part must pass to be ready."""

    def object_store() -> None:
        services.store.check()

    return {
        "database": services.database.check,
        "object_store": object_store,
        "prefect": flow_runs.check,
        "maintenance": lambda: services.completion.age().complaint,
    }


class Readiness:
    """Looks in a thread of its own, so that a part that hangs holds none of those that answer requests."""

    def __init__(self, checks: Mapping[str, Check], *, moment: float = _MOMENT_SECONDS) -> None:
        """`moment`: seconds for which a look is good."""
        self._checks = checks
        self._moment = moment
        self._thread = ThreadPoolExecutor(1, "readiness")
        self._lock = Lock()
        self._look: Future[schemas.Readiness] | None = None
        self._looked_at = float("-inf")

    def look(self) -> Future[schemas.Readiness]:
        """The last look if it is fresh or still under way, and a new one otherwise."""
        with self._lock:
            look = self._look
            if look is None or (look.done() and time.monotonic() - self._looked_at > self._moment):
                look = self._look = self._thread.submit(self._ask_all)
            return look

    def _ask_all(self) -> schemas.Readiness:
        parts = {name: _ask(check) for name, check in self._checks.items()}
        down = {name for name, part in parts.items() if part.status != "ok"}
        status = "unavailable" if down - _WAITED_FOR else "degraded" if down else "ok"
        self._looked_at = time.monotonic()
        return schemas.Readiness(status=status, parts=parts)


def _ask(check: Check) -> schemas.Part:
    try:
        amiss = check()
    except Unavailable as error:
        return schemas.Part(status="unavailable", detail=str(error))
    return schemas.Part(status="degraded" if amiss else "ok", detail=amiss)
