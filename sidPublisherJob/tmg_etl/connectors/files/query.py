"""`query:` on files: DuckDB's SQL, where the folder's tables are tables.

Each table that the query names is found and read as `table:` would. Plain Parquet on a disk is
scanned by DuckDB itself, which reads the columns and row groups that the query needs. Anything
whose types this package gives a meaning (CSV, JSON lines, widened or nested columns, INT96, …), and
anything in a bucket, is copied into the in-memory database first: the columns that the query names
(`projection`), spilled to the temporary folder when they are large.
"""

from __future__ import annotations

import contextlib
import datetime
import difflib
import json
import pathlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from tmg_etl import errors
from tmg_etl import run as run_module
from tmg_etl.config import model
from tmg_etl.connectors import base, sql
from tmg_etl.connectors.files import engine, location, parquet, projection, source
from tmg_etl.connectors.files import kind as kinds
from tmg_etl.connectors.files import lake as lakes

if TYPE_CHECKING:
    import duckdb

_THREADS = 2
# What DuckDB would take for a pattern in a path, or decode in a partition.
_NOT_LITERAL = re.compile(r"[*?\[\]{}%]")
# Text, quoted names, comments, casts and parameters of a statement.
_TOKEN = re.compile(
    r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|--[^\n]*|/\*.*?\*/|::|:([A-Za-z_]\w*)", re.S
)


