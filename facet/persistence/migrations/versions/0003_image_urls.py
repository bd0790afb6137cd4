"""images that are fetched from a URL, of which nothing is known before"""

from typing import Any

import sqlalchemy as sa
from alembic import op


revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_KNOWN_LATER: dict[str, sa.types.TypeEngine[Any]] = {
    "media_type": sa.String(length=40),
    "size_bytes": sa.Integer(),
    "sha256": sa.String(length=64),
    "width": sa.Integer(),
    "height": sa.Integer(),
}


def upgrade() -> None:
    with op.batch_alter_table("images", schema=None) as batch_op:
        batch_op.add_column(sa.Column("image_url", sa.String(length=2000), nullable=True))
        batch_op.add_column(sa.Column("fetched_epoch", sa.Integer(), nullable=True))
        for name, kind in _KNOWN_LATER.items():
            batch_op.alter_column(name, existing_type=kind, nullable=True)


def downgrade() -> None:
    op.execute("DELETE FROM images WHERE size_bytes IS NULL")
    with op.batch_alter_table("images", schema=None) as batch_op:
        for name, kind in _KNOWN_LATER.items():
            batch_op.alter_column(name, existing_type=kind, nullable=False)
        batch_op.drop_column("fetched_epoch")
        batch_op.drop_column("image_url")
