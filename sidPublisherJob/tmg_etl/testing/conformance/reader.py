"""A process that reads a table in a loop, as a web site does while the table is published.

    python -m tmg_etl.testing.conformance.reader URL TABLE

prints one line of JSON for each turn, ``[seconds to get one row, rows, seconds to count them]``,
until its standard input is closed. It uses the system's own driver.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from typing import Any
from urllib import parse


def _connect(url: str) -> Any:
    if url.startswith("postgresql://"):
        import psycopg

        return psycopg.connect(url, autocommit=True)
    import pymysql

    parts = parse.urlsplit(url)
    return pymysql.connect(
        host=parts.hostname,
        port=parts.port or 3306,
        user=parse.unquote(parts.username or ""),
        password=parse.unquote(parts.password or ""),
        database=parts.path.lstrip("/"),
        autocommit=True,
    )


def _timed(cursor: Any, sql: str) -> tuple[float, int]:
    started = time.monotonic()
    cursor.execute(sql)
    (value,) = cursor.fetchone()
    return time.monotonic() - started, int(value)


def main() -> None:
    """Read until standard input is closed."""
    url, table = sys.argv[1:]
    ended = threading.Event()

    def wait() -> None:
        sys.stdin.read()
        ended.set()

    threading.Thread(target=wait, daemon=True).start()
    with _connect(url) as connection, connection.cursor() as cursor:
        while not ended.is_set():
            one_row_s, _ = _timed(cursor, f"SELECT 1 FROM {table} LIMIT 1")
            count_s, rows = _timed(cursor, f"SELECT COUNT(*) FROM {table}")
            sys.stdout.write(json.dumps([one_row_s, rows, count_s]) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
