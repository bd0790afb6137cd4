"""Which callbacks the embedded stack allows by itself."""

from pathlib import Path

import pytest

from cli.stack import _environment
from facet.settings import Settings


@pytest.mark.parametrize(
    ("host", "set_to", "allowed"),
    [
        ("127.0.0.1", None, "127.0.0.0/8,::1"),
        ("::1", None, "127.0.0.0/8,::1"),
        ("127.0.0.1", "10.0.0.0/8", "10.0.0.0/8"),
        ("127.0.0.1", "", ""),
        ("0.0.0.0", None, None),
        ("facet.example", None, None),
    ],
)
def test_loopback_is_allowed_only_where_strangers_cannot_ask_and_nothing_else_is_said(
    host: str, set_to: str | None, allowed: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FACET_CALLBACK_ALLOW", raising=False)
    if set_to is not None:
        monkeypatch.setenv("FACET_CALLBACK_ALLOW", set_to)
    assert _environment(Settings(host=host), tmp_path).get("FACET_CALLBACK_ALLOW") == allowed
