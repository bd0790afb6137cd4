"""how an image's faces are to be annotated, and an index of what has finished lately"""

import sqlalchemy as sa
from alembic import op


revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("images", sa.Column("annotation", sa.String(length=16), server_default="boxes", nullable=False))
    op.execute("UPDATE images SET annotation = 'none' WHERE NOT annotate")
    op.create_index("ix_images_finished", "images", ["finished_at"])


def downgrade() -> None:
    op.drop_index("ix_images_finished", table_name="images")
    op.drop_column("images", "annotation")
