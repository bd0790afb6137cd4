"""Runs the migrations on the connection that `Database.upgrade` hands over."""

from alembic import context

from facet.persistence.models import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,
)
context.run_migrations()
