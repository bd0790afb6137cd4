"""how an image's faces are to be annotated, and an index of what has finished lately"""

import sqlalchemy as sa
from alembic import op


revision = "0007"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Step by step: in a batch SQLite would make the table anew, and dropping the old one would delete what hangs on it.
    op.add_column("images", sa.Column("annotation", sa.String(length=16), server_default="boxes", nullable=False))
    op.execute("UPDATE images SET annotation = 'none' WHERE NOT annotate")
    op.drop_column("images", "annotate")
    op.execute("ALTER TABLE images RENAME COLUMN annotation TO annotate")
    op.create_index("ix_images_finished", "images", ["finished_at"])


def downgrade() -> None:
    op.drop_index("ix_images_finished", table_name="images")
    op.add_column("images", sa.Column("annotation", sa.Boolean(), server_default=sa.true(), nullable=False))
    op.execute("UPDATE images SET annotation = false WHERE annotate = 'none'")
    op.drop_column("images", "annotate")
    op.execute("ALTER TABLE images RENAME COLUMN annotation TO annotate")
