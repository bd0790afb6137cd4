"""The production profile on Debian's PostgreSQL, Redis and S3 server: the parts that containers run, as processes."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from facet.errors import Unavailable
from facet.storage.s3 import S3Store
from tests.support.processes import wait_for
from tests.support.production import S3_KEYS, missing, production
from tests.support.receiver import Receiver
from tests.support.stack import ROOT, Stack

pytestmark = pytest.mark.skipif(bool(missing()), reason=f"not installed: {missing()}")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with production(tmp_path_factory.mktemp("production") / "home") as stack:
        yield stack


def test_a_photo_goes_all_the_way(stack: Stack, receiver: Receiver, photo: bytes) -> None:
    image = stack.submit(photo, request_id="portrait", callback_url=receiver.url)
    body = receiver.body_of("portrait")
    assert body["status"] == "completed" and len(body["faces"]) == 1
    store = _store(stack, S3_KEYS[1])
    [annotated] = [key for key in store.keys(f"images/{image['id']}/") if "annotated" in key]
    assert store.get(annotated)[:2] == b"\xff\xd8"


def test_the_store_knows_its_keys(stack: Stack) -> None:
    with pytest.raises(Unavailable, match="SignatureDoesNotMatch"):
        _store(stack, "another-secret").check()


def test_prefects_events_go_by_redis(stack: Stack) -> None:
    redis = Redis.from_url(stack.settings["PREFECT_REDIS_MESSAGING_URL"])
    wait_for(lambda: redis.exists("events"), 30, "Prefect's server publishes its events in Redis")
    groups = {group["name"] for group in redis.xinfo_groups("events")}
    assert groups, "Prefect's services consume them"


def test_the_services_health_is_their_own(stack: Stack) -> None:
    def health(**environment: str) -> int:
        command = [sys.executable, "-m", "deployments.containers.health", "services"]
        return subprocess.run(command, env=stack.environment | environment, cwd=ROOT, timeout=30).returncode

    wait_for(lambda: health() == 0, 30, "the services' heartbeat is in Redis")
    empty = stack.settings["PREFECT_SERVER_DOCKET_URL"].removesuffix("/0") + "/5"
    assert health(PREFECT_SERVER_DOCKET_URL=empty) == 1


def test_the_workers_health_is_its_own(stack: Stack, tmp_path: Path) -> None:
    def health(home: Path) -> int:
        command = [sys.executable, "-m", "deployments.containers.health", "worker"]
        return subprocess.run(command, env=os.environ | {"FACET_HOME": str(home)}, cwd=ROOT, timeout=30).returncode

    wait_for(lambda: health(stack.home) == 0, 60, "the worker has left its sign of life")
    assert health(tmp_path) == 1


def _store(stack: Stack, secret: str) -> S3Store:
    endpoint = stack.settings["FACET_S3_ENDPOINT"]
    return S3Store(endpoint, access_key=S3_KEYS[0], secret_key=secret, bucket="facet", secure=False)
