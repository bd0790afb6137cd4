"""reprocessings, and the images in them"""

import sqlalchemy as sa
from alembic import op


revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "reprocessings",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("request", sa.JSON(), nullable=False),
        sa.Column("detector", sa.String(length=100), nullable=True),
        sa.Column("total", sa.Integer(), nullable=True),
        sa.Column("taken", sa.Integer(), nullable=False),
        sa.Column("cursor_at", _TIME, nullable=True),
        sa.Column("cursor_id", sa.Uuid(), nullable=True),
        sa.Column("exhausted", sa.Boolean(), nullable=False),
        sa.Column("flow_run_id", sa.Uuid(), nullable=True),
        sa.Column("lease_until", _TIME, nullable=True),
        sa.Column("runs", sa.Integer(), nullable=False),
        sa.Column("run_due_at", _TIME, nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("started_at", _TIME, nullable=True),
        sa.Column("finished_at", _TIME, nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_reprocessings_state", "reprocessings", ["state", "created_at"])
    op.create_index("ix_reprocessings_created", "reprocessings", ["created_at", "id"])
    op.create_table(
        "redos",
        sa.Column("reprocessing_id", sa.Uuid(), nullable=False),
        sa.Column("image_id", sa.Uuid(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("former", sa.JSON(), nullable=False),
        sa.Column("faces_before", sa.Integer(), nullable=True),
        sa.Column("faces_after", sa.Integer(), nullable=True),
        sa.Column("failure_code", sa.String(length=40), nullable=True),
        sa.Column("failure_reason", sa.Text(), nullable=True),
        sa.Column("finished_at", _TIME, nullable=True),
        sa.ForeignKeyConstraint(["reprocessing_id"], ["reprocessings.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["image_id"], ["images.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("reprocessing_id", "image_id"),
    )
    op.create_index("ix_redos_image_id", "redos", ["image_id"])
    op.create_index("ix_redos_state", "redos", ["reprocessing_id", "state"])
    # Not in a batch: SQLite would make the table anew, and dropping the old one would delete all that hangs on images.
    op.add_column("images", sa.Column("reprocessing_id", sa.Uuid(), nullable=True))


def downgrade() -> None:
    op.drop_column("images", "reprocessing_id")
    op.drop_table("redos")
    op.drop_table("reprocessings")
