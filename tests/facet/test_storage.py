import io
import json
import secrets
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from minio import Minio

from facet.errors import NotPermitted, ObjectNotFound, Unavailable
from facet.storage import FolderStore, ObjectStore
from facet.storage.s3 import S3Store
from tests.support.production import S3_KEYS
from tests.support.s3_server import is_installed


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


# ---- S3


@contextmanager
def requests_of(client: Minio) -> Iterator[list[str]]:
    """The first lines of the requests that the client sends in the block."""
    trace, lines = io.StringIO(), list[str]()
    client.trace_on(trace)
    yield lines
    client.trace_off()
    starts = trace.getvalue().split("---------START-HTTP---------\n")[1:]
    lines += [start.split(" ")[0] for start in starts]


@pytest.fixture
def bucket() -> str:
    return f"facet-{secrets.token_hex(6)}"


@pytest.fixture
def operator(s3_endpoint: str) -> Minio:
    """A client of the bucket's owner, by which tests change what the store stands on."""
    return Minio(s3_endpoint, *S3_KEYS, secure=False, region="us-east-1")


@pytest.fixture
def s3_store(s3_endpoint: str, bucket: str) -> S3Store:
    store = S3Store(s3_endpoint, access_key=S3_KEYS[0], secret_key=S3_KEYS[1], bucket=bucket, secure=False)
    store.check()
    return store


@pytest.mark.parametrize("size", [0, 5 * 2**20, 5 * 2**20 + 1, 20_000_000])
def test_an_upload_of_any_size_is_one_request(s3_store: S3Store, size: int) -> None:
    data = secrets.token_bytes(size)
    with requests_of(s3_store._client) as requests:
        s3_store.put("images/a/original", data, "image/png")
    assert requests == ["PUT"]
    assert s3_store.get("images/a/original") == data


def test_parts_of_an_upload_that_never_ended_are_removed(s3_store: S3Store, operator: Minio, bucket: str) -> None:
    keys = [f"images/{number}/original" for number in range(3)]
    for key in keys:
        upload = operator._create_multipart_upload(bucket, key, {})
        operator._upload_part(bucket, key, b"x" * 5 * 2**20, None, upload, 1)
    now = datetime.now(UTC)
    if is_installed():  # moto knows no times of uploads
        assert list(s3_store.abort_uploads("images/", now - timedelta(hours=1))) == [], "one of them may go on"
    assert list(s3_store.abort_uploads("images/", now + timedelta(minutes=1))) == keys
    assert operator._list_multipart_uploads(bucket).uploads == []
    assert list(s3_store.abort_uploads("images/", now + timedelta(minutes=1))) == []


def test_the_stores_own_marker_is_no_object_of_it(s3_store: S3Store, operator: Minio, bucket: str) -> None:
    assert [entry.object_name for entry in operator.list_objects(bucket, recursive=True)] == ["images/.facet"]
    assert list(s3_store.keys("images/")) == [] == list(s3_store.objects("images/"))


def test_a_look_at_a_store_that_is_well_is_one_request_and_puts_nothing(s3_store: S3Store) -> None:
    with requests_of(s3_store._client) as requests:
        s3_store.check()
    assert requests == ["HEAD"]


@pytest.mark.skipif(not is_installed(), reason="moto heeds no policies; Ceph's S3 server is not installed")
def test_a_user_with_few_rights_does_all_but_list(
    s3_store: S3Store, s3_endpoint: str, operator: Minio, bucket: str
) -> None:
    def deny(*actions: str) -> None:
        resources = [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"]
        statement = {"Effect": "Deny", "Principal": "*", "Action": actions, "Resource": resources}
        operator.set_bucket_policy(bucket, json.dumps({"Version": "2012-10-17", "Statement": [statement]}))

    listing = ["s3:ListBucket", "s3:GetBucketLocation", "s3:ListBucketMultipartUploads", "s3:CreateBucket"]
    deny(*listing)
    store = S3Store(s3_endpoint, access_key=S3_KEYS[0], secret_key=S3_KEYS[1], bucket=bucket, secure=False)
    store.check()
    store.check()
    store.put("images/a/original", b"x", "image/png")
    assert store.get("images/a/original") == b"x"
    store.delete("images/a/original")
    with pytest.raises(ObjectNotFound):
        store.get("images/a/original")
    for listed in (store.objects("images/"), store.abort_uploads("images/", datetime.now(UTC))):
        with pytest.raises(NotPermitted, match="AccessDenied"):
            list(listed)
    store.put("images/b/original", b"x", "image/png")
    deny(*listing, "s3:GetObject")
    with pytest.raises(NotPermitted, match="AccessDenied"):
        store.get("images/b/original")
    deny(*listing, "s3:PutObject")
    with pytest.raises(NotPermitted, match="AccessDenied"):
        store.put("images/c/original", b"x", "image/png")
    with pytest.raises(NotPermitted, match="AccessDenied"):
        store.check()
    assert store.get("images/b/original") == b"x"
    operator.delete_bucket_policy(bucket)
    store.check()


class NoS3(BaseHTTPRequestHandler):
    """A server of something else."""

    def do_PUT(self) -> None:
        self.send_error(400)

    def log_message(self, format: str, *args: object) -> None:
        """Silent."""


@contextmanager
def serving(context: ssl.SSLContext | None = None) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), NoS3)
    if context:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def why_not(endpoint: str, *, secure: bool) -> str:
    with pytest.raises(Unavailable) as caught:
        S3Store(endpoint, access_key="a", secret_key="b", bucket="facet", secure=secure).check()
    return str(caught.value)


def test_a_server_that_cannot_be_used_is_told_by_its_cause(certificate: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with serving(context) as endpoint:
        assert "certificate is not trusted (self-signed certificate)" in why_not(endpoint, secure=True)
    with serving() as endpoint:
        assert "FACET_S3_SECURE=false" in why_not(endpoint, secure=True)
        assert "FACET_S3_ENDPOINT" in why_not(endpoint, secure=False)
    assert "Connection refused" in why_not("127.0.0.1:1", secure=True)


def test_what_the_server_refuses_is_told_with_the_setting_to_mend(s3_endpoint: str, bucket: str) -> None:
    store = S3Store(s3_endpoint, access_key=S3_KEYS[0], secret_key="another", bucket=bucket, secure=False)
    if is_installed():  # moto checks no signatures
        with pytest.raises(Unavailable, match=r"SignatureDoesNotMatch. Mend FACET_S3_SECRET_KEY"):
            store.check()
    with pytest.raises(Unavailable, match=r"NoSuchBucket. .*FACET_S3_BUCKET"):
        S3Store(s3_endpoint, access_key=S3_KEYS[0], secret_key=S3_KEYS[1], bucket=bucket, secure=False).get("images/a")


def test_objects_are_reached_through_no_proxy(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name)
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    store.check()
    store.put("images/a/original", b"x", "image/png")
