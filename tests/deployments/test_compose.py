"""What is written for docker compose, without an engine: secrets, settings and the entry of the image."""

import os
import re
import socket
import stat
import subprocess
from pathlib import Path

import pytest
import yaml
from fastapi.testclient import TestClient

from api.app import create_app
from deployments.containers import health
from deployments.containers.make_env import make_secrets, write
from deployments.prefect.docker_pool import DockerPool
from facet.services import Services
from facet.settings import Settings
from tests.support.databases import make_tables
from tests.support.secrets_table import ROOT, secrets_table

COMPOSE = yaml.safe_load((ROOT / "docker-compose.yaml").read_text())
SERVICES = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if "FACET_IMAGE" in service.get("image", "")}


def test_make_env_writes_secrets_that_only_their_owner_may_reach(tmp_path: Path) -> None:
    write(tmp_path / ".env", tmp_path / ".secrets")
    assert stat.S_IMODE((tmp_path / ".secrets").stat().st_mode) == 0o700
    values = {path.name: path.read_text() for path in (tmp_path / ".secrets").iterdir()}
    assert values.keys() == make_secrets().keys() == COMPOSE["secrets"].keys()
    assert all(a != b for a, b in zip(values.values(), make_secrets().values(), strict=True))
    assert f"SECRETS_DIR={tmp_path / '.secrets'}" in (tmp_path / ".env").read_text()
    with pytest.raises(FileExistsError):
        write(tmp_path / ".env", tmp_path / ".secrets")


def test_the_secrets_are_what_the_settings_take() -> None:
    made = make_secrets()
    settings = Settings(
        api_keys=made["api_keys"], link_secret=made["link_secret"], webhook_secrets=made["webhook_secrets"]
    )  # type: ignore[arg-type]
    assert settings.api_keys.get_secret_value() == made["api_keys"]


def test_prometheus_key_reads_metrics_and_nothing_of_anyone(tmp_path: Path) -> None:
    made = make_secrets()
    keys = {"api_keys": made["api_keys"], "link_secret": made["link_secret"]}
    services = Services(Settings(home=tmp_path, metrics="key", **keys))  # type: ignore[arg-type]
    make_tables(services.database)
    client = TestClient(create_app(services))
    assert client.get("/metrics").status_code == 401
    prometheus = {"Authorization": f"Bearer {made['prometheus_key']}"}
    assert "facet_images" in client.get("/metrics", headers=prometheus).text
    assert client.post("/v1/images", headers=prometheus, files={"image": b"x"}).status_code == 403
    admin = {"Authorization": f"Bearer {made['api_keys'].rpartition(':')[2]}"}
    seen = [client.get("/v1/images", headers=key).json()["images"] for key in (prometheus, admin)]
    assert seen == [[], []]
    assert client.get("/v1/reprocessings", headers=prometheus).status_code == 403
    assert client.get("/v1/reprocessings", headers=admin).status_code == 200


def test_prometheus_has_a_key_that_reads_the_metrics_and_nothing_of_anyone(tmp_path: Path) -> None:
    made = make_secrets()
    settings = {"api_keys": made["api_keys"], "link_secret": made["link_secret"], "metrics": "key"}
    services = Services(Settings(home=tmp_path, **settings))  # type: ignore[arg-type]
    make_tables(services.database)
    client = TestClient(create_app(services))
    prometheus = {"Authorization": f"Bearer {made['prometheus_key']}"}
    assert client.get("/metrics").status_code == 401
    assert "facet_images" in client.get("/metrics", headers=prometheus).text
    assert client.post("/v1/images", headers=prometheus, files={"image": b"x"}).status_code == 403
    assert client.get("/v1/reprocessings", headers=prometheus).status_code == 403
    admin = {"Authorization": f"Bearer {made['api_keys'].rpartition(':')[2]}"}
    assert client.get("/v1/reprocessings", headers=admin).status_code == 200


def test_each_service_gets_the_secrets_of_the_table() -> None:
    given = {name: set(service["secrets"]) for name, service in SERVICES.items() if "secrets" in service}
    assert given == secrets_table()


def test_each_secret_that_is_given_is_read() -> None:
    for name, service in OURS.items():
        files = {value for variable, value in service["environment"].items() if variable.endswith("_FILE")}
        if name != "deploy-docker":  # it hands on the names of what the flow runs' containers read
            assert files == {f"/run/secrets/{secret}" for secret in service["secrets"]}, name


def test_no_secret_has_a_default() -> None:
    for name, secret in COMPOSE["secrets"].items():
        assert secret["file"] == f"${{SECRETS_DIR:?run `make env`}}/{name}"
    text = (ROOT / "docker-compose.yaml").read_text()
    assert not re.search(
        r"(PASSWORD|SECRET|KEYS|AUTH_STRING)\w*: (?!/run/secrets/)\S", re.sub(r"\w+_FILE: \S+", "", text)
    )


