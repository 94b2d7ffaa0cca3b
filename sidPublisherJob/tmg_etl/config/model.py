"""The model of a whole config; also the names of the models that it is made of.

Every key says its meaning, its unit, its default and why that default. Frozen values without I/O.
Keys that are filled in by the loader and may not be written in YAML are in each class's `hidden`.
"""

from __future__ import annotations

import pathlib
import re
from collections.abc import Mapping
from typing import Annotated, Any

import pydantic
from pydantic import BeforeValidator, Field

from tmg_etl import errors
from tmg_etl.config import group, problem, rule, strict
from tmg_etl.config.connection import (
    AnyConnection,
    BigQueryConnection,
    Connection,
    Credentials,
    FilesConnection,
    FlakyConnection,
    SqlConnection,
)
from tmg_etl.config.transfer import (
    CsvSpec,
    Defaults,
    DeltaSpec,
    IndexSpec,
    Policy,
    SourceSpec,
    TargetSpec,
    Transfer,
)

# Readers say `model.Transfer`: which file holds which model is nobody else's business.
__all__ = [
    "AnyConnection",
    "BigQueryConnection",
    "Config",
    "Connection",
    "Credentials",
    "CsvSpec",
    "Defaults",
    "DeltaSpec",
    "FilesConnection",
    "FlakyConnection",
    "IndexSpec",
    "Policy",
    "SourceSpec",
    "SqlConnection",
    "TargetSpec",
    "Transfer",
]


HAS_CONNECTIONS = "has connections"
"""Key of the validation's context: False where a config is read without its connections."""

_LONG_SECRET = 8
_SHORT_SECRET = 3


class Config(strict.Strict):
    """A whole config with one environment merged in.

    Attributes:
        location: where it was read from, as given.
        folder: the absolute folder that relative paths start at.
        env: name of the environment.
        digest: sha256 of the resolved values: equal digests mean equal configs.
        secrets: texts that must not be printed; see `redact`.
        masked: key path → value for print, for every value that holds a secret.
    """

    connections: Annotated[
        dict[str, Annotated[AnyConnection, Field(discriminator="type")]],
        BeforeValidator(rule.named),
    ] = Field(default={}, description="Named systems. Default none.")
    ledger: Annotated[str, BeforeValidator(rule.ledger)] = Field(
        default="sqlite:///.tmg_etl/ledger.db",
        description="SQLAlchemy URL of the database of runs. Default a file beside the config: it "
        "needs no server.",
        repr=False,
    )
    defaults: Annotated[Defaults, BeforeValidator(rule.empty)] = Field(
        default_factory=Defaults, description="Values for all transfers."
    )
    packages: list[Annotated[str, BeforeValidator(rule.package)]] = Field(
        default=["sid_dim_agent"],
        description="Packages that `pipeline` may name a class from. Default this job's own, so "
        "that a config cannot run other code.",
    )
    transfers: Annotated[dict[str, Transfer], BeforeValidator(rule.named)] = Field(
        default={}, description="Declared movements by name. Default none."
    )
    environments: dict[str, Any] = Field(
        default={},
        repr=False,
        description="Keys of this file to lay over it, by the name given with --env. Mappings "
        "merge, lists and single values replace. `local` is the default and may be absent.",
    )

    _location: str = pydantic.PrivateAttr("")
    _folder: pathlib.Path = pydantic.PrivateAttr(default_factory=pathlib.Path)
    _env: str = pydantic.PrivateAttr("local")
    _digest: str = pydantic.PrivateAttr("")
    _secrets: frozenset[str] = pydantic.PrivateAttr(frozenset())
    _masked: dict[problem.Path, str] = pydantic.PrivateAttr(default_factory=dict)

    @pydantic.field_validator("connections")
    @classmethod
    def _name_connections(cls, value: dict[str, AnyConnection]) -> dict[str, AnyConnection]:
        for name, item in value.items():
            _check_behind(name, item, value)
        return {name: item.model_copy(update={"name": name}) for name, item in value.items()}

    @pydantic.field_validator("transfers")
    @classmethod
    def _complete_transfers(
        cls, value: dict[str, Transfer], info: pydantic.ValidationInfo
    ) -> dict[str, Transfer]:
        """Fill in names and defaults, and check what a transfer refers to."""
        defaults: Defaults = info.data.get("defaults", Defaults())
        completed = {}
        for name, item in value.items():
            # A section that is wrong itself is missing from the data; it was reported already.
            if "connections" in info.data and (info.context or {}).get(HAS_CONNECTIONS, True):
                _check_connections(name, item, info.data["connections"])
            if "packages" in info.data:
                _check_package(name, item, info.data["packages"])
            inherited = defaults.model_fields_set - item.model_fields_set
            update = {key: getattr(defaults, key) for key in inherited}
            completed[name] = item.model_copy(update={**update, "name": name})
        group.check(completed, info.data.get("connections", {}))
        return completed

    @property
    def groups(self) -> Mapping[str, tuple[Transfer, ...]]:
        """Return the transfers of each publish group, groups and members as declared."""
        return group.by_name(self.transfers)

    def group_of(self, transfer_name: str) -> str | None:
        """Return the publish group of a transfer; None when it is published alone.

        Raises:
            errors.ConfigError: there is no such transfer.
        """
        return self.transfer(transfer_name).publish_group

    @property
    def location(self) -> str:
        """Return where the config was read from; an object's with its generation, ``gs://b/o#17``."""
        return self._location

    @property
    def folder(self) -> pathlib.Path:
        """Return the absolute folder that relative paths start at."""
        return self._folder

    @property
    def env(self) -> str:
        """Return the name of the environment."""
        return self._env

    @property
    def digest(self) -> str:
        """Return the sha256 of the resolved values, in hexadecimal."""
        return self._digest

    @property
    def secrets(self) -> frozenset[str]:
        """Return the texts that must not be printed."""
        return self._secrets

    @property
    def masked(self) -> dict[problem.Path, str]:
        """Return what to print for every value that holds a secret, by key path."""
        return self._masked

    def __repr__(self) -> str:
        """Return where it is from; values may be secret."""
        return f"Config(location={self.location!r}, env={self.env!r}, digest={self.digest[:12]!r})"

    __str__ = __repr__

    def redact(self, text: str) -> str:
        """Return `text` with every secret of this config as ``***``; the longest go first.

        A short password such as ``sid`` goes only where it is a whole word, so that names stay
        whole; one of fewer than three characters is left.
        """
        for secret in sorted(self._secrets, key=len, reverse=True):
            if len(secret) >= _LONG_SECRET:
                text = text.replace(secret, "***")
            elif len(secret) >= _SHORT_SECRET:
                text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", "***", text)
        return errors.redact(text)

    def with_policy(self, name: str, **policy: Any) -> Config:
        """Return this config with other values of `Policy` for one run; None keeps a value.

        For what a command line says of it: the digest stays that of the file.

        Args:
            name: a transfer, or a publish group, whose members all get the values.
            policy: values by key.

        Raises:
            errors.ConfigError: there is neither.
        """
        given = {key: value for key, value in policy.items() if value is not None}
        meant = self.groups.get(name) or (self.transfer(name),)
        changed = {transfer.name: transfer.model_copy(update=given) for transfer in meant}
        return self.model_copy(update={"transfers": {**self.transfers, **changed}})

    def transfer(self, name: str) -> Transfer:
        """Return the transfer of that name.

        Raises:
            errors.ConfigError: there is none; names the closest one and lists all.
        """
        found = self.transfers.get(name)
        if found is None:
            known = [*self.transfers, *self.groups]
            raise errors.ConfigError(
                f"found no transfer {problem.describe(name)}",
                where=f"{self.location}:transfers",
                hint=problem.help_for(name, known, "transfers in this file"),
            )
        return found


