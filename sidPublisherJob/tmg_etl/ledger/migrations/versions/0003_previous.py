"""Add the table that a run kept: its name, what it holds, and until when."""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

TABLE = "tmg_etl_run"
_INSTANT = sa.DateTime(timezone=False)
_INSTANT = _INSTANT.with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
COLUMNS: dict[str, sa.types.TypeEngine[Any]] = {
    "previous_table": sa.String(64),
    "previous_fingerprint": sa.String(200),
    "previous_expires_at": _INSTANT,
}


def upgrade() -> None:
    # MySQL commits after each statement: a process that was killed may have left some columns.
    present = {column["name"] for column in sa.inspect(op.get_bind()).get_columns(TABLE)}
    for name, kind in COLUMNS.items():
        if name not in present:
            op.add_column(TABLE, sa.Column(name, kind))


def downgrade() -> None:
    for name in COLUMNS:
        op.drop_column(TABLE, name)
