"""MySQL and MariaDB: streamed snapshot reads, `LOAD DATA LOCAL` from memory, publish by RENAME.

Belongs here: everything that speaks to these servers, by PyMySQL, which needs no compiler. Does not
belong here: when and why a table is loaded or published (`tmg_etl.transfer`). May not be imported
here: another connector.

- `connection`: the entry of the config; opens sources and targets, runs hand-written statements.
- `session`: one server connection with the settings that the rest relies on.
- `stream`: the wire: uploads from memory, rows as bytes.
- `type`: Arrow and MySQL types, canonical text, text to read; the documented mapping table.
- `catalogue`: what the server says of a table.
- `source`: a consistent snapshot as record batches.
- `load`, `refusal`: rows into a table, and the errors of those that the server does not take.
- `definition`: the statements that create tables and indexes.
- `lock`: the advisory lock.
- `exchange`, `swap`: tables and their shadows change places, by one atomic RENAME.
- `dialect`: the clauses of merges and proofs.
- `target`: the above as a `base.Target`.
- `error`: server error numbers as this product's errors.
"""

from __future__ import annotations

from tmg_etl.connectors.mysql.connection import MySQLConnection

__all__ = ["MySQLConnection"]
