"""What SQL connectors share: identifiers, windows, and the clauses in which dialects differ.

The statements that are made of them are in `merge` and `version`. No driver is imported here.
"""

from __future__ import annotations

import abc
import contextlib
import datetime
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import pyarrow as pa

from tmg_etl import errors
from tmg_etl.connectors import base

#: Alias of the table whose rows are merged; no user's table has this name, as one might have `s`.
STAGED = "_tmg_staged_rows"

_Found = TypeVar("_Found")
#: How often a table is looked at that is replaced meanwhile.
_LOOKS = 5
_PLACEHOLDER = re.compile(r"\{execution_date(?::([^{}]*))?\}")


def fill_placeholder(text: str, execution_date: datetime.date) -> str:
    """Return `text` with ``{execution_date}`` written out.

    ``{execution_date}`` is YYYYMMDD as on the command line; ``{execution_date:%Y-%m-%d}`` takes
    any strftime format.
    """
    return _PLACEHOLDER.sub(lambda match: execution_date.strftime(match.group(1) or "%Y%m%d"), text)


def unused(name: str, columns: Iterable[str]) -> str:
    """Return `name`, made longer until no column is called so, in upper or lower case."""
    taken = {column.casefold() for column in columns}
    while name in taken:
        name += "_"
    return name


def as_subquery(query: str) -> str:
    """Return a user's query in parentheses; a closing semicolon or comment does no harm."""
    return f"(\n{query.strip().rstrip(';')}\n)"


def window_sql(column: str, kind: pa.DataType, window: base.CursorWindow, *, zone: str = "") -> str:
    """Return the SQL condition for the rows in `window`.

    Args:
        column: the cursor, quoted and qualified.
        kind: its Arrow type.
        window: closed interval of days.
        zone: suffix of a timestamp literal with zone ("+00"), for databases that need it.

    Raises:
        errors.ConfigError: a column of that type cannot be a cursor.
    """
    low, high = window.start, window.end
    if pa.types.is_date(kind):
        return f"({column} >= '{low.isoformat()}' AND {column} <= '{high.isoformat()}')"
    if pa.types.is_timestamp(kind):
        suffix = zone if kind.tz else ""
        lower = f"{column} >= '{low.isoformat()} 00:00:00{suffix}'"
        if window.end_exclusive is None:
            return f"({lower})"
        return f"({lower} AND {column} < '{window.end_exclusive.isoformat()} 00:00:00{suffix}')"
    first, last = low.isoformat().replace("-", ""), high.isoformat().replace("-", "")
    if pa.types.is_integer(kind):
        return f"({column} >= {int(first)} AND {column} <= {int(last)})"
    if pa.types.is_string(kind):
        # Another notation, such as 2013-01-01, is in no window rather than in a wrong one.
        return f"({column} >= '{first}' AND {column} <= '{last}' AND LENGTH({column}) = 8)"
    raise errors.ConfigError(
        f"the cursor {window.column!r} is of type {kind}",
        hint="a cursor is a date, a timestamp, or YYYYMMDD as integer or text",
    )


class ReplacedError(errors.TemporaryError):
    """A table was replaced or dropped between two statements that look at it."""

    def __init__(self, table: str) -> None:
        super().__init__(
            f"{table} was replaced or dropped while it was looked at",
            hint="run again when no other run publishes it",
        )


def steadily(table: str, look: Callable[[], _Found], identity: Callable[[], object]) -> _Found:
    """Return what several statements say of a table that was one and the same for all of them.

    Args:
        table: as messages name it.
        look: asks the catalogue; repeated when the table was replaced meanwhile.
        identity: returns what a replacement changes; None: there is no such table.

    Raises:
        ReplacedError: it was replaced each time.
    """
    before = identity()
    for _ in range(_LOOKS):
        failure: Exception | None = None
        try:
            found = look()
        except Exception as error:  # noqa: BLE001 - a mixture of two tables fails anyhow
            failure = error
        try:
            after = identity()
        except errors.TmgEtlError as error:
            # As in a transaction that has failed.
            raise failure or error from error
        if after == before and not isinstance(failure, ReplacedError):
            if failure is not None:
                raise failure
            return found
        before = after
    raise ReplacedError(table)


