import pytest
from pydantic import SecretStr, ValidationError

from facet.settings import Settings
from facet.signing import Signer

GOOD = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.mark.parametrize("secrets", ["", GOOD, f"{GOOD},{GOOD}", f" {GOOD}\n {GOOD} "])
def test_secrets_are_separated_by_commas_or_spaces(secrets: str) -> None:
    Signer(SecretStr(secrets))


@pytest.mark.parametrize(
    "secret", ["hunter2", "whsec_", "whsec_c2hvcnQ=", "whsec_!!!!", GOOD.removeprefix("whsec_"), "whsec_" + "A" * 200]
)
def test_a_bad_secret_is_refused_by_its_position_and_is_not_told(secret: str) -> None:
    with pytest.raises(ValidationError, match="secret 2 of 2") as refused:
        Settings(webhook_secrets=f"{GOOD},{secret}")  # type: ignore[arg-type]
    assert GOOD not in str(refused.value) and f",{secret}" not in str(refused.value)
    assert GOOD not in repr(refused.value)


def test_settings_do_not_show_secrets() -> None:
    settings = Settings(webhook_secrets=GOOD)  # type: ignore[arg-type]
    assert GOOD not in repr(settings) + str(settings) + settings.model_dump_json()


def test_a_wrong_list_of_addresses_is_refused_at_the_start() -> None:
    with pytest.raises(ValidationError, match="no host, host:port or network"):
        Settings(outbound_allow="10.0.0.1/8")
