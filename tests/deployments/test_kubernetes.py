"""The Kubernetes manifests are valid, fit together, and ask for no more than they need."""

import json
import shutil
import subprocess
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from facet.settings import Settings
from tests.support.kustomize import Manifest, build, pods
from tests.support.secrets_table import secrets_table

KUBERNETES = Path(__file__).parents[2] / "deployments" / "kubernetes"
FOLDERS = [KUBERNETES / "base", *sorted((KUBERNETES / "overlays").iterdir())]
VERSIONS = ["1.31", "1.37"]  # the oldest and the latest that are promised


@pytest.fixture(params=FOLDERS, ids=lambda folder: folder.name)
def manifests(request: pytest.FixtureRequest) -> list[Manifest]:
    return build(request.param)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_manifest_is_valid(manifests: list[Manifest], version: str) -> None:
    for manifest in manifests:
        kubernetes_validate.validate(manifest, version, strict=True)


def test_an_unknown_field_is_noticed() -> None:
    [service] = [
        m for m in build(KUBERNETES / "base") if m["kind"] == "Service" and m["metadata"]["name"] == "facet-api"
    ]
    service["spec"]["selektor"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(service, VERSIONS[-1], strict=True)


def test_references_lead_somewhere(manifests: list[Manifest]) -> None:
    names = {(m["kind"], m["metadata"]["name"]) for m in manifests}
    labels = [pod["metadata"]["labels"] for pod in pods(manifests)]

    def selects(wanted: dict[str, str]) -> bool:
        return any(wanted.items() <= each.items() for each in labels)

    for m in manifests:
        if m["kind"] == "HorizontalPodAutoscaler":
            assert (m["spec"]["scaleTargetRef"]["kind"], m["spec"]["scaleTargetRef"]["name"]) in names
        if m["kind"] == "Service":
            assert selects(m["spec"]["selector"])
        if m["kind"] == "PodDisruptionBudget":
            assert selects(m["spec"]["selector"]["matchLabels"])
        if m["kind"] == "NetworkPolicy":
            assert selects(m["spec"]["podSelector"].get("matchLabels", {}))
    for pod in pods(manifests):
        for container in pod["spec"]["containers"]:
            for source in container["envFrom"]:
                assert ("ConfigMap", source["configMapRef"]["name"]) in names


def test_settings_are_known(manifests: list[Manifest]) -> None:
    for m in manifests:
        if m["kind"] != "ConfigMap":
            continue
        for name, value in m["data"].items():
            assert isinstance(value, str), f"{name} is no string"
            assert not name.endswith("_FILE"), f"{name}: all pods would need that secret"
            if name.startswith("FACET_"):
                assert name.removeprefix("FACET_").lower() in Settings.model_fields, name


def test_each_pod_gets_the_secrets_of_the_table_and_reads_them(manifests: list[Manifest]) -> None:
    table = secrets_table()
    for pod in pods(manifests):
        name = pod["metadata"]["labels"]["app.kubernetes.io/name"]
        [volume] = [v["secret"] for v in pod["spec"]["volumes"] if v["name"] == "secrets"]
        mounted = {f"/run/secrets/{item['path']}": item["key"] for item in volume["items"]}
        [container] = pod["spec"]["containers"]
        read = {each["name"]: each["value"] for each in container["env"] if each["name"].endswith("_FILE")}
        assert set(mounted.values()) == table[name.removeprefix("facet-")], name
        assert set(read.values()) == mounted.keys(), name
        for variable in read:
            if variable.startswith("FACET_"):
                assert variable.removeprefix("FACET_").removesuffix("_FILE").lower() in Settings.model_fields


def test_every_pod_is_confined(manifests: list[Manifest]) -> None:
    for pod in pods(manifests):
        assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
        assert pod["spec"]["automountServiceAccountToken"] is False
        for container in pod["spec"]["containers"]:
            context = container["securityContext"]
            assert context["readOnlyRootFilesystem"] and context["capabilities"] == {"drop": ["ALL"]}
            assert not context["allowPrivilegeEscalation"]
            assert {"requests", "limits"} <= container["resources"].keys()


def test_runs_in_flight_fit_the_workers(manifests: list[Manifest]) -> None:
    by_id = {(m["kind"], m["metadata"]["name"]): m for m in manifests}
    settings = by_id["ConfigMap", "facet-settings"]["data"]
    most = by_id["HorizontalPodAutoscaler", "facet-worker"]["spec"]["maxReplicas"]
    assert int(settings["FACET_MAX_RUNS"]) == most * int(settings["FACET_WORKER_SLOTS"]) + 1


@pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl is not installed")
@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_kustomize_makes_the_same(folder: Path) -> None:
    done = subprocess.run(["kubectl", "kustomize", str(folder)], capture_output=True, text=True, check=True, timeout=60)
    made = [document for document in yaml.safe_load_all(done.stdout) if document]
    assert sorted(map(_text, made)) == sorted(map(_text, build(folder)))


def _text(manifest: Manifest) -> str:
    return json.dumps(manifest, sort_keys=True)
