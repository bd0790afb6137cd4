"""The production stack on a real Docker engine: `make test-stack`.

Builds the image, brings docker-compose.yaml up, sends photos through the published port, scales, upgrades to a next
version and back, backs up, restores into an empty stack, runs the profile `docker-pool`, restarts every service under
load, and takes all down. One JSON line last. Without a Docker engine it says so, and ends with status 2.
"""

import json
import signal
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from deployments.containers.make_env import make_secrets
from tests.stack.acts import Stack
from tests.stack.doctor import Doctor
from tests.stack.engine import ROOT, Compose, NoEngine, check_engine, docker, socket, timed
from tests.stack.load import Client, secret
from tests.support.processes import free_port
from tests.support.scripted import answer, scripted

_PROJECT = "facet-test"
_FRONT_NET = "10.213.78"
_S3_IMAGE = "quay.io/minio/minio:RELEASE.2025-09-07T16-13-09Z"


def main() -> int:
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(143))  # so that what was started is taken down
    try:
        print(check_engine(), flush=True)
    except NoEngine as error:
        print(f"The stack test needs a Docker engine with compose and buildx, and {error}.", file=sys.stderr)
        return 2
    laps: dict[str, float] = {}
    begun = time.monotonic()
    with ExitStack() as closing:
        folder = Path(closing.enter_context(TemporaryDirectory(prefix="facet-stack-"))).resolve()
        stack = _stack(folder, closing)
        compose, client = stack.compose, stack.client
        with timed("refuses to start without secrets", laps):
            _refuses(compose)
        with timed("images built", laps):
            compose("build", "-q", seconds=560)
            size = int(docker("image", "inspect", "-f", "{{.Size}}", "facet:latest"))
        try:
            with timed("seconds to healthy", laps):
                compose("up", "-d", "--wait", seconds=300)
            with timed("photos, callbacks, objects and rows", laps):
                stack.submit()
            with timed("the gateway, and the names that the API knows", laps):
                stack.doors()
            with timed("the doctor, on a well stack and on a broken one", laps):
                Doctor(stack).examine()
            with timed("workers and API processes 1 → 2", laps):
                stack.scale()
            with timed("measured", laps):
                stack.measure()
            with timed("rolling upgrade, and back", laps):
                stack.upgrade()
            with timed("backup, and restored into an empty stack", laps):
                restored = stack.backup_and_restore(folder / "backup")
            with timed("docker pool", laps):
                stack.docker_pool()
            with timed("every service restarted under load", laps):
                restarted = stack.restart_each()
            assert not client.odd, client.odd
            lost = client.lost()
        except BaseException:
            _logs(compose)
            raise
        finally:
            with timed("taken down", laps):
                compose("--profile", "*", "down", "-v", "--remove-orphans", "-t", "5", seconds=180)
    for line in lost:
        print(f"lost: {line}")
    result = {
        "services_restarted": restarted,
        "accepted": len(client.accepted),
        "lost": len(lost),
        "seconds_to_healthy": laps["seconds to healthy"],
        "restored": restored,
        "image_mb": round(size / 1e6),
        "seconds": round(time.monotonic() - begun),
    }
    print(json.dumps(result))
    return 1 if lost else 0


def _stack(folder: Path, closing: ExitStack) -> Stack:
    secrets = folder / "secrets"
    secrets.mkdir(mode=0o700)
    for name, value in make_secrets().items():
        (secrets / name).write_text(value)
        (secrets / name).chmod(0o444)
    host = docker("network", "inspect", "bridge", "-f", "{{(index .IPAM.Config 0).Gateway}}").strip()
    port, prefect_port = free_port(), free_port()
    resolv = (ROOT / "deployments" / "compose" / "resolv.conf").read_text()
    (folder / "resolv.conf").write_text(resolv.replace("10.213.77", _FRONT_NET))
    compose = Compose(
        _PROJECT,
        {
            "SECRETS_DIR": str(secrets),
            "FACET_PORT": str(port),
            "PREFECT_PORT": str(prefect_port),
            "FRONT_NET": _FRONT_NET,
            "API_RESOLV_CONF": str(folder / "resolv.conf"),
            "FACET_PUBLIC_URL": f"http://127.0.0.1:{port}",
            "FACET_OUTBOUND_ALLOW": host,
            "DOCKER_SOCKET": socket(),
        },
    )
    if not _is_minio():
        build = ["-f", "tests/stack/Dockerfile", "--target", "s3", "-t", "facet-test-s3:latest"]
        docker("build", "-q", *build, ".", seconds=300)
        compose.files.append("tests/stack/s3.yaml")
    received = closing.enter_context(scripted(answer(), host=host))
    key = secret(secrets, "api_keys").rpartition(":")[2]
    photo = (ROOT / "examples" / "eileen-collins.jpg").read_bytes()
    client = Client(f"http://127.0.0.1:{port}", key, secret(secrets, "webhook_secrets"), received, host, photo)
    return Stack(compose, client, secrets)


def _is_minio() -> bool:
    """Whether the S3 image is MinIO's own, or can be had; a stand-in under its name is none."""
    try:
        if not docker("image", "ls", "-q", _S3_IMAGE).strip():
            docker("pull", "-q", _S3_IMAGE, seconds=300)
        return "MinIO" in docker("image", "inspect", "-f", "{{json .Config.Labels}}", _S3_IMAGE)
    except RuntimeError:
        return False


def _refuses(compose: Compose) -> None:
    try:
        compose("config", "-q", SECRETS_DIR="")
    except RuntimeError as error:
        assert "SECRETS_DIR" in str(error) and "make env" in str(error), error
        return
    raise AssertionError("docker compose starts without secrets")


def _logs(compose: Compose) -> None:
    """What the containers said last, for whoever looks for the cause."""
    print(compose("--profile", "*", "ps", "-a"))
    print(compose("--profile", "*", "logs", "--tail", "25", "--no-color")[-20_000:])


if __name__ == "__main__":
    sys.exit(main())
