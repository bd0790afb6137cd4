"""Health of one part, for Docker and Kubernetes: `python -m deployments.containers.health CHECK`.

The exit status is 0 when it is well. CHECK is a URL that must answer with success; or `tcp://HOST:PORT`, which must
accept a connection; or `worker`, by the file that a worker touches while its loop turns; or `services`: Prefect's
background services in this container, by the heartbeat that their docket worker leaves in Redis.
Nothing heavy is imported: it runs every few seconds.
"""

import os
import socket
import sys
import time
import urllib.request
from pathlib import Path
from typing import cast

WORKER_FILE = "worker-alive"
_TCP = "tcp://"
_SERVICES_DOCKET = "prefect"  # the server's own has another name
_FRESH_SECONDS = 30


def answers(url: str) -> None:
    """Raises OSError unless the URL answers with success."""
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=4):
        pass


def accepts(url: str) -> None:
    """Raises OSError unless something listens there."""
    host, _, port = url.removeprefix(_TCP).rpartition(":")
    socket.create_connection((host, int(port)), timeout=4).close()


def worker_lives() -> None:
    """Raises OSError unless the worker of this container has touched its file lately."""
    file = Path(os.environ.get("FACET_HOME", ".facet")) / WORKER_FILE
    if time.time() - file.stat().st_mtime > _FRESH_SECONDS:
        raise OSError(f"the worker has not touched {file} for {_FRESH_SECONDS} s")


def services_live() -> None:
    """Raises OSError unless a docket worker of this host has been heard of lately."""
    from redis import Redis

    redis = Redis.from_url(os.environ["PREFECT_SERVER_DOCKET_URL"], socket_timeout=4)
    key = f"{_SERVICES_DOCKET}:workers"
    fresh = cast(list[bytes], redis.zrangebyscore(key, time.time() - _FRESH_SECONDS, "+inf"))
    if not any(worker.decode().startswith(f"{socket.gethostname()}#") for worker in fresh):
        raise OSError("no docket worker of this host is heard of")


def main(check: str) -> int:
    try:
        checks = {"worker": worker_lives, "services": services_live}
        checks.get(check, lambda: accepts(check) if check.startswith(_TCP) else answers(check))()
    except OSError as error:
        print(error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
