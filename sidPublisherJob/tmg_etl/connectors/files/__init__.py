"""Files as a system: Parquet, CSV, JSON lines to read; Parquet to publish; on disks, in buckets.

Belongs here: finding files under a connection's `url`, reading them as Arrow record batches of the
types that `tmg_etl.connectors.base` names, and putting new Parquet in the place of old: a folder in
a folder's place on a disk, one object in an object's place in a bucket.

Not here: other connectors, and the protocols of object stores (`tmg_etl.storage`). pyarrow reads
and writes; DuckDB, which is a library and no server here, answers `query:` (`query`) and looks for
doubled keys (`engine`), and is imported only then.

Where files are: `lake` says what a place can do; `disk` and `bucket` are the two. `storage` is the
only module that touches a local file system, `ranges` fetches parts of objects.

The way of a read: `location` (which files) → `parquet` with `rowgroup`, `delimited` or `jsonlines`
(rows of one file, with `text` and `kind` for types) → `source` (one schema, window, batches),
several files `ahead` where requests cost time.

The way of a publish: `target` with `folder` on a disk, `published` with `register` in a bucket,
and what both share in `whole`.
"""

from tmg_etl.connectors.files.connection import FilesConnection

__all__ = ["FilesConnection"]
