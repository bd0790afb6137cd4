"""a column that a next version adds, as migrations must: what is there stays as it is"""

import sqlalchemy as sa
from alembic import op

revision = "9999"
down_revision = "@HEAD@"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("images", sa.Column("next_version", sa.String(length=16), nullable=True))


def downgrade() -> None:
    op.drop_column("images", "next_version")