def _behind(item: AnyConnection, connections: dict[str, AnyConnection]) -> AnyConnection:
    """Return the connection that a flaky one stands before; any other one itself."""
    return connections[item.of] if isinstance(item, FlakyConnection) else item


def _check_behind(name: str, item: AnyConnection, connections: dict[str, AnyConnection]) -> None:
    if not isinstance(item, FlakyConnection):
        return
    if item.of not in connections:
        raise rule.fault(
            f"found no connection {problem.describe(item.of)}",
            problem.help_for(item.of, list(connections), "connections in this file"),
            at=(name, "of"),
        )
    if isinstance(connections[item.of], FlakyConnection):
        raise rule.fault(
            f"found the flaky connection {problem.describe(item.of)}, expected one that is not",
            "declare all faults of a connection in one place",
            at=(name, "of"),
        )


def _check_connections(
    name: str, transfer: Transfer, connections: dict[str, AnyConnection]
) -> None:
    for place, spec in (("source", transfer.source), ("target", transfer.target)):
        if spec.connection not in connections:
            raise rule.fault(
                f"found no connection {problem.describe(spec.connection)}",
                problem.help_for(spec.connection, list(connections), "connections in this file"),
                at=(name, place, "connection"),
            )
        if spec.table is not None and "." in spec.table:
            _check_dotted(
                name, place, spec.table, _behind(connections[spec.connection], connections)
            )
    kind = _behind(connections[transfer.source.connection], connections).type
    for key in sorted({"path", "format", "columns", "csv"} & transfer.source.model_fields_set):
        if kind != "files" and getattr(transfer.source, key) is not None:
            raise _misplaced(name, key, kind, "files")
    for key in sorted({"read", "maximum_bytes_billed"} & transfer.source.model_fields_set):
        if kind != "bigquery" and getattr(transfer.source, key) is not None:
            raise _misplaced(name, key, kind, "bigquery")


def _check_dotted(name: str, place: str, table: str, connection: AnyConnection) -> None:
    """Refuse a schema before a table's name: it would be part of the name, in another schema."""
    if not isinstance(connection, SqlConnection):
        return
    before, _, plain = table.rpartition(".")
    schema = before.rpartition(".")[2]
    hint = f"did you mean `table: {problem.render_key(plain)}`"
    if connection.type == "sqlite":
        hint += "? A SQLite file has no schemas"
    else:
        key = f"`schema: {problem.render_key(schema)}`"
        hint += f" on a connection with {key}, {connection.name} or one more like it?"
    if place == "source":
        hint += "; a table that is called so is read by a `query:`"
    raise rule.fault(
        f"found {problem.describe(table)}, expected a name without a dot: the schema stands in the"
        " connection",
        hint,
        at=(name, place, "table"),
    )


def _misplaced(name: str, key: str, kind: str, expected: str) -> Exception:
    return rule.fault(
        f"found `{key}` on a connection of type {kind}, expected it on {expected} only",
        "remove it",
        at=(name, "source", key),
    )


def _check_package(name: str, transfer: Transfer, packages: list[str]) -> None:
    module = (transfer.pipeline or "").partition(":")[0]
    if module and not any(f"{module}.".startswith(f"{package}.") for package in packages):
        listed = ", ".join(packages) or "none"
        raise rule.fault(
            f"found a pipeline in {problem.describe(module)}, "
            f"expected one of the packages: {listed}",
            f"add `packages: [{module.partition('.')[0]}]` at the top of the config",
            at=(name, "pipeline"),
        )
