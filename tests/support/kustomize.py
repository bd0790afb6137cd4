"""The part of kustomize that the overlays use: resources, a namespace, images, and strategic merge patches.

Anything else in a kustomization is refused, so that what is validated here is what kustomize makes.
"""

from pathlib import Path
from typing import Any

import yaml

Manifest = dict[str, Any]
_KNOWN = {"apiVersion", "kind", "namespace", "resources", "images", "patches"}
_CLUSTER_WIDE = {"Namespace"}


def build(folder: Path) -> list[Manifest]:
    """The manifests of an overlay or a base. Raises ValueError for what is not understood."""
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text())
    if unknown := kustomization.keys() - _KNOWN:
        raise ValueError(f"{folder}: {unknown}")
    manifests: list[Manifest] = []
    for name in kustomization["resources"]:
        path = folder / name
        manifests += build(path) if path.is_dir() else _load(path)
    for entry in kustomization.get("patches", []):
        for patch in _load(folder / entry["path"]):
            [target] = [each for each in manifests if _id(each) == _id(patch)]
            _merge(target, patch)
    for image in kustomization.get("images", []):
        for container in _containers(manifests):
            if container["image"] == image["name"]:
                container["image"] = f"{image['newName']}:{image['newTag']}"
    if namespace := kustomization.get("namespace"):
        for manifest in manifests:
            if manifest["kind"] not in _CLUSTER_WIDE:
                manifest["metadata"]["namespace"] = namespace
    return manifests


def _load(path: Path) -> list[Manifest]:
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


def _id(manifest: Manifest) -> tuple[str, str, str]:
    return manifest["apiVersion"], manifest["kind"], manifest["metadata"]["name"]


def _merge(target: Manifest, patch: Manifest) -> None:
    for key, value in patch.items():
        if isinstance(value, dict) and isinstance(target.get(key), dict):
            _merge(target[key], value)
        elif isinstance(value, list) and key in target:
            raise ValueError(f"a patch of the list {key!r}: kustomize merges some lists, and this does not")
        else:
            target[key] = value


def pods(manifests: list[Manifest]) -> list[Manifest]:
    """The pod templates of what makes pods."""
    makers = [m for m in manifests if m["kind"] in ("Deployment", "Job", "CronJob")]
    return [m["spec"].get("jobTemplate", m)["spec"]["template"] for m in makers]


def _containers(manifests: list[Manifest]) -> list[Manifest]:
    return [container for pod in pods(manifests) for container in pod["spec"]["containers"]]
