"""What the embedded stack may call by itself, and the setting's former name."""

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
    monkeypatch.delenv("FACET_OUTBOUND_ALLOW", raising=False)
    if set_to is not None:
        monkeypatch.setenv("FACET_OUTBOUND_ALLOW", set_to)
    assert _environment(Settings(host=host), tmp_path).get("FACET_OUTBOUND_ALLOW") == allowed


def test_the_former_name_of_the_setting_is_taken_for_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACET_CALLBACK_ALLOW", "10.0.0.0/8")
    monkeypatch.delenv("FACET_OUTBOUND_ALLOW", raising=False)
    assert Settings().outbound_allow == "10.0.0.0/8"
    assert _environment(Settings(), tmp_path)["FACET_OUTBOUND_ALLOW"] == "10.0.0.0/8"
    monkeypatch.setenv("FACET_OUTBOUND_ALLOW", "10.1.0.0/16")
    assert Settings().outbound_allow == "10.1.0.0/16"
    assert _environment(Settings(), tmp_path)["FACET_OUTBOUND_ALLOW"] == "10.1.0.0/16"
