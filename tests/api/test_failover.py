"""Submissions while PostgreSQL fails over: answered 202 or 503, and what was accepted is there afterwards."""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Event
from uuid import UUID

import psycopg2
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import create_engine, select, text

from api.app import create_app
from facet.persistence.models import Image
from facet.services import Services
from facet.settings import Settings
from tests.api.conftest import LOOPBACK
from tests.support.databases import make_tables
from tests.support.images import picture
from tests.support.processes import PostgreSQL, wait_for

_SENDERS = 4


class Load:
    """A steady stream of submissions, and their answers."""

    def __init__(self, client: TestClient) -> None:
        self._client = client
        self._over = Event()
        self.accepted: set[UUID] = set()
        self.statuses: Counter[int] = Counter()

    def send(self) -> None:
        """Until the block ends."""
        while not self._over.is_set():
            answer = self._client.post("/v1/images", files={"image": picture()}, data={"request_id": "r"})
            assert answer.status_code in (202, 503), answer.text
            if answer.status_code == 202:
                self.accepted.add(UUID(answer.json()["id"]))
            else:
                assert answer.headers["retry-after"]
                self._over.wait(0.05)
            self.statuses[answer.status_code] += 1

    @contextmanager
    def running(self) -> Iterator[None]:
        with ThreadPoolExecutor(_SENDERS) as pool:
            senders = [pool.submit(self.send) for _ in range(_SENDERS)]
            try:
                yield
            finally:
                self._over.set()
            for sender in senders:
                sender.result()

    def await_more(self, status: int, count: int = 20) -> None:
        enough = self.statuses[status] + count
        wait_for(lambda: self.statuses[status] >= enough, 30, f"{count} more answers {status}")


@contextmanager
def service(home: Path, database_url: str) -> Iterator[tuple[Services, TestClient]]:
    services = Services(Settings(home=home, database_url=database_url))
    make_tables(services.database)
    yield services, TestClient(create_app(services), base_url=LOOPBACK, raise_server_exceptions=False)
    services.database.close()


def stored(services: Services) -> set[UUID]:
    with services.database.read() as session:
        return set(session.scalars(select(Image.id)))


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_database_that_turns_read_only_and_back_needs_no_restart(tmp_path: Path, database_url: str) -> None:
    server = create_engine(f"{database_url.rpartition('/')[0]}/postgres", isolation_level="AUTOCOMMIT")
    name = database_url.rpartition("/")[2]

    def fail_over(read_only: str, *, cut: bool) -> None:
        with server.connect() as connection:
            connection.execute(text(f"ALTER DATABASE {name} SET default_transaction_read_only = {read_only}"))
            if cut:
                cutting = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name"
                connection.execute(text(cutting), {"name": name})

    with service(tmp_path, database_url) as (services, client):
        load = Load(client)
        with load.running():
            load.await_more(202)
            fail_over("on", cut=True)
            load.await_more(503)
            wait_for(lambda: client.get("/readyz").status_code == 503, 10, "it is not ready")
            assert client.get("/readyz").json()["parts"]["database"]["status"] == "unavailable"
            fail_over("off", cut=False)  # the connections that were opened meanwhile stay open
            load.await_more(202)
            wait_for(lambda: client.get("/readyz").status_code == 200, 10, "it is ready")
        assert load.accepted <= stored(services), "none that was accepted is lost"
    server.dispose()


def test_a_standby_that_is_promoted_takes_the_writes(tmp_path: Path) -> None:
    with ExitStack() as closing:
        for name in ("primary", "standby", "home"):
            (tmp_path / name).mkdir()
        primary = PostgreSQL(tmp_path / "primary")
        closing.callback(primary.close)
        primary.start()
        primary.create("facet")
        standby = PostgreSQL(tmp_path / "standby", standby_of=primary)
        closing.callback(standby.close)
        standby.start()
        _run(primary, "ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()")
        hosts = "&".join(f"host=127.0.0.1:{server.port}" for server in (primary, standby))
        url = f"postgresql+psycopg2://postgres@/facet?{hosts}&target_session_attrs=read-write"
        services, client = closing.enter_context(service(tmp_path / "home", url))
        load = Load(client)
        with load.running():
            load.await_more(202)
            primary.crash()
            load.await_more(503)
            _run(standby, "SELECT pg_promote()")
            load.await_more(202)
        assert load.accepted <= stored(services), "none that was accepted is lost"


def _run(server: PostgreSQL, *statements: str) -> None:
    connection = psycopg2.connect(host="127.0.0.1", port=server.port, user="postgres", dbname="postgres")
    connection.autocommit = True
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
    connection.close()
