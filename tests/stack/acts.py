"""What the stack test does to a running stack, each act with its own checks."""

import re
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

from facet.storage.s3 import S3Store
from tests.stack.engine import ROOT, Compose, created_containers, docker, logs
from tests.stack.load import Client, Stream, secret
from tests.support.processes import wait_for

SERVICES = ("gateway", "api", "worker", "prefect-services", "prefect-server", "redis", "minio", "postgres", "resolver")
_TAKES = "submitting flow run"
_SENDER = """
import httpx
with httpx.Client(base_url="http://gateway:8000", timeout=10, trust_env=False) as client:
    for number in range({count}):
        claim = {{"X-Forwarded-For": f"203.0.113.{{number % 250}}"}} if {claims} else {{}}
        print(status := client.get("/v1/images", headers=claim).status_code)
        if status == 429:
            break
"""
NEXT = "facet-test-next:latest"
ONE_SHOTS = ("migrate", "deploy")


class Stack:
    """A compose project, its secrets and a client of it."""

    def __init__(self, compose: Compose, client: Client, secrets: Path) -> None:
        self.compose, self.client, self.secrets = compose, client, secrets

    def prefect(self, path: str, method: str = "POST", **body: object) -> list[dict[str, object]]:
        user, _, password = secret(self.secrets, "prefect_auth").partition(":")
        url = f"http://127.0.0.1:{self.compose.variables['PREFECT_PORT']}/api{path}"
        answer = httpx.request(method, url, json=body, auth=(user, password), timeout=30, trust_env=False)
        return list(answer.raise_for_status().json()) if answer.content else []

    def store(self) -> S3Store:
        key = secret(self.secrets, "s3_secret_key")
        endpoint = f"{self.compose.address('minio')}:9000"
        return S3Store(endpoint, access_key="facet", secret_key=key, bucket="facet", secure=False)

    def workers(self, pool: str = "faces") -> int:
        return sum(w["status"] == "ONLINE" for w in self.prefect(f"/work_pools/{pool}/workers/filter"))

    def photos(self, name: str, count: int) -> list[str]:
        """Send some one after the other, wait for their callbacks, and check each; their image ids."""
        for number in range(count):
            self.client.send(f"{name}-{number}")
        self.client.settle()
        assert not self.client.odd, self.client.odd
        assert not (lost := self.client.lost(name)), lost
        return [self.client.accepted[f"{name}-{number}"] for number in range(count)]

    # ---- acts

    def submit(self) -> None:
        """Photos through the published port: signed callbacks, objects in the S3 store, faces in PostgreSQL."""
        for image_id in self.photos("first", 4):
            keys = list(self.store().keys(f"images/{image_id}/"))
            [annotated] = [key for key in keys if "annotated" in key]
            assert self.store().get(annotated)[:2] == b"\xff\xd8", "the annotated picture is a JPEG"
            assert self.compose.query(f"SELECT count(*) FROM faces WHERE image_id = '{image_id}'") == ["1"]
            image = self.client.get(f"/v1/images/{image_id}").json()
            assert image["faces"][0]["confidence"] > 0.99, image
        assert httpx.get(f"{self.client.url}/v1/images", trust_env=False).status_code == 401

    def doors(self) -> None:
        """Who is told apart, what is believed, what is shut, and which names the API knows."""
        key = {"Authorization": f"Bearer {secret(self.secrets, 'prometheus_key')}"}
        inside = f"http://{self.compose.address('api')}:8000/metrics"
        outside = f"{self.client.url}/%6Detrics"
        asked = [httpx.get(url, headers=key, trust_env=False).status_code for url in (inside, outside)]
        assert asked == [200, 404], asked
        assert httpx.get(inside, trust_env=False).status_code == 401
        # Each sender is a container of its own on the gateway's other network, and so has an address of its own.
        assert self._sends(400, claims=True)[-1] == 429, "who floods is limited, whatever it claims to be"
        assert self._sends(1) == [401], "and nobody else"
        for host, code in {
            "unknown.facet-test.example": "unknown-host",
            "inner.facet-test.example": "address-refused",
            "prefect-server": "address-refused",
        }.items():
            answer = self.client.submit(f"names-{host}", f"http://{host}/")
            assert (answer.status_code, answer.json()["code"]) == (422, code), answer.text

    def _sends(self, count: int, *, claims: bool = False) -> list[int]:
        """The statuses of requests without a key, up to the first 429."""
        code = _SENDER.format(count=count, claims=claims)
        network = f"{self.compose.project}_outer"
        said = docker("run", "--rm", "--network", network, "--entrypoint", "python", "facet:latest", "-c", code)
        return [int(status) for status in said.split()]

    def scale(self) -> None:
        """Workers and API processes 1 → 2; both workers run flow runs, and both API processes answer."""
        self.compose("up", "-d", "--wait", "--no-recreate", "--scale", "worker=2", "--scale", "api=2", seconds=180)
        wait_for(lambda: self.workers() == 2, 60, "two workers poll the pool")
        parts = {
            container: rf"Image \S+ of request scaled-\d+:? {does}"
            for service, does in {"worker": "1 face", "api": "is accepted"}.items()
            for container in self.compose("ps", "-q", service).split()
        }
        assert len(parts) == 4
        with Stream(self.client, "scaled", 2):  # until each has had its share: one worker may be the first for a while
            wait_for(lambda: all(re.search(said, logs(part)) for part, said in parts.items()), 120, "all four work")
        self.client.settle()

    def measure(self, count: int = 120) -> None:
        """A burst of photos: what each costs, in processor time by service, rows and bytes."""
        self.client.settle()
        before, tables, begun = self.compose.cpu_seconds(), self._tables(), time.monotonic()
        with ThreadPoolExecutor(8) as senders:
            list(senders.map(self.client.send, [f"burst-{number}" for number in range(count)]))
        self.client.settle()
        seconds = time.monotonic() - begun
        after = self.compose.cpu_seconds()
        cpu = {name: round(1000 * (after[name] - before[name]) / count) for name in after}
        print(f"  {count} photos in {seconds:.1f} s; CPU ms an image: {cpu}, all {sum(cpu.values())}")
        for database, counts in self._tables().items():
            rows = {name: (r - tables[database].get(name, (0, 0))[0]) / count for name, (r, _) in counts.items()}
            size = sum(b - tables[database].get(name, (0, 0))[1] for name, (_, b) in counts.items()) / count
            told = ", ".join(f"{name} {value:.2f}" for name, value in rows.items() if value >= 0.005)
            print(f"  {database}: {size / 1000:.1f} kB an image; rows: {told}", flush=True)

    def _tables(self) -> dict[str, dict[str, tuple[int, int]]]:
        """Rows and bytes of each table, by database."""
        tables: dict[str, dict[str, tuple[int, int]]] = {}
        for database in ("facet", "prefect"):
            names = self.compose.query("SELECT relname FROM pg_stat_user_tables ORDER BY relname", database)
            count = " UNION ALL ".join(
                f"SELECT '{name}', count(*), pg_total_relation_size('{name}') FROM \"{name}\"" for name in names
            )
            rows = [row.split("|") for row in self.compose.query(count, database)]
            tables[database] = {name: (int(there), int(size)) for name, there, size in rows}
        return tables

    def restart_each(self) -> list[str]:
        """Every service, one after the other, under load; a one-shot job is run again."""
        restarted = []
        with Stream(self.client, "restarts", 1):
            for service in SERVICES:
                before = {each["Id"]: each["State"]["StartedAt"] for each in self.compose.containers(service)}
                self.compose("restart", service, seconds=180)
                self.compose.await_healthy(service)
                after = {each["Id"]: each["State"]["StartedAt"] for each in self.compose.containers(service)}
                assert before.keys() == after.keys() and all(after[key] > before[key] for key in before), service
                restarted.append(service)
                print(f"  {service} restarted, {len(self.client.accepted)} accepted", flush=True)
            for service in ONE_SHOTS:
                self.compose("run", "--rm", "--no-deps", "-T", service, seconds=180)
                restarted.append(service)
        self.client.settle()
        return restarted

    def docker_pool(self) -> None:
        """The profile: each flow run in a container of its own, then back to the warm workers."""
        self.compose("--profile", "docker-pool", "up", "-d", "--wait", "--no-recreate", "docker-worker", seconds=240)
        wait_for(lambda: self.workers("containers") == 1, 60, "the docker worker polls its pool")
        with created_containers("io.prefect.flow-run-id") as own:
            images = self.photos("container", 2)
        runs = {self.client.get(f"/v1/images/{image_id}").json()["flow_run"]["id"] for image_id in images}
        assert runs and runs <= own, f"containers of {own}, and runs {runs}"
        self.compose("--profile", "docker-pool", "rm", "-sf", "docker-worker", "deploy-docker")
        self.compose("run", "--rm", "--no-deps", "-T", "deploy", seconds=120)
        self.photos("warm-again", 1)

    def upgrade(self) -> None:
        """A next version, worker by worker: it waits for its schema, and the former one goes on beside and after it."""
        [former] = self._schema()
        build_next(former)
        with Stream(self.client, "upgrade", 1):
            # The new worker on the old schema: it waits, and takes nothing.
            new = f"{self.compose.project}-next-worker"
            next_version = {"FACET_IMAGE": NEXT}
            self.compose("run", "-d", "--no-deps", "--name", new, "worker", **next_version)
            time.sleep(12)
            assert _TAKES not in logs(new), logs(new)
            assert self._schema() == [former]
            # The new schema under the old worker and API: they go on, and the new worker begins.
            self.compose("run", "--rm", "--no-deps", "-T", "migrate", **next_version, seconds=120)
            wait_for(lambda: _TAKES in logs(new), 90, "the new worker takes flow runs")
            docker("stop", "-t", "30", new)
            docker("rm", "-f", new)
        self.client.settle()
        assert self._schema() == ["9999"]
        self.photos("old-code-new-schema", 2)
        with Stream(self.client, "replaced", 1):
            for image in (next_version, {}):  # forward, and back to the former version on the new schema
                for service in ("worker", "api"):
                    self.compose("up", "-d", "--wait", "--no-deps", "--no-build", service, **image, seconds=180)
        self.client.settle()

    def backup_and_restore(self, folder: Path) -> int:
        """Database and store into an empty stack, where the unfinished goes on; how many images it has."""
        self.compose("stop", "worker")
        for number in range(3):
            self.client.send(f"unfinished-{number}")
        self.script("backup.sh", folder)
        ids = self.compose.query("SELECT id FROM images ORDER BY id")
        keys = set(self.store().keys("images/"))
        self.compose("down", "-v", "--remove-orphans", seconds=180)
        self.script("restore.sh", folder)
        assert self.compose.query("SELECT id FROM images ORDER BY id") == ids
        assert keys <= set(self.store().keys("images/"))
        picture = self.client.get(f"/v1/images/{next(iter(self.client.accepted.values()))}/annotated")
        assert picture.content[:2] == b"\xff\xd8"
        self.client.settle()
        self.photos("restored", 2)
        return len(ids)

    def _schema(self) -> list[str]:
        return self.compose.query("SELECT version_num FROM alembic_version")

    def script(self, name: str, folder: Path) -> None:
        command = ["sh", f"deployments/compose/{name}", str(folder)]
        done = subprocess.run(
            command, cwd=ROOT, env=self.compose.environment, capture_output=True, text=True, timeout=400
        )
        assert done.returncode == 0, f"{done.stdout[-2000:]}{done.stderr[-4000:]}"
        print(re.sub(r"^", "  ", done.stdout.strip(), flags=re.MULTILINE), flush=True)


def build_next(head: str) -> None:
    """The image of a next version: this one with one more migration."""
    file = "tests/stack/Dockerfile"
    docker("build", "-q", "-f", file, "--target", "next", "--build-arg", f"HEAD={head}", "-t", NEXT, ".", seconds=300)
