"""The table of runs as SQLAlchemy sees it. A change here needs a migration and a new `HEAD`."""

from __future__ import annotations

import datetime
import json
from typing import Any

import sqlalchemy as sa
from sqlalchemy import orm
from sqlalchemy.dialects import mysql

HEAD = "0003"
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


class Base(orm.DeclarativeBase):
    """Holds the metadata that migrations are compared with."""


class RunRow(Base):
    """One run. Columns from `status` on change when the run ends."""

    __tablename__ = "tmg_etl_run"
    __table_args__ = (
        sa.Index("tmg_etl_run_transfer_started", "transfer", "started_at"),
        sa.Index("tmg_etl_run_started", "started_at"),
        # Names are told apart by every letter, also where the server's default does not.
        {
            "mysql_engine": "InnoDB",
            "mysql_charset": "utf8mb4",
            "mysql_collate": "utf8mb4_bin",
            "mariadb_engine": "InnoDB",
            "mariadb_charset": "utf8mb4",
            "mariadb_collate": "utf8mb4_bin",
        },
    )

    id: orm.Mapped[str] = orm.mapped_column(sa.String(32), primary_key=True)
    transfer: orm.Mapped[str] = orm.mapped_column(sa.String(200))
    target: orm.Mapped[str] = orm.mapped_column(sa.String(500))
    execution_date: orm.Mapped[datetime.date] = orm.mapped_column(sa.Date)
    window_start: orm.Mapped[datetime.date] = orm.mapped_column(sa.Date)
    window_end: orm.Mapped[datetime.date] = orm.mapped_column(sa.Date)
    write_mode: orm.Mapped[str] = orm.mapped_column(sa.String(20))
    env: orm.Mapped[str] = orm.mapped_column(sa.String(200))
    config_location: orm.Mapped[str] = orm.mapped_column(sa.String(1000))
    config_digest: orm.Mapped[str] = orm.mapped_column(sa.String(64))
    pipeline: orm.Mapped[str] = orm.mapped_column(sa.String(500))
    version: orm.Mapped[str] = orm.mapped_column(sa.String(50))
    host: orm.Mapped[str] = orm.mapped_column(sa.String(255))
    pid: orm.Mapped[int] = orm.mapped_column(sa.Integer)
    started_at: orm.Mapped[datetime.datetime] = orm.mapped_column(UtcDateTime)
    status: orm.Mapped[str] = orm.mapped_column(sa.String(20))
    finished_at: orm.Mapped[datetime.datetime | None] = orm.mapped_column(UtcDateTime)
    exit_code: orm.Mapped[int | None] = orm.mapped_column(sa.Integer)
    publish: orm.Mapped[str | None] = orm.mapped_column(sa.String(40))
    publish_reason: orm.Mapped[str | None] = orm.mapped_column(sa.String(500))
    rows_read: orm.Mapped[int | None] = orm.mapped_column(sa.BigInteger)
    rows_inserted: orm.Mapped[int | None] = orm.mapped_column(sa.BigInteger)
    rows_updated: orm.Mapped[int | None] = orm.mapped_column(sa.BigInteger)
    rows_deleted: orm.Mapped[int | None] = orm.mapped_column(sa.BigInteger)
    rows_unchanged: orm.Mapped[int | None] = orm.mapped_column(sa.BigInteger)
    bytes_read: orm.Mapped[int | None] = orm.mapped_column(sa.BigInteger)
    fingerprint_source: orm.Mapped[str | None] = orm.mapped_column(sa.String(200))
    fingerprint_target: orm.Mapped[str | None] = orm.mapped_column(sa.String(200))
    snapshot: orm.Mapped[str | None] = orm.mapped_column(sa.Text)
    phase_seconds: orm.Mapped[dict[str, float] | None] = orm.mapped_column(JsonText)
    error: orm.Mapped[str | None] = orm.mapped_column(sa.Text)
    cleanup_error: orm.Mapped[str | None] = orm.mapped_column(sa.Text)
    previous_table: orm.Mapped[str | None] = orm.mapped_column(sa.String(64))
    previous_fingerprint: orm.Mapped[str | None] = orm.mapped_column(sa.String(200))
    previous_expires_at: orm.Mapped[datetime.datetime | None] = orm.mapped_column(UtcDateTime)
    job_ids: orm.Mapped[tuple[str, ...] | None] = orm.mapped_column(JsonList)
