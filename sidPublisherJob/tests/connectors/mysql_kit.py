"""What the tests of the MySQL connector share: opening, sending, and reading back by the driver."""

import contextlib
import hashlib
import pathlib
import urllib.parse
from collections.abc import Iterator, Sequence

import pyarrow as pa
import pymysql

from tmg_etl import run
from tmg_etl.config import model
from tmg_etl.connectors import base, mysql
from tmg_etl.connectors.mysql import target as target_module
from tmg_etl.transfer import encode

NAMES = run.TemporaryNames("run1")


def connect(url: str, **more: object) -> mysql.MySQLConnection:
    spec = model.SqlConnection(type="mysql", name="serving", url=url, **more)
    return mysql.MySQLConnection(spec, pathlib.Path())


def raw(url: str, *, autocommit: bool = True) -> pymysql.connections.Connection:
    """A connection of the plain driver, in UTC."""
    parts = urllib.parse.urlsplit(url)
    return pymysql.connect(
        host=parts.hostname,
        port=parts.port,
        user=parts.username,
        password=urllib.parse.unquote(parts.password or ""),
        database=parts.path[1:],
        charset="utf8mb4",
        autocommit=autocommit,
        init_command="SET time_zone = '+00:00'",
    )


def run_sql(url: str, *statements: str) -> list[tuple]:
    """Run statements by the plain driver; return the rows of the last one."""
    with raw(url) as connection, connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
        return list(cursor.fetchall())


@contextlib.contextmanager
def opened(url: str, table: str = "t") -> Iterator[target_module.MySQLTarget]:
    with connect(url).open_target(table) as target:
        yield target


def batch(target: base.Target, rows: pa.RecordBatch, first_row: int = 0) -> base.Batch:
    encoder = encode.Encoder(rows.schema, target.capabilities.text, hashes=False)
    return base.Batch(rows, encoder.encode(rows), first_row)


def send(
    target: base.Target, name: str, rows: pa.RecordBatch | pa.Table, key: Sequence[str] = ()
) -> int:
    """Load rows, in batches of 1000, into a table that is there."""
    if isinstance(rows, pa.RecordBatch):
        rows = pa.Table.from_batches([rows])
    taken = 0
    for part in rows.to_batches(max_chunksize=1000):
        taken += target.load(name, batch(target, part, taken), key)
    return taken


def hash_of(texts: Sequence[str]) -> base.Fingerprint:
    """The fingerprint by its definition, from canonical texts written by hand."""
    total = sum(int(hashlib.sha256(text.encode()).hexdigest()[:15], 16) for text in texts)
    return base.Fingerprint(len(texts), total % 2**64)


def numbers(count: int) -> str:
    """The SELECT of the numbers from 1 on."""
    array = f"CONCAT('[0', REPEAT(',0', {count - 1}), ']')"
    return f"SELECT seq FROM JSON_TABLE({array}, '$[*]' COLUMNS (seq FOR ORDINALITY)) AS numbered"


def tables(url: str) -> set[str]:
    return {row[0] for row in run_sql(url, "SHOW TABLES")}


def keyed(ids: list[int | None], values: list[str | None]) -> pa.Table:
    """Rows of the table that `seed` makes."""
    return pa.table({"id": pa.array(ids, pa.int32()), "v": pa.array(values, pa.string())})


def seed(url: str) -> str:
    """Make `t` with three rows."""
    run_sql(
        url,
        "CREATE TABLE t (id int PRIMARY KEY, v varchar(50) COLLATE utf8mb4_general_ci)",
        "INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3, NULL)",
    )
    return url


def stage(target: base.Target, rows: pa.Table, key: Sequence[str]) -> str:
    """Load rows into a new staging table; return its name."""
    name = NAMES.table("stage", target.table)
    target.create_staging(name, rows.schema.names, pa.schema([]))
    send(target, name, rows, key)
    return name


def rows_of(url: str, sql: str = "SELECT * FROM t ORDER BY 1") -> list[tuple]:
    return run_sql(url, sql)
