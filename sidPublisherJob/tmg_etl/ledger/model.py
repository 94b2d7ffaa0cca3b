"""The table of runs as SQLAlchemy sees it. A change here needs a migration and a new `HEAD`."""

from __future__ import annotations

import datetime
import json
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

HEAD = "0004"
"""The newest migration. Written here so that opening an up-to-date ledger needs no Alembic."""

VERSION_TABLE = "tmg_etl_version"
"""Not Alembic's default name: the ledger may share a database with another application."""

ERROR_LENGTH = 2000


class UtcDateTime(sa.types.TypeDecorator[datetime.datetime]):
    """An instant: aware UTC in Python, naive UTC to the microsecond in the database.

    Databases disagree on what a type with time zone stores; none disagrees on a plain one.
    """

    impl = sa.DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: sa.Dialect) -> sa.types.TypeEngine[Any]:
        """Return the type; MySQL would cut the fraction of a second."""
        if dialect.name in ("mysql", "mariadb"):
            return dialect.type_descriptor(mysql.DATETIME(fsp=6))
        return dialect.type_descriptor(sa.DateTime(timezone=False))

    def process_bind_param(
        self, value: datetime.datetime | None, dialect: sa.Dialect
    ) -> datetime.datetime | None:
        """Return the naive UTC instant to store.

        Raises:
            ValueError: the instant has no time zone.
        """
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"an instant without time zone: {value}")
        return value.astimezone(datetime.UTC).replace(tzinfo=None)

    def process_result_value(
        self, value: datetime.datetime | None, dialect: sa.Dialect
    ) -> datetime.datetime | None:
        """Return the aware UTC instant."""
        return None if value is None else value.replace(tzinfo=datetime.UTC)


class JsonText(sa.types.TypeDecorator[dict[str, float]]):
    """A mapping stored as JSON text: no database of this list treats text differently."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: dict[str, float] | None, dialect: sa.Dialect) -> str | None:
        """Return the JSON text to store."""
        return None if value is None else json.dumps(value)

    def process_result_value(
        self, value: str | None, dialect: sa.Dialect
    ) -> dict[str, float] | None:
        """Return the mapping."""
        return None if value is None else json.loads(value)


class JsonList(sa.types.TypeDecorator[tuple[str, ...]]):
    """A list of texts stored as JSON text; an empty one is null."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: tuple[str, ...] | None, dialect: sa.Dialect) -> str | None:
        """Return the JSON text to store."""
        return json.dumps(list(value)) if value else None

    def process_result_value(self, value: str | None, dialect: sa.Dialect) -> tuple[str, ...]:
        """Return the texts."""
        return () if value is None else tuple(json.loads(value))


METADATA = sa.MetaData()
"""What migrations are compared with."""

# Core and not the ORM: importing that would cost every run a twentieth of a second.
RUN = sa.Table(
    "tmg_etl_run",
    METADATA,
    sa.Column("id", sa.String(32), primary_key=True),
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
    sa.Column("started_at", UtcDateTime, nullable=False),
    # From here on columns change when the run ends.
    sa.Column("status", sa.String(20), nullable=False),
    sa.Column("finished_at", UtcDateTime),
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
    sa.Column("phase_seconds", JsonText),
    sa.Column("error", sa.Text),
    sa.Column("cleanup_error", sa.Text),
    sa.Column("previous_table", sa.String(64)),
    sa.Column("previous_fingerprint", sa.String(200)),
    sa.Column("previous_expires_at", UtcDateTime),
    sa.Column("job_ids", JsonList),
    sa.Column("warnings", JsonList),
    sa.Index("tmg_etl_run_transfer_started", "transfer", "started_at"),
    sa.Index("tmg_etl_run_started", "started_at"),
    # Names are told apart by every letter, also where the server's default does not.
    mysql_engine="InnoDB",
    mysql_charset="utf8mb4",
    mysql_collate="utf8mb4_bin",
    mariadb_engine="InnoDB",
    mariadb_charset="utf8mb4",
    mariadb_collate="utf8mb4_bin",
)
"""One row for each run."""
