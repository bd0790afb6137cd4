from pathlib import Path

import pytest

from facet.errors import ObjectNotFound, Unavailable
from facet.storage import FolderStore, ObjectStore, S3Store
from tests.support.production import S3_KEYS


def test_what_is_put_is_got_until_it_is_deleted(store: ObjectStore) -> None:
    store.put("images/a/original", b"one", "image/png")
    store.put("images/a/original", b"two", "image/png")
    assert store.get("images/a/original") == b"two"
    store.delete("images/a/original")
    store.delete("images/a/original")
    with pytest.raises(ObjectNotFound):
        store.get("images/a/original")


def test_keys_are_those_of_the_prefix(store: ObjectStore) -> None:
    for key in ("images/a/original", "images/a/annotated-1.jpg", "images/b/original"):
        store.put(key, b"x", "image/jpeg")
    assert sorted(store.keys("images/a/")) == ["images/a/annotated-1.jpg", "images/a/original"]
    assert list(store.keys("images/none/")) == []


def test_no_key_leads_out_of_the_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="leads out"):
        FolderStore(tmp_path / "objects").put("../secret", b"x", "image/png")


def test_a_folder_holds_nothing_but_whole_objects(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    store.put("images/a/original", b"x", "image/png")
    store.delete("images/a/original")
    assert not (tmp_path / "images" / "a").exists()


def test_a_store_that_is_down_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    down: list[ObjectStore] = [
        FolderStore(tmp_path / "file"),
        S3Store("127.0.0.1:1", access_key="a", secret_key="b", bucket="facet", secure=False),
    ]
    for store in down:
        with pytest.raises(Unavailable):
            store.check()
        with pytest.raises(Unavailable):
            store.put("images/a/original", b"x", "image/png")


def test_a_missing_bucket_is_unavailable_not_an_absent_object(s3_endpoint: str) -> None:
    store = S3Store(s3_endpoint, access_key=S3_KEYS[0], secret_key=S3_KEYS[1], bucket="facet-none", secure=False)
    with pytest.raises(Unavailable, match="NoSuchBucket"):
        store.get("images/a/original")
