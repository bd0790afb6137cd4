import re

import pytest

from facet.access.api_keys import ApiKeys, NameTaken
from facet.persistence.database import Database
from facet.principals import EVERYONE, KeyScope
from facet.settings import Settings


@pytest.fixture
def keys(database: Database) -> ApiKeys:
    return ApiKeys(database, Settings())


def test_a_key_is_known_until_it_is_revoked(keys: ApiKeys, database: Database) -> None:
    assert not keys.required()
    key = keys.create("ada", KeyScope.SUBMIT)
    assert re.fullmatch(r"facet_[0-9a-f]{12}_[\w-]{43}", key)
    principal = keys.authenticate(key)
    assert principal and (principal.owner, principal.scope) == ("ada", KeyScope.SUBMIT)
    elsewhere = ApiKeys(database, Settings())
    assert elsewhere.required() and elsewhere.authenticate(key) == principal
    assert keys.revoke("ada") and not keys.revoke("bob")
    assert (keys.authenticate(key), elsewhere.authenticate(key)) == (None, None)
    assert ApiKeys(database, Settings()).required(), "so that revoking the last key opens nothing"


def test_nothing_but_the_whole_key_is_known(keys: ApiKeys) -> None:
    key, other = keys.create("ada", KeyScope.READ), keys.create("bob", KeyScope.READ)
    mixed = key[:19] + other[19:]
    for guess in (key[:-1], f"{key}x", key.upper(), f" {key}", mixed, key[:19] + "a" * 43, "facet_", "", "é\x00"):
        assert keys.authenticate(guess) is None, guess


def test_a_name_is_taken_once_and_an_owners_keys_are_made_knowingly(keys: ApiKeys) -> None:
    keys.create("ada", KeyScope.SUBMIT)
    keys.create("ada-2", KeyScope.SUBMIT, owner="ada")
    keys.create("dashboard", KeyScope.READ, owner="web")
    keys.revoke("ada")
    for name, owner in (("ada", None), ("ada", "other"), ("web", None)):
        with pytest.raises(NameTaken):
            keys.create(name, KeyScope.SUBMIT, owner)
    assert [(row.name, row.owner, bool(row.revoked_at)) for row in keys.all()] == [
        ("ada", "ada", True),
        ("ada-2", "ada", False),
        ("dashboard", "web", False),
    ]


def test_an_owner_of_the_settings_is_not_taken_by_accident(database: Database) -> None:
    keys = ApiKeys(database, Settings(api_keys=f"shop:submit:{'a' * 32}"))  # type: ignore[arg-type]
    with pytest.raises(NameTaken):
        keys.create("shop", KeyScope.READ)
    assert keys.authenticate(keys.create("shop-2", KeyScope.READ, owner="shop"))


def test_scopes_contain_each_other() -> None:
    read, submit, admin = KeyScope
    assert [read.covers(submit), submit.covers(read), submit.covers(admin), admin.covers(submit)] == [0, 1, 0, 1]
    assert EVERYONE.sees_all
