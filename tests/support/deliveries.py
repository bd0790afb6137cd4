"""Deliveries for tests: owed, looked at, and brought forward in time."""

from datetime import timedelta
from uuid import UUID, uuid4

from sqlalchemy import update

from facet.callbacks.sending import Deliveries
from facet.jobs import Failure
from facet.outbound.addresses import AddressRules
from facet.outbound.egress import Egress
from facet.persistence.database import Database
from facet.persistence.models import Delivery
from facet.settings import Settings
from facet.work.claims import Claims
from tests.support.images import add_images


def new_deliveries(
    database: Database, *, allow: str = "127.0.0.1", seconds: float = 20, secrets: str = ""
) -> Deliveries:
    settings = Settings(outbound_allow=allow, callback_timeout=seconds, webhook_secrets=secrets)  # type: ignore[arg-type]
    return Deliveries(database, Egress(AddressRules(allow), seconds=seconds), settings)


def owe(database: Database, claims: Claims, url: str) -> UUID:
    """The delivery that a new, failed image owes to this URL."""
    [image] = add_images(database, 1, callback_url=url)
    [job] = claims.open([image.id], run_id=(run_id := uuid4()), flow_run_id=run_id, flow_run_name="run")
    claims.fail(job, Failure(code="error", reason="no"))
    [delivery_id] = new_deliveries(database).undelivered([image.id])
    return delivery_id


def stored(database: Database, delivery_id: UUID) -> Delivery:
    with database.read() as session:
        return session.get_one(Delivery, delivery_id)


def make_due(database: Database, delivery_id: UUID, *, end_lease: bool = False) -> None:
    """Bring its next attempt to now; with `end_lease` as after its sender's death."""
    with database.write() as session:
        past = database.now(session) - timedelta(seconds=1)
        changes = {"due_at": past} | ({"lease_until": past} if end_lease else {})
        session.execute(update(Delivery).where(Delivery.id == delivery_id).values(changes))


def seconds_to_next(database: Database, delivery_id: UUID) -> float:
    """From now, by the database's clock, to the next attempt."""
    with database.read() as session:
        return (session.get_one(Delivery, delivery_id).due_at - database.now(session)).total_seconds()