class SqlDialect(base.Target):
    """A target's driver, and the clauses of its dialect.

    A connector supplies `run` and `rows`, and overrides the clauses that it says in another way.
    """

    #: Tables that only this session sees, made in a `rehearsal`.
    own_tables: frozenset[str] = frozenset()
    #: Whether merges only count what they would do.
    is_rehearsing = False
    #: What quotes an identifier; doubled inside.
    quote_mark = '"'
    #: Whether ``ORDER BY … DESC`` must be told that nulls come last.
    nulls_last = " NULLS LAST"

    # --- the driver -----------------------------------------------------------------------------

    @abc.abstractmethod
    def run(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        """Execute a statement on the main connection; return the rows it touched."""

    @abc.abstractmethod
    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return all rows of a small query on the main connection."""

    # --- clauses of the dialect -----------------------------------------------------------------

    def quote(self, name: str) -> str:
        """Return an identifier, quoted whatever it contains."""
        mark = self.quote_mark
        return f"{mark}{name.replace(mark, mark * 2)}{mark}"

    def qualified(self, name: str) -> str:
        """Return a table's name as statements write it, with its schema where there is one."""
        return self.quote(name)

    def own_rows(self, name: str) -> str:
        """Return a table's name where its rows are read, changed or deleted: no other table's."""
        return self.qualified(name)

    def same(self, left: str, right: str) -> str:
        """Return the condition that two values are equal, null equal to null."""
        return f"{left} IS NOT DISTINCT FROM {right}"

    def differs(self, field: pa.Field, left: str, right: str) -> str:
        """Return the condition that two cells of one column differ in any byte."""
        return f"{left} IS DISTINCT FROM {right}"

    def ordered(self, column: str, value: str) -> str:
        """Return `value`, an expression over `column`, such that it orders as its type does."""
        return value

    @abc.abstractmethod
    def row_identity(self, table: str, columns: Sequence[str]) -> str:
        """Return an expression that is equal for two rows if and only if all `columns` are.

        Args:
            table: a table beside the target, whose column types decide the expression.
            columns: of that table.
        """

    def hash_sum(self, table: str, alias: str, columns: Sequence[str]) -> str:
        """Return the aggregate that sums the row hashes of `base.Fingerprint`."""
        return f"SUM({self.row_hash(table, alias, columns)})"

    def row_hash(self, table: str, alias: str, columns: Sequence[str]) -> str:
        """Return the integer that a row adds to a `base.Fingerprint`.

        Written by connectors whose `proof` is the database's own; the others are read back.
        """
        raise TypeError(f"{type(self).__name__} is proved by reading back")

    def hash_total(self, value: object) -> int:
        """Return the sum of row hashes as a plain number, from what `hash_sum` gave."""
        return int(str(value or 0))

    def insert_clause(self, columns: Sequence[str]) -> str:
        """Return what follows ``INSERT INTO table``: the columns, and overrides."""
        return f"({self.names(columns)})"

    def update_from(self, source: str, assignments: str, key_match: str, condition: str) -> str:
        """Return the statement that updates the target, from a table under the alias `STAGED`.

        Args:
            source: the table to take values from, qualified.
            assignments: ``"column" = STAGED."column", …``
            key_match: equality of the keys of `STAGED` and the target.
            condition: which of the matching rows.
        """
        return (
            f"UPDATE {self.own_rows(self.table)} SET {assignments}"
            f" FROM {source} AS {STAGED} WHERE {key_match} AND {condition}"
        )

    def attempt(self) -> contextlib.AbstractContextManager[None]:
        """Return a block of a transaction which goes on when a constraint refuses the block.

        The default is for databases that undo the statement that failed, and nothing else.
        """
        return contextlib.nullcontext()

    def assigned(self, name: str) -> str:
        """Return a column of the target as the left side of an assignment in `update_from`."""
        return self.quote(name)

    def delete_keys(self, keys: str, key: Sequence[str]) -> str:
        """Return the statement that deletes target rows whose key is among `keys`, a SELECT."""
        return f"DELETE FROM {self.own_rows(self.table)} WHERE ({self.names(key)}) IN ({keys})"

    def create_verb(self, name: str, otherwise: str = "CREATE TABLE") -> str:
        """Return how the statement begins that creates a staging table."""
        return "CREATE TEMPORARY TABLE" if name in self.own_tables else otherwise

    def prepare_keys(self, staging: str, key: Sequence[str]) -> None:
        """Make lookups by key fast in a loaded table; harmless when called again."""

    def joined(self, staging: str, key: Sequence[str], name: str) -> str:
        """Return the FROM clause of a staging table, under the alias `STAGED`, and another."""
        match = self.key_match(key, STAGED, name)
        return f"{self.qualified(staging)} AS {STAGED} JOIN {self.own_rows(name)} ON {match}"

    def settle_plans(self, staging: str, key: Sequence[str]) -> None:
        """Keep what follows from being planned so that it costs more than the rows it touches.

        Args:
            staging: a staging table or shadow, unique over the key.
            key: by which it is compared with the target.
        """

    def rename(self, old: str, new: str) -> None:
        """Rename a temporary table."""
        self.run(f"ALTER TABLE {self.qualified(old)} RENAME TO {self.quote(new)}")

    def zone_suffix(self) -> str:
        """Return what ends a timestamp literal with zone."""
        return "+00"

    # --- pieces of statements -------------------------------------------------------------------

    def names(self, columns: Iterable[str], alias: str | None = None) -> str:
        """Return a comma-separated list of quoted columns."""
        prefix = f"{alias}." if alias else ""
        return ", ".join(f"{prefix}{self.quote(column)}" for column in columns)

    def key_match(self, key: Sequence[str], alias: str = STAGED, table: str | None = None) -> str:
        """Return the condition that `alias` and `table` (the target) have one key."""
        other = self.quote(table or self.table)
        return " AND ".join(
            f"{alias}.{self.quote(name)} = {other}.{self.quote(name)}" for name in key
        )

    def column_field(self, name: str) -> pa.Field:
        """Return the field of a column of the target.

        Raises:
            errors.ConfigError: the target has no such column.
        """
        table = self.describe()
        column = table.column(name) if table else None
        if column is None:
            raise errors.ConfigError(f"the target {self.table} has no column {name!r}")
        return column.field

    def window_condition(self, window: base.CursorWindow | None, alias: str | None = None) -> str:
        """Return the condition for target rows in `window`; always true without one."""
        if window is None:
            return "1 = 1"
        column = f"{alias or self.quote(self.table)}.{self.quote(window.column)}"
        kind = self.column_field(window.column).type
        return window_sql(column, kind, window, zone=self.zone_suffix())

    def selected(self, name: str, selection: base.Selection) -> tuple[str, str]:
        """Return the FROM clause, and the alias of the table in it, for a selection of rows."""
        clause, alias = self.own_rows(name), self.quote(name)
        if selection.keys_of is not None:
            clause = self.joined(selection.keys_of, selection.key, name)
        conditions = []
        if selection.window is not None:
            conditions.append(self.window_condition(selection.window, alias))
        buckets = selection.buckets
        if buckets is not None and buckets.wanted is not None:
            wanted = ", ".join(map(str, buckets.wanted))
            conditions.append(f"{self._bucket(name, alias, buckets)} IN ({wanted})")
        if conditions:
            clause += f" WHERE {' AND '.join(conditions)}"
        return clause, alias

    def _bucket(self, name: str, alias: str, buckets: base.Buckets) -> str:
        return f"MOD({self.row_hash(name, alias, buckets.columns)}, {buckets.count})"
