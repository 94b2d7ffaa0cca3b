"""Files as a system: Parquet, CSV and JSON lines to read, folders of Parquet to publish.

Belongs here: finding files under a connection's `url`, reading them as Arrow record batches of the
types that `tmg_etl.connectors.base` names, and putting a folder of Parquet in another's place.
`storage` is the only module that touches a file system, so that object stores can join there.

Not here: other connectors. pyarrow reads and writes; DuckDB, which is a library and no server
here, answers `query:` (`query`) and looks for duplicate keys (`unique`), and is imported only then.

The way of a read: `location` (which files) → `parquet`, `delimited` or `jsonlines` (rows of one
file, with `text` and `kind` for types) → `source` (one schema, window, batches).
"""

from tmg_etl.connectors.files.connection import FilesConnection

__all__ = ["FilesConnection"]
