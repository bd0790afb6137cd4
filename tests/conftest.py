"""Fixtures: databases, object stores, photos and settings, all real."""

import ipaddress
import os
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from facet.local import spare_proxies
from facet.persistence.database import Database
from facet.settings import Settings
from facet.storage import FolderStore, ObjectStore
from facet.storage.s3 import S3Store
from facet.work.claims import Claims
from tests.support.databases import create_database, make_tables
from tests.support.processes import postgresql
from tests.support.production import S3_KEYS, s3
from tests.support.receiver import Receiver, receiving
from tests.support.shared_stack import SHARED
from tests.support.stack import Stack
from tests.support.starting import mark_and_sort

ROOT = Path(__file__).parent.parent
os.environ.update(  # before Prefect is imported, which reads them then
    PREFECT_API_URL="http://127.0.0.1:1/api",
    PREFECT_SERVER_ANALYTICS_ENABLED="false",
    DO_NOT_TRACK="1",
)
spare_proxies("127.0.0.1")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    mark_and_sort(items)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
    """A stack that nobody uses takes much of the machine all the same: it ends where a file follows that has no use."""
    yield
    goes_on = nextitem and (nextitem.path == item.path or "shared_stack" in nextitem.fixturenames)  # type: ignore[attr-defined]
    if not goes_on:
        SHARED.stop()


@pytest.fixture(scope="session")
def photo() -> bytes:
    """A portrait of 512 × 512 pixels with one face."""
    return (ROOT / "examples" / "eileen-collins.jpg").read_bytes()


@pytest.fixture(scope="module")
def shared_stack(tmp_path_factory: pytest.TempPathFactory) -> Stack:
    """A stack that other files use too: leave it in working order."""
    return SHARED.get(tmp_path_factory.mktemp("shared"))


@pytest.fixture(scope="module")
def doomed_stack(shared_stack: Stack) -> Iterator[Stack]:
    """The same stack for a file that leaves it in pieces."""
    yield shared_stack
    SHARED.stop()


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """In a folder that another user may enter, whoever else runs tests; pytest closes its own to them at each start."""
    with TemporaryDirectory() as folder, postgresql(Path(folder)) as url:
        yield url


@pytest.fixture(scope="session")
def migrated(postgres: str) -> str:
    """The name of a migrated database on `postgres`, to be copied; nobody is connected to it."""
    database = Database(create_database(postgres))
    database.upgrade()
    database.close()
    return database.url.rpartition("/")[2]


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database without tables, of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'facet.db'}"
    return create_database(request.getfixturevalue("postgres"))


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A migrated database, of each kind."""
    if request.param == "postgresql":
        return create_database(request.getfixturevalue("postgres"), like=request.getfixturevalue("migrated"))
    database = Database(f"sqlite:///{tmp_path / 'facet.db'}")
    make_tables(database)
    return database.url


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A migrated database, of each kind."""
    database = Database(database_url)
    yield database
    database.close()


@pytest.fixture(scope="session")
def s3_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with s3(tmp_path_factory.mktemp("s3")) as endpoint:
        yield endpoint


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    """An empty object store, of each kind."""
    if request.param == "folder":
        return FolderStore(tmp_path / "objects")
    store = S3Store(
        request.getfixturevalue("s3_endpoint"),
        access_key=S3_KEYS[0],
        secret_key=S3_KEYS[1],
        bucket=f"facet-{secrets.token_hex(6)}",
        secure=False,
    )
    store.check()
    return store


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path, lease_seconds=30, max_runs=2, max_batch=4)


@pytest.fixture
def claims(database: Database, settings: Settings) -> Claims:
    return Claims(database, settings)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and certificate of secure.example, signed by itself."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "secure.example")])
    names = x509.SubjectAlternativeName([x509.DNSName("secure.example"), x509.IPAddress(ipaddress.ip_address("::1"))])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(names, critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "secure.pem"
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return path
