"""What is written for docker compose, without an engine: secrets, settings and the entry of the image."""

import os
import re
import stat
import subprocess
from pathlib import Path

import pytest
import yaml

from deployments.docker_pool import DockerPool
from deployments.make_env import make_secrets, write
from facet.settings import Settings

ROOT = Path(__file__).parents[2]
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


def test_no_secret_has_a_default() -> None:
    for name, secret in COMPOSE["secrets"].items():
        assert secret["file"] == f"${{SECRETS_DIR:?run `make env`}}/{name}"
    text = (ROOT / "docker-compose.yaml").read_text()
    assert not re.search(
        r"(PASSWORD|SECRET|KEYS|AUTH_STRING)\w*: (?!/run/secrets/)\S", re.sub(r"\w+_FILE: \S+", "", text)
    )


def test_every_setting_and_secret_of_a_service_is_known() -> None:
    for name, service in OURS.items():
        for variable, value in service.get("environment", {}).items():
            if variable.startswith("FACET_"):
                assert variable.removeprefix("FACET_").removesuffix("_FILE").lower() in Settings.model_fields, variable
            if variable.endswith("_FILE"):
                assert value.removeprefix("/run/secrets/") in service["secrets"], f"{name}: {variable}"


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_confined_and_looked_after(name: str) -> None:
    service = SERVICES[name]
    if service["restart"] != "no":
        assert service["restart"] == "unless-stopped"
        assert service["healthcheck"]["test"]
        assert service["deploy"]["resources"]["limits"]["memory"]
    if name in OURS:
        assert service["read_only"] and service["cap_drop"] == ["ALL"]
    for dependency, how in service.get("depends_on", {}).items():
        ends = SERVICES[dependency]["restart"] == "no"
        assert how["condition"] == ("service_completed_successfully" if ends else "service_healthy")


def test_only_what_is_meant_to_is_published() -> None:
    published = {name for name, service in SERVICES.items() if "ports" in service}
    assert published == {"gateway", "prefect-server", "prometheus", "grafana"}
    assert COMPOSE["networks"]["inner"] == {"internal": True}
    for name in ("postgres", "redis", "minio", "api"):
        assert SERVICES[name]["networks"] == ["inner"]


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
