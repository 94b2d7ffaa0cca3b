"""Add what a run's result is to be read with."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

TABLE = "tmg_etl_run"
COLUMN = "warnings"


def upgrade() -> None:
    # MySQL commits after each statement: a process that was killed may have left the column.
    columns = sa.inspect(op.get_bind()).get_columns(TABLE)
    if COLUMN not in {column["name"] for column in columns}:
        op.add_column(TABLE, sa.Column(COLUMN, sa.Text))


def downgrade() -> None:
    op.drop_column(TABLE, COLUMN)
