"""The table of docs/production.md that says which container reads which secrets."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def secrets_table() -> dict[str, set[str]]:
    """The secrets of each container, by its name in docker-compose.yaml."""
    page = (ROOT / "docs" / "production.md").read_text()
    rows = re.search(r"^\| container \| secrets \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", page, re.MULTILINE)
    assert rows
    table: dict[str, set[str]] = {}
    for row in rows[1].splitlines():
        containers, secrets = row.split("|")[1:3]
        for container in re.findall(r"`(\S+)`", containers):
            table[container] = set(re.findall(r"`(\S+)`", secrets))
    return table
