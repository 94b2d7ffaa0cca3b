"""Create the table of runs."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TABLE = "tmg_etl_run"
INDEXES = {
    "tmg_etl_run_transfer_started": ["transfer", "started_at"],
    "tmg_etl_run_started": ["started_at"],
}


def upgrade() -> None:
    # MySQL commits after each statement. A process that was killed in between left a part, which
    # the next one completes.
    inspector = sa.inspect(op.get_bind())
    if not inspector.has_table(TABLE):
        create_table()
        existing = set()
    else:
        existing = {index["name"] for index in inspector.get_indexes(TABLE)}
    for name, columns in INDEXES.items():
        if name not in existing:
            op.create_index(name, TABLE, columns)


def create_table() -> None:
    # Written out and not taken from the model: a revision stays as it was when it was released.
    instant = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
    op.create_table(
        TABLE,
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("transfer", sa.String(200), nullable=False),
        sa.Column("target", sa.String(500), nullable=False),
        sa.Column("execution_date", sa.Date, nullable=False),
        sa.Column("window_start", sa.Date, nullable=False),
        sa.Column("window_end", sa.Date, nullable=False),
        sa.Column("write_mode", sa.String(20), nullable=False),
        sa.Column("env", sa.String(200), nullable=False),
        sa.Column("config_location", sa.String(1000), nullable=False),
        sa.Column("config_digest", sa.String(64), nullable=False),
        sa.Column("pipeline", sa.String(500), nullable=False),
        sa.Column("version", sa.String(50), nullable=False),
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("pid", sa.Integer, nullable=False),
        sa.Column("started_at", instant, nullable=False),
        sa.Column("status", sa.String(20), nullable=False),
        sa.Column("finished_at", instant),
        sa.Column("exit_code", sa.Integer),
        sa.Column("publish", sa.String(40)),
        sa.Column("publish_reason", sa.String(500)),
        sa.Column("rows_read", sa.BigInteger),
        sa.Column("rows_inserted", sa.BigInteger),
        sa.Column("rows_updated", sa.BigInteger),
        sa.Column("rows_deleted", sa.BigInteger),
        sa.Column("rows_unchanged", sa.BigInteger),
        sa.Column("bytes_read", sa.BigInteger),
        sa.Column("fingerprint_source", sa.String(200)),
        sa.Column("fingerprint_target", sa.String(200)),
        sa.Column("snapshot", sa.Text),
        sa.Column("phase_seconds", sa.Text),
        sa.Column("error", sa.Text),
        sa.Column("cleanup_error", sa.Text),
        sa.PrimaryKeyConstraint("id"),
        mysql_engine="InnoDB",
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        mariadb_engine="InnoDB",
        mariadb_charset="utf8mb4",
        mariadb_collate="utf8mb4_bin",
    )


def downgrade() -> None:
    op.drop_table(TABLE)
