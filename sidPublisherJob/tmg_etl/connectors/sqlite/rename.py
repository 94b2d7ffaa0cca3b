"""What goes with a table that takes the place of another: names of indexes, counters, statistics.

SQLite's own rename leaves these behind. All of it happens within the transaction of the swap.
"""

from __future__ import annotations

from collections.abc import Mapping

from tmg_etl.connectors.sqlite import catalog, database


def keep_sequence(session: database.Session, table: str, shadow: str) -> None:
    """Let AUTOINCREMENT go on after the largest key that the old table ever had."""
    last = session.rows("SELECT seq FROM sqlite_sequence WHERE name = ?", [table])
    if not last:
        return
    changed = session.run(
        "UPDATE sqlite_sequence SET seq = max(seq, ?) WHERE name = ?", [last[0][0], shadow]
    )
    if not changed:
        session.run("INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", [shadow, last[0][0]])


def indexes(
    session: database.Session, built: Mapping[str, str], statements: Mapping[str, str]
) -> None:
    """Give indexes their names.

    SQLite has no statement for it; editing the schema table in a transaction is what its own
    RENAME does. Building the indexes here instead would hold the write lock, and all their pages
    in memory, for as long as that takes.

    Args:
        session: in the transaction of the swap.
        built: by final name, the name that each was built under.
        statements: by final name, the CREATE INDEX statement to keep.

    Source: https://www.sqlite.org/pragma.html#pragma_writable_schema
    """
    if not built:
        return
    session.run("PRAGMA writable_schema = ON")
    for index, temporary in built.items():
        session.run(
            "UPDATE sqlite_schema SET name = ?, sql = ? WHERE type = 'index' AND name = ?",
            [index, statements[index], temporary],
        )
    # Reads the schema again, within the transaction.
    session.run("PRAGMA writable_schema = RESET")


def statistics(
    session: database.Session, shadow: str, table: str, built: Mapping[str, str]
) -> None:
    """Give the statistics of a shadow and its indexes to the table that it became."""
    if not catalog.has_object(session, "table", "sqlite_stat1"):
        return
    session.run("DELETE FROM sqlite_stat1 WHERE lower(tbl) = lower(?)", [table])
    for index, temporary in built.items():
        session.run("UPDATE sqlite_stat1 SET idx = ? WHERE idx = ?", [index, temporary])
    session.run(
        "UPDATE sqlite_stat1 SET tbl = ?1, idx = replace(idx, ?2, ?1) WHERE tbl = ?2",
        [table, shadow],
    )