def test_every_setting_of_a_service_is_known() -> None:
    for service in OURS.values():
        for variable in service.get("environment", {}):
            if variable.startswith("FACET_"):
                assert variable.removeprefix("FACET_").removesuffix("_FILE").lower() in Settings.model_fields, variable


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_confined_and_looked_after(name: str) -> None:
    service = SERVICES[name]
    if service["restart"] != "no":
        assert service["restart"] == "unless-stopped"
        assert service["healthcheck"]["test"]
        assert service["deploy"]["resources"]["limits"]["memory"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    if name in OURS or name in ("gateway", "resolver"):
        assert service["read_only"] and service["cap_drop"] == ["ALL"]
    for dependency, how in service.get("depends_on", {}).items():
        ends = SERVICES[dependency]["restart"] == "no"
        assert how["condition"] == ("service_completed_successfully" if ends else "service_healthy")


def test_only_what_is_meant_to_is_published() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {
        "gateway": ["${FACET_BIND:-127.0.0.1}:${FACET_PORT:-8000}:8000"],
        "prefect-server": ["${PREFECT_BIND:-127.0.0.1}:${PREFECT_PORT:-4200}:4200"],
        "prometheus": ["127.0.0.1:${PROMETHEUS_PORT:-9090}:9090"],
        "grafana": ["127.0.0.1:${GRAFANA_PORT:-3000}:3000"],
    }


def test_only_what_must_can_reach_the_outside() -> None:
    assert {name for name, network in COMPOSE["networks"].items() if not network.get("internal")} == {"outer"}
    reaches = {name for name, service in SERVICES.items() if "outer" in service["networks"]}
    ports = {name for name, service in SERVICES.items() if "ports" in service}
    assert reaches == ports | {"worker", "resolver"}  # callbacks and image URLs, and names


def test_forwarded_addresses_are_believed_from_the_gateways_network_alone() -> None:
    [subnet] = [each["subnet"] for each in COMPOSE["networks"]["front"]["ipam"]["config"]]
    assert SERVICES["api"]["environment"]["FORWARDED_ALLOW_IPS"] == subnet
    on_it = {name for name, service in SERVICES.items() if "front" in service["networks"]}
    assert on_it == {"gateway", "api", "resolver", "doctor"}
    assert {name for name, service in OURS.items() if "FORWARDED_ALLOW_IPS" in service["environment"]} == {"api"}


def test_the_api_asks_the_resolver_for_names() -> None:
    [volume] = SERVICES["api"]["volumes"]
    default = re.fullmatch(r"\$\{API_RESOLV_CONF:-(\S+)\}:/etc/resolv\.conf:ro", volume)
    assert default
    servers = re.findall(r"^nameserver (\S+)$", (ROOT / default[1]).read_text(), re.MULTILINE)
    address = SERVICES["resolver"]["networks"]["front"]["ipv4_address"]
    assert servers == ["127.0.0.11", re.sub(r"\$\{FRONT_NET:-(\S+)\}", r"\1", address)]


def test_the_entry_sets_variables_from_files(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("a b$c\n")
    environment = {
        "PATH": os.environ["PATH"],
        "FACET_S3_SECRET_KEY_FILE": str(tmp_path / "secret"),
        "SSL_CERT_FILE": "/x",
    }
    entry = ["sh", str(ROOT / "deployments" / "entrypoint.sh"), "env"]
    done = subprocess.run(entry, env=environment, capture_output=True, text=True, check=True)
    assert "FACET_S3_SECRET_KEY=a b$c\n" in done.stdout
    assert "SSL_CERT=" not in done.stdout
    environment["FACET_API_KEYS_FILE"] = str(tmp_path / "gone")
    done = subprocess.run(entry, env=environment, capture_output=True, text=True)
    assert done.returncode == 1 and "FACET_API_KEYS_FILE" in done.stderr


def test_a_docker_pools_template_holds_no_secret() -> None:
    environment = {
        "FACET_API_KEYS": "admin:admin:hush",
        "FACET_API_KEYS_FILE": "/run/secrets/api_keys",
        "FACET_STORE": "s3",
        "PGPASSWORD": "hush",
        "PGPASSWORD_FILE": "/run/secrets/facet_db_password",
        "HOME": "/root",
    }
    template = DockerPool("facet:1", ["inner"], Path("/etc/secrets")).job_template(environment)
    job = template["job_configuration"]
    assert "hush" not in str(template)
    assert job["env"]["FACET_API_KEYS_FILE"] == "/run/secrets/api_keys" and job["env"]["FACET_STORE"] == "s3"
    assert "HOME" not in job["env"]
    assert job["networks"] == ["inner"]
    assert sorted(job["volumes"]) == [
        "/etc/secrets/api_keys:/run/secrets/api_keys:ro",
        "/etc/secrets/facet_db_password:/run/secrets/facet_db_password:ro",
    ]


def test_a_check_tells_whether_something_listens(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        check = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        assert health.main(check) == 0
    assert health.main(check) == 1
    assert "refused" in capsys.readouterr().out