class _Session:
    """A database that holds the tables that one query names."""

    def __init__(
        self,
        lake: lakes.Lake,
        query: str,
        execution_date: datetime.date,
        connection: str,
        stop: run_module.StopFlag,
    ) -> None:
        self.query, self._lake, self._name, self._stop = query, lake, connection, stop
        self._date = execution_date
        self._is_counted = True
        self.files: dict[str, location.File] = {}
        self._stack = contextlib.ExitStack()
        try:
            with self.explaining():
                self._database = self._stack.enter_context(
                    engine.opened(engine.QUERY_MEMORY_MB, threads=_THREADS)
                )
                self._search(self._database)
                tree = self._parsed()
                for table in sorted(set(projection.tables(tree))):
                    self._add(table, tree)
        except BaseException:
            self.close()
            raise

    @contextlib.contextmanager
    def explaining(self) -> Iterator[None]:
        """Turn what DuckDB raises into the error that stands for it."""
        try:
            with engine.explaining(f"{self._name}: query", self._stop):
                yield
        except errors.ConfigError as error:
            # A scan that fails because its files were replaced is no mistake in the query.
            self.check_unchanged()
            missing = re.search(r'Table with name "?(.+?)"? does not exist', error.message)
            if missing is None:
                raise
            raise self._no_table(missing[1]) from error

    def _no_table(self, table: str) -> errors.ConfigError:
        names = self._lake.names("")
        known = sorted({location.stem(name) for name in names if not lakes.is_hidden(name)})
        near = difflib.get_close_matches(table, known, n=3)
        hint = f"did you mean {', '.join(near)}?" if near else f"it holds {', '.join(known[:8])}"
        return errors.ConfigError(
            f"{self._name}: the query names the table {table!r},"
            f" which {self._lake.root} does not hold",
            hint=hint,
        )

    def _search(self, database: duckdb.DuckDBPyConnection) -> None:
        """Have relative names of files in a query start where its tables do."""
        if not self._lake.is_remote:
            database.execute("SET file_search_path = ?", [self._lake.root])

    def _parsed(self) -> Any:
        """Return the query as DuckDB parses it."""
        found = self._database.execute("SELECT json_serialize_sql($1)", [self.query]).fetchall()
        tree = json.loads(found[0][0])
        statements = len(tree.get("statements", []))
        if tree["error"] or statements != 1:
            reason = tree.get("error_message", f"found {statements} statements, expected one")
            # "Only SELECT statements can be serialized to json!"
            reason = "it is no SELECT" if "serialized" in reason else reason
            raise errors.ConfigError(f"{self._name}: query: {reason}", hint="write one SELECT")
        return tree

    def _add(self, table: str, tree: Any) -> None:
        if not location.is_table(self._lake, table):
            return
        spec = model.SourceSpec(connection=self._name, table=table)
        located = location.locate(self._lake, spec, self._date, self._name)
        found = source.FilesSource(located, spec)
        self.files.update((file.path, file) for file in located.files)
        target = engine.quote(table)
        if _is_plain(found):
            self._is_counted = False
            self._database.execute(f"CREATE VIEW {target} AS {_scan(found)}")
            return
        columns = projection.needed(tree, found.schema().names)
        schema = pa.schema([found.schema().field(name) for name in columns])
        feed = engine.Feed(schema, found.read(schema.names))
        with self._stop.cancelling(self._database.interrupt), feed.registered(self._database):
            self._database.execute(f"CREATE TABLE {target} AS FROM {engine.ROWS}")

    @contextlib.contextmanager
    def cursor(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Return a cursor of its own: two open results need two."""
        with self.explaining(), self._database.cursor() as cursor:
            engine.prepare(cursor)
            self._search(cursor)
            with self._stop.cancelling(cursor.interrupt):
                yield cursor

    def check_unchanged(self) -> None:
        """Make sure that every file is as it was when the session began."""
        for file in self.files.values():
            file.check_unchanged()

    def close(self) -> None:
        """Drop everything."""
        self._stack.close()
        self._lake.close()

    @property
    def bytes_read(self) -> int | None:
        """Return the bytes that were copied from files; None: DuckDB reads some by itself."""
        return self._lake.meter.bytes_read if self._is_counted else None


def _is_plain(found: source.FilesSource) -> bool:
    """Return whether DuckDB's own scan gives the very values that this package would."""
    files = found.located.files
    if files[0].lake.is_remote:
        return False
    literal = not any(_NOT_LITERAL.search(file.path) for file in files)
    if not isinstance(found.format, parquet.ParquetFormat) or not found.format.is_plain:
        return False
    folders = [part for part in pathlib.Path(files[0].path).parts[:-1] if "=" in part]
    return literal and len(folders) == len(files[0].partitions)


def _scan(found: source.FilesSource) -> str:
    """Return the SELECT that reads plain Parquet files."""
    paths = ", ".join("'" + file.path.replace("'", "''") + "'" for file in found.located.files)
    types = {"int64": "BIGINT", "date32[day]": "DATE"}
    partitions = ", ".join(
        f"{engine.quote(field.name)}: {types.get(str(field.type), 'VARCHAR')}"
        for field in found.partitions
    )
    options = f"hive_partitioning = {'true' if partitions else 'false'}"
    if partitions:
        options += f", hive_types = {{{partitions}}}"
    columns = ", ".join(engine.quote(name) for name in found.schema().names)
    return f"SELECT {columns} FROM read_parquet([{paths}], {options})"


class QuerySource(base.Source):
    """The rows of a query over files.

    Args:
        lake: place of the tables.
        spec: holds the query.
        execution_date: fills its placeholder.
        connection: name, for messages.
        stop: ends long statements.
    """

    def __init__(
        self,
        lake: lakes.Lake,
        spec: model.SourceSpec,
        execution_date: datetime.date,
        connection: str,
        stop: run_module.StopFlag,
    ) -> None:
        self._connection = connection
        query = sql.fill_placeholder(spec.query or "", execution_date)
        self._session = _Session(lake, query, execution_date, connection, stop)
        self._from = f"{sql.as_subquery(query)} AS _tmg_query"
        try:
            with self._session.cursor() as cursor:
                # In a subquery DuckDB gives the second of two equal names another one.
                _refuse_twice(cursor.sql(query).columns, f"{connection}: query")
                found = cursor.sql(f"SELECT * FROM {self._from} LIMIT 0").to_arrow_table().schema
            self._schema = _based(found, f"{connection}: query")
        except BaseException:
            self._session.close()
            raise

    @property
    def description(self) -> str:
        """Return the connection and the start of the query."""
        text = " ".join(self._session.query.split())
        return f"{self._connection}: query {text if len(text) <= 100 else text[:100] + '…'}"

    @property
    def snapshot(self) -> str:
        """Return number, size and newest change of the files, and a digest of their list."""
        return location.snapshot_of(self._session.files.values())

    def schema(self) -> pa.Schema:
        """Return the columns of the query."""
        return self._schema

    def count(self, window: base.CursorWindow | None = None) -> int | None:
        """Return None: to count is to run the query."""
        return None

    def read(
        self,
        columns: Sequence[str],
        window: base.CursorWindow | None = None,
        *,
        batch_rows: int = 65536,
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows of the query as DuckDB gives them."""
        names = ", ".join(engine.quote(name) for name in columns)
        statement = f"SELECT {names} FROM {self._from}"
        if window is not None:
            kind = self._schema.field(window.column).type
            condition = sql.window_sql(engine.quote(window.column), kind, window, zone="+00")
            statement += f" WHERE {condition}"
        fields = [self._schema.field(name) for name in columns]
        with self._session.cursor() as cursor:
            for batch in cursor.sql(statement).to_arrow_reader(batch_rows):
                if batch.num_rows:
                    yield _converted(batch, fields, self.description)
        self._session.check_unchanged()

    @property
    def bytes_read(self) -> int | None:
        """Return the bytes of files in a bucket, or that were copied; None: not known."""
        return self._session.bytes_read

    def close(self) -> None:
        """Drop the database with its copies."""
        self._session.close()


def _refuse_twice(names: Sequence[str], where: str) -> None:
    twice = [name for name in names if list(names).count(name) > 1]
    if twice:
        raise errors.ConfigError(
            f"{where}: the column {twice[0]!r} occurs more than once", hint="rename one with AS"
        )


def _based(schema: pa.Schema, where: str) -> pa.Schema:
    _refuse_twice(schema.names, where)
    return pa.schema([kinds.base_field(field, where) for field in schema])


def _converted(batch: pa.RecordBatch, fields: Sequence[pa.Field], where: str) -> pa.RecordBatch:
    arrays = [
        kinds.to_base(array, field, where)
        for array, field in zip(batch.columns, fields, strict=True)
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(list(fields)))


def rows(
    lake: lakes.Lake,
    query: str,
    parameters: Mapping[str, Any],
    connection: str,
    stop: run_module.StopFlag,
) -> pa.Table:
    """Return all rows of a small query.

    Args:
        lake: place of the tables.
        query: one statement, with parameters as ``:name``.
        parameters: values to bind.
        connection: name, for messages.
        stop: ends the statement.
    """

    def named(match: re.Match[str]) -> str:
        return f"${match[1]}" if match[1] in parameters else match[0]

    statement = _TOKEN.sub(named, query)
    today = datetime.datetime.now(datetime.UTC).date()
    session = _Session(lake, statement, today, connection, stop)
    try:
        with session.cursor() as cursor:
            found = cursor.sql(statement, params=dict(parameters)).to_arrow_table()
        session.check_unchanged()
        schema = _based(found.schema, f"{connection}: query")
        where = f"{connection}: query"
        batches = [_converted(batch, list(schema), where) for batch in found.to_batches()]
        return pa.Table.from_batches(batches, schema)
    finally:
        session.close()
