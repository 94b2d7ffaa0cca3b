"""`Connection`: a named system of the config, and on whose behalf it works."""

from __future__ import annotations

import abc
import dataclasses
import datetime
import pathlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from tmg_etl import errors
from tmg_etl import run as run_module
from tmg_etl.connectors.base.source import Source
from tmg_etl.connectors.base.target import Target

if TYPE_CHECKING:
    from tmg_etl.config import model


@dataclasses.dataclass(frozen=True)
class Owner:
    """On whose behalf a connection works: names and labels of what it leaves in its system.

    Attributes:
        run_id: empty outside a run.
        transfer: name of the transfer.
        env: name of the environment.
    """

    run_id: str = ""
    transfer: str = ""
    env: str = ""


class Connection(abc.ABC):
    """A named system of the config; cheap to make, opened by its methods.

    Args:
        spec: its entry in the config.
        folder: where relative paths start.
    """

    def __init__(self, spec: model.Connection, folder: pathlib.Path) -> None:
        self.spec = spec
        self.folder = folder
        #: Registered with the run's stop flag while a long statement is under way.
        self.stop = run_module.StopFlag()
        self.owner = Owner()
        #: All connections of the config by name, for one that stands before another.
        self.others: Mapping[str, Connection] = {}

    @property
    def name(self) -> str:
        """Return the name in the config."""
        return self.spec.name

    @abc.abstractmethod
    def open_source(self, spec: model.SourceSpec, execution_date: datetime.date) -> Source:
        """Open a source at a snapshot taken now.

        Args:
            spec: table, query or path, and how to read it.
            execution_date: fills the placeholder ``{execution_date}``.

        Raises:
            errors.ConfigError: no such table or file.
            errors.ConnectionLostError: the server cannot be reached.
            errors.AccessError: it refuses the credentials.
        """

    @abc.abstractmethod
    def open_target(self, table: str) -> Target:
        """Open a target table, which may not exist yet.

        Raises:
            errors.ConnectionLostError: the server cannot be reached.
            errors.AccessError: it refuses the credentials.
        """

    def check(self, *, connect: bool) -> None:
        """Make sure that the system can be worked with; change nothing in it.

        Args:
            connect: log in and ask for one row, beside looking for what is needed here.

        Raises:
            errors.ConfigError: a package is missing; or there is no such database.
            errors.ConnectionLostError: the server cannot be reached.
            errors.AccessError: it refuses the credentials.
        """
        if connect:
            self.query("SELECT 1 AS one")

    def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> pa.Table:
        """Return the rows of a small query, for hand-written pipelines.

        Args:
            sql: one statement in the system's dialect; parameters as ``:name``.
            parameters: values to bind; None binds none.
        """
        raise errors.ConfigError(f"connection {self.name!r} ({self.spec.type}) answers no queries")

    def execute(self, sql: str, parameters: Mapping[str, Any] | None = None) -> int:
        """Run one statement in a transaction of its own, for hand-written pipelines.

        Returns:
            The rows it touched, or -1 where the system does not say.
        """
        raise errors.ConfigError(f"connection {self.name!r} ({self.spec.type}) runs no statements")
