"""How children are started, and when they are replaced."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from prefect.client.schemas.actions import WorkPoolUpdate
from prefect.exceptions import InfrastructureNotFound

from deployments.worker.process import ChildProcess, Launch
from deployments.worker.slots import Slots
from deployments.worker.worker import WarmJobConfiguration, WarmWorker
from facet.settings import Settings
from tests.deployments.worker import sample_flows as flows
from tests.deployments.worker.stage import Server, Stage, wait_for
from tests.support.stack import ROOT


def test_children_are_replaced_after_their_runs_and_above_their_memory(stage: Stage) -> None:
    for flow in (flows.where, flows.keep, flows.hog):
        stage.deploy(flow)
    with stage.warm_worker(FACET_CHILD_RUNS="3", FACET_CHILD_MEMORY_MB="600"):
        pids = [stage.where()[0] for _ in range(4)]
        assert len(set(pids[:3])) == 1 and pids[3] != pids[0]
        stage.complete(flows.keep, {"megabytes": 300})
        assert stage.where()[0] != pids[3]
        state = stage.end(stage.run(flows.hog, {"megabytes": 700, "seconds": 60}))
        assert state.is_crashed() and "FACET_CHILD_MEMORY_MB (600)" in (state.message or "")
        stage.where()


def test_the_pools_defaults_reach_the_children(stage: Stage) -> None:
    stage.deploy(flows.where)
    with stage.warm_worker() as worker:
        assert stage.where()[2] == ""
        template = stage.client.read_work_pool(stage.pool).base_job_template
        template["variables"]["properties"]["env"]["default"] = {"SAMPLE": "of the pool"}
        stage.client.update_work_pool(stage.pool, WorkPoolUpdate(base_job_template=template))
        old = worker.children()
        wait_for(lambda: not old & worker.children())
        pid, _, variable, _ = stage.where()
        assert variable == "of the pool"
        assert int(pid) in worker.children()
        assert os.getpgid(int(pid)) == int(pid)


def test_a_child_gets_its_services_ready(tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for key, value in server.env.items():
        monkeypatch.setenv(key, value)

    async def start() -> int | None:
        launch = Launch(flows=("flows.detect_faces.detect_faces", "no.such.flow"), env={"FACET_HOME": str(tmp_path)})
        child = await ChildProcess.start(launch)
        try:
            await asyncio.wait_for(child.ready.wait(), 60)
            child.retire()
            await asyncio.wait_for(child.ended.wait(), 30)
            return child.returncode
        finally:
            await child.stop(1)

    assert asyncio.run(start()) == 0


def test_a_slot_that_is_filled_on_demand_is_filled_again_when_its_idle_child_has_died(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key, value in server.env.items():
        monkeypatch.setenv(key, value)

    async def take_again() -> None:
        slots = Slots("some", 2, lambda: None, asyncio.Semaphore(2), at_first=1)
        slots.start(Launch(services=False))
        try:
            async with asyncio.timeout(120):
                first = await slots.take()
                second = await slots.take()
                slots.give_back(first)
                slots.give_back(second)
                second.signal(signal.SIGKILL)
                await second.ended.wait()
                assert await slots.take() is first
                third = await slots.take()
                assert third.pid not in (first.pid, second.pid)
        finally:
            await slots.stop(1)

    asyncio.run(take_again())


def test_only_what_a_worker_has_started_is_its_to_kill() -> None:
    async def kill() -> None:
        worker = WarmWorker("pool", 1, Settings())
        configuration = WarmJobConfiguration()
        configuration._related_objects = {}
        process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        await worker.kill_infrastructure(str(process.pid), configuration, grace_seconds=5)
        assert process.wait(timeout=5) == -signal.SIGTERM
        for other in (str(os.getppid()), str(process.pid), "not-a-process"):
            with pytest.raises(InfrastructureNotFound):
                await worker.kill_infrastructure(other, configuration)

    asyncio.run(kill())


def test_freed_memory_goes_back_to_the_kernel() -> None:
    """What lies below the last block that is still in use, as a large picture's leftovers do."""
    script = """
import numpy as np, psutil
from deployments.worker.flow_run_loop import give_back_memory
blocks = [np.ones(100_000, np.uint8) for _ in range(2000)]
last = blocks.pop()
blocks.clear()
held = psutil.Process().memory_info().rss
give_back_memory(held + 1)
assert psutil.Process().memory_info().rss > held - 50_000_000
give_back_memory(0)
print(held - psutil.Process().memory_info().rss)
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert int(done.stdout or 0) > 150_000_000, done.stderr
