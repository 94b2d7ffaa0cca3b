"""Connectors: one module per system, behind the small interface of `tmg_etl.connectors.base`.

Belongs here: reading a system as Arrow record batches, writing them beside a table, publishing
them, and the SQL of each dialect. Does not belong here: when and why (that is `tmg_etl.transfer`).
Connectors never import each other; what several share is in `base`, `sql`, `version` and
`merge`. A third-party client is imported by its own connector only, and only when that one opens.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from tmg_etl import errors
from tmg_etl import run as run_module

if TYPE_CHECKING:
    import pathlib

    from tmg_etl.config import model
    from tmg_etl.connectors import base

# Type in the config -> the connection class; imported when a run opens it, so that a transfer
# between files loads no database client.
_CONNECTIONS = {
    "files": "tmg_etl.connectors.files:FilesConnection",
    "duckdb": "tmg_etl.connectors.duckdb:DuckDBConnection",
    "sqlite": "tmg_etl.connectors.sqlite:SQLiteConnection",
    "postgres": "tmg_etl.connectors.postgres:PostgresConnection",
    "mysql": "tmg_etl.connectors.mysql:MySQLConnection",
    "bigquery": "tmg_etl.connectors.bigquery:BigQueryConnection",
    "flaky": "tmg_etl.connectors.flaky:FlakyConnection",
}


def connection_types() -> tuple[str, ...]:
    """Return the types that a connection of a config may have."""
    return tuple(_CONNECTIONS)


def connect(spec: model.Connection, folder: pathlib.Path) -> base.Connection:
    """Return the connection that `spec` declares, not yet opened.

    Args:
        spec: one entry of `connections` in the config.
        folder: where relative paths start: the config file's folder.
    """
    module_name, _, class_name = _CONNECTIONS[spec.type].partition(":")
    connection_class: type[base.Connection] = getattr(
        importlib.import_module(module_name), class_name
    )
    return connection_class(spec, folder)


class Connections(Mapping[str, "base.Connection"]):
    """The connections of a config by name, each made when it is first asked for.

    Args:
        specs: `connections` of the config.
        folder: the config file's folder.
        stop: the run's flag, which long statements register with.
        owner: the run that they work for; None outside a run.
    """

    def __init__(
        self,
        specs: Mapping[str, model.Connection],
        folder: pathlib.Path,
        stop: run_module.StopFlag,
        owner: base.Owner | None = None,
    ) -> None:
        self._specs = specs
        self._folder = folder
        self._stop = stop
        self._owner = owner
        self._made: dict[str, base.Connection] = {}

    def __getitem__(self, name: str) -> base.Connection:
        """Return the connection of that name.

        Raises:
            errors.ConfigError: the config has none of that name.
        """
        if name not in self._made:
            if name not in self._specs:
                raise errors.ConfigError(
                    f"there is no connection {name!r}", hint=f"known: {', '.join(self._specs)}"
                )
            connection = connect(self._specs[name], self._folder)
            connection.stop = self._stop
            connection.others = self
            connection.owner = self._owner or connection.owner
            self._made[name] = connection
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        """Yield the names."""
        return iter(self._specs)

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._specs)
