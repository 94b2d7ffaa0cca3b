"""The models of `connections`: one class for each family of systems."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, TypeAlias

import pydantic
from pydantic import BeforeValidator, Field

from tmg_etl.config import rule, strict


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


class FilesConnection(Connection):
    """Files in a folder: Parquet, CSV, JSON lines."""

    hidden: ClassVar[frozenset[str]] = frozenset({"name", "options", "schema_"})

    type: Literal["files"] = Field(description="Files in a folder: Parquet, CSV, JSON lines.")
    url: Annotated[str, BeforeValidator(rule.folder)] = Field(
        description="The folder. A relative path starts at the config file's folder."
    )


class SqlConnection(Connection):
    """A SQL database."""

    type: Literal["duckdb", "sqlite", "postgres", "mysql", "sqlalchemy"] = Field(
        description="Database system; `mysql` is MariaDB too, `sqlalchemy` any other dialect."
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
        description="Schema of tables that are named without one. None (default): the one that the "
        "database uses for this user.",
    )

    @pydantic.model_validator(mode="after")
    def _check_url(self) -> SqlConnection:
        rule.database_url(self.type, self.url)
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


AnyConnection: TypeAlias = FilesConnection | SqlConnection | BigQueryConnection
