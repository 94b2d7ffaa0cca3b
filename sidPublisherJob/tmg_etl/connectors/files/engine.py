"""DuckDB as a library: SQL over files, and the search for doubled keys.

Allowed here although DuckDB is a system with a connector of its own, because it is used as an
engine: an in-memory database that dies with its caller, over batches that this package reads.
Nothing of the `duckdb` connector is imported, and duckdb itself only when one of these is asked
for. Memory is bounded; what does not fit is spilled to a folder that is removed at the end.
"""

from __future__ import annotations

import contextlib
import pathlib
import tempfile
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pyarrow as pa

from tmg_etl import errors
from tmg_etl import run as run_module
from tmg_etl.connectors.files import storage

if TYPE_CHECKING:
    import duckdb

# Tried in this order: the first is enough to find doubled keys in any number of rows, by spilling,
# unless single keys are very large.
_UNIQUE_MEMORY_MB = (64, 1024)
QUERY_MEMORY_MB = 512
ROWS = "_tmg_rows"


def quote(name: str) -> str:
    """Return an identifier, quoted whatever it contains."""
    return '"' + name.replace('"', '""') + '"'


@contextlib.contextmanager
def opened(
    memory_mb: int, spill_beside: pathlib.Path | None = None, threads: int = 1
) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open an empty in-memory database for a block.

    Args:
        memory_mb: MiB of memory to use before spilling.
        spill_beside: folder to make the spill folder in; None means the system's temporary one.
        threads: at most so many.
    """
    import duckdb

    with tempfile.TemporaryDirectory(prefix=".tmg_etl_spill_", dir=spill_beside) as spill:
        config: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": f"{memory_mb}MiB",
            "threads": str(threads),
            "temp_directory": spill,
            # Nothing is downloaded under a run.
            "autoinstall_known_extensions": "false",
        }
        with duckdb.connect(config=config) as connection:
            prepare(connection)
            yield connection


def prepare(connection: duckdb.DuckDBPyConnection) -> None:
    """Set what a connection or cursor does not inherit."""
    # A table name must never mean a variable of this program.
    connection.execute("SET python_enable_replacements = false")
    connection.execute("SET TimeZone = 'UTC'")


@contextlib.contextmanager
def explaining(subject: str, stop: run_module.StopFlag) -> Iterator[None]:
    """Turn what DuckDB raises into the error that stands for it."""
    import duckdb

    try:
        yield
    except duckdb.InterruptException as error:
        stop.check()
        raise errors.TemporaryError(f"{subject}: interrupted") from error
    except (duckdb.ConversionException, duckdb.OutOfRangeException) as error:
        raise errors.DataError(
            f"{subject}: {error}", hint="correct the data or the query"
        ) from error
    except duckdb.OutOfMemoryException as error:
        raise errors.StorageFullError(
            f"{subject}: {error}", hint="give the temporary folder (TMPDIR) more room"
        ) from error
    except duckdb.PermissionException as error:
        raise errors.AccessError(f"{subject}: {error}") from error
    except duckdb.IOException as error:
        if "space" in str(error):
            raise errors.StorageFullError(f"{subject}: {error}") from error
        raise errors.ConfigError(f"{subject}: {error}", hint="correct the query") from error
    except (duckdb.ProgrammingError, duckdb.NotSupportedError, duckdb.DataError) as error:
        raise errors.ConfigError(f"{subject}: {error}", hint="correct the query") from error
    except duckdb.Error as error:
        raise errors.ConfigError(f"{subject}: {error}", hint="correct the query") from error
    except OSError as error:
        raise storage.explained(error, subject) from error


class Feed:
    """Record batches on their way into DuckDB, which hides what goes wrong in their source."""

    def __init__(self, schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> None:
        self._batches = batches
        self.error: BaseException | None = None
        self.reader = pa.RecordBatchReader.from_batches(schema, self._pass_on())

    def _pass_on(self) -> Iterator[pa.RecordBatch]:
        try:
            yield from self._batches
        except BaseException as error:
            self.error = error
            raise

    @contextlib.contextmanager
    def registered(self, connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
        """Have the rows under the name `ROWS` for a block; raise the source's own error."""
        connection.register(ROWS, self.reader)
        try:
            yield
        except Exception as error:
            if self.error is not None and self.error is not error:
                raise self.error from None
            raise
        finally:
            connection.unregister(ROWS)


def doubled_key(
    read: Callable[[], Iterator[pa.RecordBatch]],
    schema: pa.Schema,
    folder: pathlib.Path | None,
    subject: str,
    stop: run_module.StopFlag,
) -> dict[str, object] | None:
    """Return a key that two rows have, or None.

    Args:
        read: starts reading the keys; may be called again.
        schema: of the keys.
        folder: where to spill what does not fit into memory; None: the system's temporary one.
        subject: what is searched, for messages.
        stop: ends the search.
    """
    import duckdb

    # DuckDB has no decimals of more than 38 digits, and would compare doubles.
    wide = [pa.types.is_decimal256(field.type) for field in schema]
    fields = [
        field.with_type(pa.string()) if is_wide else field
        for field, is_wide in zip(schema, wide, strict=True)
    ]
    keys = pa.schema(fields)
    names = ", ".join(quote(name) for name in keys.names)
    sql = f"SELECT {names} FROM {ROWS} GROUP BY {names} HAVING COUNT(*) > 1 LIMIT 1"
    for memory_mb in _UNIQUE_MEMORY_MB:
        feed = Feed(keys, (batch.cast(keys) for batch in read()))
        try:
            with (
                opened(memory_mb, folder) as connection,
                stop.cancelling(connection.interrupt),
                feed.registered(connection),
            ):
                found: list[dict[str, object]] = connection.sql(sql).to_arrow_table().to_pylist()
                return found[0] if found else None
        except duckdb.OutOfMemoryException as error:
            if memory_mb == _UNIQUE_MEMORY_MB[-1]:
                raise errors.StorageFullError(f"{subject}: {error}") from error
        except duckdb.Error as error:
            with explaining(subject, stop):
                raise error
    return None
