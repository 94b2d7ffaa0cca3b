"""What the PostgreSQL tests share: opening, sending, and reading back by the plain driver."""

import contextlib
import datetime
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import psycopg
import pyarrow as pa

from tests.transfer import plain_lookup3
from tmg_etl import run
from tmg_etl.config import model
from tmg_etl.connectors import base, postgres
from tmg_etl.connectors.postgres import source as source_module
from tmg_etl.connectors.postgres import target as target_module
from tmg_etl.transfer import encode

NAMES = run.TemporaryNames("run1")
DAY = datetime.date(2024, 1, 5)


def connect(url: str, **more: Any) -> postgres.PostgresConnection:
    spec = model.SqlConnection(type="postgres", name="serving", url=url, **more)
    return postgres.PostgresConnection(spec, pathlib.Path())


def raw(url: str) -> psycopg.Connection[Any]:
    """A connection of the plain driver, in UTC."""
    return psycopg.connect(url, autocommit=True, options="-c TimeZone=UTC")


def run_sql(url: str, *statements: str) -> list[tuple[Any, ...]]:
    """Run statements by the plain driver; return the rows of the last one."""
    with raw(url) as connection:
        for statement in statements:
            cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


@contextlib.contextmanager
def opened(url: str, table: str = "t", **more: Any) -> Iterator[target_module.PostgresTarget]:
    with connect(url, **more).open_target(table) as target:
        yield target


@contextlib.contextmanager
def source(
    url: str, *, table: str | None = None, query: str | None = None, **more: Any
) -> Iterator[source_module.PostgresSource]:
    spec = model.SourceSpec(connection="serving", table=table, query=query)
    with connect(url, **more).open_source(spec, DAY) as opened_source:
        yield opened_source


def read(url: str, **what: Any) -> pa.Table:
    with source(url, **what) as opened_source:
        schema = opened_source.schema()
        return pa.Table.from_batches(opened_source.read(schema.names), schema=schema)


def batch(rows: pa.RecordBatch, first_row: int = 0) -> base.Batch:
    text = target_module.PostgresTarget.capabilities.text
    encoder = encode.Encoder(rows.schema, text, hashes=False)
    return base.Batch(rows, encoder.encode(rows), first_row)


def fingerprint(rows: pa.RecordBatch) -> base.Fingerprint:
    """What the transfer computes of what it sends."""
    text = target_module.PostgresTarget.capabilities.text
    encoder = encode.Encoder(rows.schema, text, hashes=True)
    encoder.add(rows)
    return encoder.fingerprint


def hash_of(lines: Sequence[str]) -> base.Fingerprint:
    """The fingerprint of canonical rows, computed plainly."""
    total = sum(plain_lookup3.lookup3(line.encode()) % 2**60 for line in lines)
    return base.Fingerprint(len(lines), total % 2**64)


def records(schema: pa.Schema, *rows: Sequence[Any]) -> pa.RecordBatch:
    columns = [
        pa.array([row[position] for row in rows], field.type)
        for position, field in enumerate(schema)
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def as_described(target: base.Target, rows: pa.RecordBatch) -> pa.RecordBatch:
    """Rows cast to the columns of the target, as a transfer does."""
    table = target.describe()
    assert table is not None
    schema = pa.schema([table.schema.field(name) for name in rows.schema.names])
    return rows.cast(schema)


def wall(*parts: int) -> datetime.datetime:
    """A timestamp without zone."""
    return datetime.datetime(*parts, tzinfo=datetime.UTC).replace(tzinfo=None)


def fill_shadow(
    target: target_module.PostgresTarget,
    rows: pa.RecordBatch,
    key: Sequence[str] = (),
    indexes: Sequence[base.Index] = (),
) -> str:
    """Create, load and finish a shadow of the target; return its name."""
    name = NAMES.table("shadow", target.table)
    target.create_shadow(name, indexes)
    target.load(name, batch(as_described(target, rows)), key)
    target.finish_load(name, key)
    return name


def stage(
    target: target_module.PostgresTarget,
    rows: pa.RecordBatch,
    extra: pa.Schema | None = None,
    key: Sequence[str] = (),
) -> str:
    """Create and load a staging table; return its name."""
    more = extra or pa.schema([])
    columns = [name for name in rows.schema.names if name not in more.names]
    name = NAMES.table("stage", target.table)
    target.create_staging(name, columns, more)
    target.load(name, batch(rows), key)
    return name
