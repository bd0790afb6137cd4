"""callbacks that are leased, scheduled and kept as bytes; idempotency keys"""

import json
import re
from collections.abc import Sequence
from datetime import datetime
from ipaddress import IPv6Address
from uuid import UUID

import httpx
import sqlalchemy as sa
from alembic import op


revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)
_PORTS = {"http": 80, "https": 443}
_NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*")
_UNSAFE = re.compile(r"[\x00-\x20\x7f\\]")


def upgrade() -> None:
    connection = op.get_bind()
    deliveries = sa.table("deliveries", sa.column("id", sa.Uuid()), sa.column("url"), sa.column("attempts", sa.JSON()))
    rows = connection.execute(sa.select(deliveries.c.id, deliveries.c.url, deliveries.c.attempts)).all()
    former = [(row.id, row.url, row.attempts) for row in rows]

    with op.batch_alter_table("deliveries", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_deliveries_state"))
        batch_op.drop_column("attempts")
        batch_op.alter_column(
            "body", existing_type=sa.JSON(), type_=sa.Text(), existing_nullable=False, postgresql_using="body::text"
        )
        batch_op.add_column(sa.Column("origin", sa.String(length=300), nullable=False, server_default=""))
        batch_op.add_column(sa.Column("reason", sa.Text(), nullable=True))
        batch_op.add_column(sa.Column("failures", sa.Integer(), nullable=False, server_default="0"))
        batch_op.add_column(sa.Column("last_attempt", sa.Integer(), nullable=False, server_default="0"))
        batch_op.add_column(sa.Column("due_at", _TIME, nullable=True))
        batch_op.add_column(sa.Column("lease_until", _TIME, nullable=True))
    connection.execute(sa.text("UPDATE deliveries SET due_at = created_at"))
    with op.batch_alter_table("deliveries", schema=None) as batch_op:
        batch_op.alter_column("due_at", existing_type=_TIME, nullable=False)
        for name, kind in (
            ("origin", sa.String(length=300)),
            ("failures", sa.Integer()),
            ("last_attempt", sa.Integer()),
        ):
            batch_op.alter_column(name, existing_type=kind, existing_nullable=False, server_default=None)
        batch_op.create_index("ix_deliveries_due", ["state", "due_at"], unique=False)
        batch_op.create_index("ix_deliveries_created", ["created_at", "id"], unique=False)

    attempts = op.create_table(
        "delivery_attempts",
        sa.Column("delivery_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("seconds", sa.Double(), nullable=True),
        sa.Column("status_code", sa.Integer(), nullable=True),
        sa.Column("answer", sa.Text(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["delivery_id"], ["deliveries.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("delivery_id", "number"),
    )
    _move(connection, attempts, former)

    op.create_table(
        "idempotency_keys",
        sa.Column("owner", sa.String(length=100), nullable=False),
        sa.Column("key", sa.String(length=255), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("holder", sa.Uuid(), nullable=False),
        sa.Column("lease_until", _TIME, nullable=False),
        sa.Column("expires_at", _TIME, nullable=False),
        sa.Column("status_code", sa.Integer(), nullable=True),
        sa.Column("location", sa.String(length=2000), nullable=True),
        sa.Column("body", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("owner", "key"),
    )
    with op.batch_alter_table("idempotency_keys", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_idempotency_keys_expires_at"), ["expires_at"], unique=False)


def _move(
    connection: sa.Connection, attempts: sa.Table, former: Sequence[tuple[UUID, str, list[dict[str, object]]]]
) -> None:
    """Take the deliveries' attempts from their JSON to rows, and note each one's receiver."""
    deliveries = sa.table("deliveries", *(sa.column(n) for n in ("origin", "last_attempt")), sa.column("id", sa.Uuid()))
    for delivery_id, url, records in former:
        for number, record in enumerate(records, 1):
            values = {name: record.get(name) for name in ("seconds", "status_code", "answer", "error")}
            at = datetime.fromisoformat(str(record["at"]))
            connection.execute(attempts.insert().values(delivery_id=delivery_id, number=number, at=at, **values))
        changes = {"origin": _origin(url), "last_attempt": len(records)}
        connection.execute(deliveries.update().where(deliveries.c.id == delivery_id).values(changes))


def _origin(url: str) -> str:
    """Scheme, host and port; empty for what is no plain http or https URL.

    The rules of this revision are copied here, so that a later change of the service's own changes no migration.
    """
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, ValueError):
        return ""
    scheme, host = parsed.scheme, parsed.raw_host.decode("ascii").removesuffix(".")
    port = _PORTS.get(scheme) if parsed.port is None else parsed.port
    authority = url.split("//", 1)[-1].split("/", 1)[0].split("?", 1)[0]
    plain = not _UNSAFE.search(url) and scheme in _PORTS and "@" not in authority and "#" not in url
    if not plain or not port or port > 65535 or not (_is_ipv6(host) or _NAME.fullmatch(host)):
        return ""
    named = f"[{host}]" if ":" in host else host
    return f"{scheme}://{named}" if port == _PORTS[scheme] else f"{scheme}://{named}:{port}"


def _is_ipv6(host: str) -> bool:
    try:
        return ":" in host and "%" not in host and bool(IPv6Address(host))
    except ValueError:
        return False


def downgrade() -> None:
    connection = op.get_bind()
    attempts = connection.execute(
        sa.text("SELECT delivery_id, at, seconds, status_code, answer, error FROM delivery_attempts ORDER BY number")
    ).all()
    op.drop_table("idempotency_keys")
    op.drop_table("delivery_attempts")
    with op.batch_alter_table("deliveries", schema=None) as batch_op:
        batch_op.drop_index("ix_deliveries_created")
        batch_op.drop_index("ix_deliveries_due")
        for name in ("lease_until", "due_at", "last_attempt", "failures", "reason", "origin"):
            batch_op.drop_column(name)
        batch_op.alter_column(
            "body", existing_type=sa.Text(), type_=sa.JSON(), existing_nullable=False, postgresql_using="body::json"
        )
        batch_op.add_column(sa.Column("attempts", sa.JSON(), nullable=False, server_default="[]"))
        batch_op.create_index(batch_op.f("ix_deliveries_state"), ["state"], unique=False)
    by_delivery: dict[object, list[dict[str, object]]] = {}
    for delivery_id, at, seconds, status_code, answer, error in attempts:
        record = {"at": str(at), "seconds": seconds, "status_code": status_code, "answer": answer, "error": error}
        by_delivery.setdefault(delivery_id, []).append(record)
    for delivery_id, records in by_delivery.items():
        update = sa.text("UPDATE deliveries SET attempts = :records WHERE id = :id")
        connection.execute(update, {"records": json.dumps(records), "id": delivery_id})
