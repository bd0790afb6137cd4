"""The doctor of the compose stack: it finds all well, names what is broken and its mend, and the mend helps."""

import json
import time

from tests.stack.acts import Stack
from tests.support.processes import wait_for


class Doctor:
    """The service `doctor`, with Prefect's password among its secrets, beside a stack that is broken and mended."""

    def __init__(self, stack: Stack) -> None:
        self._stack, self._compose, self._prefect = stack, stack.compose, stack.prefect

    def examine(self) -> None:
        """What is deleted, each with `facet deploy` alone as its mend; then what is paused, locked, late or stopped."""
        status, said = self._compose.run("doctor")
        assert status == 0 and "FAULT" not in said, said
        [queue] = [q for q in self._prefect("/work_pools/faces/queues/filter") if q["name"] == "interactive"]
        deletions = {
            "deployment": (f"/deployments/{self._deployment('detect-faces')}", "deployments", "detect-faces"),
            "queue": (f"/work_queues/{queue['id']}", "work pool", "interactive"),
            "pool": ("/work_pools/faces", "work pool", ""),  # none, or the worker's own, which has no queues
        }
        for what, (path, check, named) in deletions.items():
            self._prefect(path, "DELETE")
            self._finds(check, named, "facet deploy")
            self._heals(what)
        self._maintenance()
        self._compose("stop", "worker")  # Prefect misses it some time later; what else is broken meanwhile is named
        self._prefect("/work_pools/faces", "PATCH", is_paused=True)
        self._finds("work pool", "paused", "Resume")
        self._prefect("/work_pools/faces", "PATCH", is_paused=False)
        self._compose.query("ALTER DATABASE facet SET default_transaction_read_only = on", "postgres")
        self._finds("database", "read-only", "let its user write")
        self._compose.query("ALTER DATABASE facet RESET default_transaction_read_only", "postgres")
        wait_for(lambda: "worker" in self._faults(), 120, "the doctor misses the worker")
        self._finds("worker", "No worker", "facet worker")
        self._compose("up", "-d", "--wait", "--no-recreate", "worker")
        self._is_well()

    def _heals(self, what: str) -> None:
        """A photo of meanwhile is taken, and completed within a minute of the job `deploy`; then all is well."""
        self._stack.client.send(f"deleted-{what}-0")
        self._compose("run", "--rm", "--no-deps", "-T", "deploy", seconds=120)
        begun = time.monotonic()
        self._stack.client.settle(60)
        assert not (lost := self._stack.client.lost(f"deleted-{what}")), lost
        print(
            f"  {what} deleted: the photo of meanwhile is back {time.monotonic() - begun:.0f} s after deploy",
            flush=True,
        )
        self._is_well()

    def _maintenance(self) -> None:
        """It completed a day ago; a run of it mends that."""
        self._compose.query("UPDATE maintenance SET completed_at = now() - interval '1 day'")
        self._finds("maintenance", "has not completed", "its runs")
        self._prefect(f"/deployments/{self._deployment('maintain')}/create_flow_run")
        self._is_well()

    def _deployment(self, name: str) -> object:
        [found] = [each for each in self._prefect("/deployments/filter") if each["name"] == name]
        return found["id"]

    def _is_well(self) -> None:
        wait_for(lambda: not self._faults(), 60, "all is well again")

    def _faults(self) -> dict[str, dict[str, str]]:
        """What the doctor finds wrong, by its check; it ends with status 1 where there is any."""
        status, said = self._compose.run("doctor", "facet", "doctor", "--json")
        checks = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
        faults = {check["name"]: check for check in checks if not check["ok"]}
        assert checks and status == bool(faults), said
        return faults

    def _finds(self, check: str, detail: str, fix: str) -> None:
        """It is the first to be named; others follow from it."""
        faults = self._faults()
        assert next(iter(faults), "") == check, faults
        assert detail in faults[check]["detail"] and fix in faults[check]["fix"], faults
