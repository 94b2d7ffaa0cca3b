"""The table of runs as SQLAlchemy has it; a change needs a migration and a new `table.HEAD`."""

from __future__ import annotations

import datetime
import json
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from tmg_etl.ledger import table


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

    def process_bind_param(self, value: datetime.datetime | None, dialect: sa.Dialect) -> Any:
        """Return the naive UTC instant to store."""
        return table.stored(value)

    def process_result_value(
        self, value: datetime.datetime | None, dialect: sa.Dialect
    ) -> datetime.datetime | None:
        """Return the aware UTC instant."""
        return None if value is None else value.replace(tzinfo=datetime.UTC)


class JsonText(sa.types.TypeDecorator[dict[str, float]]):
    """A mapping stored as JSON text: no database of this list treats text differently."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: dict[str, float] | None, dialect: sa.Dialect) -> Any:
        """Return the JSON text to store."""
        return table.stored(value)

    def process_result_value(
        self, value: str | None, dialect: sa.Dialect
    ) -> dict[str, float] | None:
        """Return the mapping."""
        return None if value is None else json.loads(value)


class JsonList(sa.types.TypeDecorator[tuple[str, ...]]):
    """A list of texts stored as JSON text; an empty one is null."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: tuple[str, ...] | None, dialect: sa.Dialect) -> Any:
        """Return the JSON text to store."""
        return table.stored(value)

    def process_result_value(self, value: str | None, dialect: sa.Dialect) -> tuple[str, ...]:
        """Return the texts."""
        return () if value is None else tuple(json.loads(value))


def _text(name: str, **options: Any) -> sa.Column[str]:
    return sa.Column(name, sa.String(table.LENGTHS[name]), **options)


METADATA = sa.MetaData()
"""What migrations are compared with."""

# Core and not the ORM: importing that would cost every run a twentieth of a second.
RUN = sa.Table(
    table.RUN,
    METADATA,
    _text("id", primary_key=True),
    _text("transfer", nullable=False),
    _text("target", nullable=False),
    sa.Column("execution_date", sa.Date, nullable=False),
    sa.Column("window_start", sa.Date, nullable=False),
    sa.Column("window_end", sa.Date, nullable=False),
    _text("write_mode", nullable=False),
    _text("env", nullable=False),
    _text("config_location", nullable=False),
    _text("config_digest", nullable=False),
    _text("pipeline", nullable=False),
    _text("version", nullable=False),
    _text("host", nullable=False),
    sa.Column("pid", sa.Integer, nullable=False),
    sa.Column("started_at", UtcDateTime, nullable=False),
    # From here on columns change when the run ends.
    _text("status", nullable=False),
    sa.Column("finished_at", UtcDateTime),
    sa.Column("exit_code", sa.Integer),
    _text("publish"),
    _text("publish_reason"),
    sa.Column("rows_read", sa.BigInteger),
    sa.Column("rows_inserted", sa.BigInteger),
    sa.Column("rows_updated", sa.BigInteger),
    sa.Column("rows_deleted", sa.BigInteger),
    sa.Column("rows_unchanged", sa.BigInteger),
    sa.Column("bytes_read", sa.BigInteger),
    _text("fingerprint_source"),
    _text("fingerprint_target"),
    sa.Column("snapshot", sa.Text),
    sa.Column("phase_seconds", JsonText),
    sa.Column("error", sa.Text),
    sa.Column("cleanup_error", sa.Text),
    _text("previous_table"),
    _text("previous_fingerprint"),
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
