"""What was deployed last, kept in a variable of Prefect: so a change of the file is told from a change by people.

Of each value a digest is kept, of each thing that was made its id.
"""

import hashlib
import json
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import VariableCreate, VariableUpdate

VARIABLE = "facet_deployed"
Memory = dict[str, Any]


def read_memory(client: SyncPrefectClient) -> Memory | None:
    """None where nothing was deployed before, or by a version that remembered nothing."""
    variable = client.read_variable_by_name(VARIABLE)
    return variable.value if variable and isinstance(variable.value, dict) else None


def write_memory(client: SyncPrefectClient, former: Memory | None, memory: Memory) -> None:
    if former is None:
        client.create_variable(VariableCreate(name=VARIABLE, value=memory, tags=["facet"]))
    elif former != memory:
        client.update_variable(VariableUpdate(name=VARIABLE, value=memory))


def known_id(memory: Memory) -> UUID | None:
    """That of the thing of which this is remembered."""
    return UUID(memory["id"]) if "id" in memory else None


def digest(value: Any) -> Any:
    """Of a mapping, that of each of its values; equal where the values are equal as JSON."""
    if isinstance(value, dict):
        return {key: digest(each) for key, each in value.items()}
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:12]


def merge(present: Any, wanted: Any, remembered: Any) -> Any:
    """What is there, with what the file has changed since it was remembered, key by key where both are mappings."""
    if digest(wanted) == remembered:
        return present
    if not (isinstance(wanted, dict) and isinstance(present, dict)):
        return wanted
    remembered = remembered if isinstance(remembered, dict) else {}
    merged = {key: value for key, value in present.items() if key in wanted or key not in remembered}
    for key, value in wanted.items():
        if digest(value) != remembered.get(key):
            merged[key] = merge(present.get(key), value, remembered.get(key))
    return merged
