"""when maintenance last completed"""

import sqlalchemy as sa
from alembic import op


revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    table = op.create_table(
        "maintenance",
        sa.Column("id", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("expected_since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("completed_at", sa.DateTime(timezone=True), nullable=True),
    )
    op.execute(table.insert().values(id=1, expected_since=sa.func.now()))


def downgrade() -> None:
    op.drop_table("maintenance")
