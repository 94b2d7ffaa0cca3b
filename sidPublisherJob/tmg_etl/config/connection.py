"""The models of `connections`: one class for each family of systems."""

from __future__ import annotations

import pathlib
from typing import Annotated, ClassVar, Literal, TypeAlias

import pydantic
from pydantic import BeforeValidator, Field

from tmg_etl.config import rule, strict
from tmg_etl.storage import base as storage


class Connection(strict.Strict):
    """A named system. The loader makes one of the classes below; this is what they share."""

    hidden: ClassVar[frozenset[str]] = frozenset({"name"})

    type: str = Field(description="Kind of system: files, duckdb, sqlite, postgres, …")
    name: str = Field(default="", description="Key in `connections`; filled in by the loader.")
    url: str = Field(default="", description="Where the system is.", repr=False)
    options: dict[str, Annotated[str, Field(coerce_numbers_to_str=True)]] = Field(
        default={}, description="Options handed to the database driver as they are.", repr=False
    )
    schema_: strict.Name | None = Field(
        default=None, alias="schema", description="Default database schema."
    )


class Credentials(strict.Strict):
    """Who Google is asked as. Without it: the application default credentials."""

    key_file: strict.Name | None = Field(
        default=None,
        description="Key file of a service account. A relative path starts at the config file's "
        "folder. None (default): application default credentials, which on GKE are those of "
        "Workload Identity.",
    )
    impersonate: strict.Name | None = Field(
        default=None,
        description="E-mail of a service account to act as. None (default): nobody else.",
    )
    quota_project: strict.Name | None = Field(
        default=None,
        description="Project that API calls are counted against. None (default): the project of "
        "the credentials.",
    )

    def located(self, folder: pathlib.Path) -> storage.Credentials:
        """Return them as the clients take them, with the path of the key file absolute."""
        key_file = self.key_file and str(folder / pathlib.Path(self.key_file).expanduser())
        return storage.Credentials(key_file, self.impersonate, self.quota_project)


class FilesConnection(Connection):
    """Files in a folder: Parquet, CSV, JSON lines."""

    hidden: ClassVar[frozenset[str]] = frozenset({"name", "options", "schema_"})

    type: Literal["files"] = Field(description="Files in a folder: Parquet, CSV, JSON lines.")
    url: Annotated[str, BeforeValidator(rule.folder)] = Field(
        description="The folder: a path, gs://bucket/prefix or s3://bucket/prefix. A relative path "
        "starts at the config file's folder."
    )
    credentials: Credentials = Field(
        default_factory=Credentials, description="Of gs:// folders: who Google is asked as."
    )

    @pydantic.model_validator(mode="after")
    def _check_credentials(self) -> FilesConnection:
        if self.url.lower().startswith("s3://") and self.credentials != Credentials():
            raise rule.fault(
                "found Google credentials for s3://, which takes AWS's own",
                "remove `credentials` and set AWS_PROFILE or AWS_ACCESS_KEY_ID",
                at=("credentials",),
            )
        return self


class SqlConnection(Connection):
    """A SQL database."""

    type: Literal["duckdb", "sqlite", "postgres", "mysql"] = Field(
        description="Database system; `mysql` is MariaDB too."
    )
    url: str = Field(
        description="URL as SQLAlchemy writes it, without a driver: mysql://user:password@host/db, "
        "duckdb:///file.duckdb. A relative file starts at the config file's folder. Variables used "
        "as user or password hold them raw; they are percent-encoded here.",
        repr=False,
    )
    options: dict[str, Annotated[str, Field(coerce_numbers_to_str=True)]] = Field(
        default={},
        description="Options handed to the database driver as they are, for example sslmode. "
        "Default none: the driver's own defaults.",
        repr=False,
    )
    schema_: strict.Name | None = Field(
        default=None,
        alias="schema",
        description="Schema of its tables; on mysql, the database instead of the url's. None "
        "(default): the one that the database uses for this user.",
    )

    @pydantic.model_validator(mode="after")
    def _check_url(self) -> SqlConnection:
        rule.database_url(self.type, self.url)
        if self.type == "sqlite" and self.schema_ is not None:
            raise rule.fault(
                f"found the schema {self.schema_!r} for type sqlite, which has no schemas",
                "remove it",
                at=("schema",),
            )
        return self


class BigQueryConnection(Connection):
    """A BigQuery dataset."""

    hidden: ClassVar[frozenset[str]] = frozenset({"name", "url", "options", "schema_"})

    type: Literal["bigquery"] = Field(description="Google BigQuery.")
    project: strict.Name = Field(description="Google Cloud project that holds the dataset.")
    dataset: strict.Name = Field(description="Dataset of tables that are named without one.")
    staging: str | None = Field(
        default=None,
        description="gs:// folder for extract and load files. None (default): rows go through the "
        "BigQuery API, which needs no bucket and is slower for large tables.",
    )
    location: strict.Name | None = Field(
        default=None,
        description="Region of the jobs, such as EU. None (default): the dataset's own.",
    )
    billing_project: strict.Name | None = Field(
        default=None, description="Project that pays for the jobs. None (default): `project`."
    )
    maximum_bytes_billed: Annotated[int, Field(ge=1), BeforeValidator(rule.not_bool)] | None = (
        Field(
            default=None,
            description="Bytes that one query may be billed for, 1 or more; a query that would "
            "cost more fails before it costs anything. None (default): no limit but the project's.",
        )
    )
    credentials: Credentials = Field(
        default_factory=Credentials, description="Who Google is asked as."
    )


class FlakyConnection(Connection):
    """Another connection that fails where it is told to, for tests."""

    hidden: ClassVar[frozenset[str]] = frozenset({"name", "url", "options", "schema_"})

    type: Literal["flaky"] = Field(
        description="Another connection that fails where it is told to, for tests."
    )
    of: strict.Name = Field(description="Name of the connection that stands behind this one.")
    faults: Annotated[
        dict[str, Literal["raise", "cut", "full", "hang", "freeze", "kill"]],
        BeforeValidator(rule.fault_points),
    ] = Field(
        default={},
        description="What happens where: `load:2: cut` cuts the connection before the second batch "
        "is loaded, `commit:after: cut` when a COMMIT is done and not yet answered. Points are the "
        "methods of sources and targets, docs/testing.md lists them. `raise` an unexpected error, "
        "`cut` the connection, `full` disk, `hang` until the run is stopped, `freeze` for ever, "
        "`kill` the process. Default none: nothing fails.",
    )
    record: strict.Name | None = Field(
        default=None,
        description="File to which the name of each point is appended when a run reaches it. A "
        "relative path starts at the config file's folder. None (default): they are not written.",
    )


AnyConnection: TypeAlias = FilesConnection | SqlConnection | BigQueryConnection | FlakyConnection
