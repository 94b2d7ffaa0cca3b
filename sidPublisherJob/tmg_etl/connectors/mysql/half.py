"""Proof of a table that was just loaded, in two halves of its primary key, one in each lane.

Only of tables that nobody else writes: the two sessions have a snapshot each.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from concurrent import futures
from typing import Any

import pyarrow as pa

from tmg_etl.connectors.mysql import catalogue, lane
from tmg_etl.connectors.mysql import session as session_module


class Halves:
    """Remembers keys of what is loaded, and asks for its halves side by side.

    Args:
        lanes: the sessions.
    """

    def __init__(self, lanes: lane.Lanes) -> None:
        self._lanes = lanes
        self._seen: dict[str, tuple[str, list[Any]]] = {}

    def sample(self, name: str, rows: pa.RecordBatch, primary_key: Sequence[str]) -> None:
        """Remember one key of a batch; called by the thread that loads it."""
        if primary_key and primary_key[0] in rows.schema.names and rows.num_rows:
            value = rows.column(primary_key[0])[0].as_py()
            if isinstance(value, int | str | datetime.date):
                self._seen.setdefault(name, (primary_key[0], []))[1].append(value)

    def forget(self, name: str) -> None:
        """Take a table of that name for a new one."""
        self._seen.pop(name, None)

    def conditions(self, session: session_module.Session, name: str) -> Sequence[str]:
        """Return the conditions of the two halves; nothing for a table that is proved as a whole.

        They divide the rows whatever the value is and however the column compares; that both have
        about as many rows is a guess from the keys seen.
        """
        if name not in self._seen:
            return ()
        column, seen = self._seen[name]
        with session.connection.cursor() as cursor:
            middle = cursor.mogrify("%s", (sorted(seen)[len(seen) // 2],))
        return [f"{catalogue.quoted(column)} {side} {middle}" for side in ("<", ">=")]

    def rows(self, statements: Sequence[str]) -> list[tuple[Any, ...]]:
        """Return the one row of each statement; a stop signal ends them."""

        def ask(statement: str) -> tuple[Any, ...]:
            with self._lanes.one() as session, session.cancelling():
                return session.rows(statement)[0]

        with futures.ThreadPoolExecutor(len(statements), "tmg-etl-prove") as pool:
            return list(pool.map(ask, statements))
