"""The job template of a docker work pool: each flow run in a container of Facet's own image."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class DockerPool:
    """Containers of `image`, on `networks`, with the files that they need of the host's folder `secrets`."""

    image: str
    networks: list[str]
    secrets: Path | None

    def job_template(self, environment: Mapping[str, str] = os.environ) -> dict[str, Any]:
        """Containers get the settings of who deploys; of a setting that came by file, only the file's name.

        Prefect keeps the template, and shows it: no secret may be in it.
        """
        settings = {
            name: value
            for name, value in environment.items()
            if name.startswith(("FACET_", "PREFECT_API_", "PREFECT_FLOWS_", "PGPASSWORD"))
            and f"{name}_FILE" not in environment
        }
        files = [file for name, file in settings.items() if name.endswith("_FILE")]
        variables: dict[str, Any] = {
            "command": {"type": "string", "title": "Command"},
            "env": {"type": "object", "title": "Environment", "additionalProperties": {"type": "string"}},
            "image": {"type": "string", "title": "Image", "default": self.image},
            "mem_limit": {"type": "string", "title": "Memory limit", "default": "2g"},
            "stream_output": {"type": "boolean", "title": "Stream output", "default": False},
        }
        return {
            "variables": {"type": "object", "properties": variables},
            "job_configuration": {
                **{name: f"{{{{ {name} }}}}" for name in variables if name != "env"},
                "env": {**settings, "PREFECT_LOGGING_TO_API_ENABLED": "true"},
                "image_pull_policy": "Never",
                "networks": self.networks,
                # File by file: the folder itself is its owner's alone.
                "volumes": [f"{self.secrets}/{Path(file).name}:{file}:ro" for file in files if self.secrets],
                "auto_remove": True,
                "container_create_kwargs": {
                    "read_only": True,
                    "tmpfs": {"/tmp": "size=512m,mode=1777"},
                    "cap_drop": ["ALL"],
                    "security_opt": ["no-new-privileges:true"],
                    "init": True,
                },
            },
        }
