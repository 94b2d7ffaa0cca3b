"""The page `docs/configuration.md`: every key of a config, made from the models.

To write it:

    python -m tmg_etl.config.reference > docs/configuration.md
"""

from __future__ import annotations

import sys
from typing import Any

from tmg_etl.config import schema

_INTRODUCTION = """\
# Configuration

One YAML file says which systems there are, which tables move between them, and what differs from
environment to environment. `tmg-etl config check CONFIG` tells whether it can be carried out,
`config check --connect` also logs in to every connection and the ledger and changes nothing there,
`config show` prints it as it is in force with secrets masked, and `config schema` prints its JSON
Schema for editors.

- **Paths** start at the config file's folder. In a config that lies in a bucket (`gs://…`,
  `s3://…`) a files connection's relative `url` is a folder beside it in that bucket; key files and
  the ledger start at the working directory; a database file needs an absolute path.
- **Unknown keys** are errors that name file, line, key and the closest known key.
- **`${NAME}`** is a variable of the environment, `${NAME:-default}` one with a default,
  `${secret:NAME}` the file `NAME` in `/var/run/secrets/tmg_etl` (or in the folder
  `$TMG_ETL_SECRETS_DIR`), `${secret:projects/P/secrets/N}` the latest version of a secret in
  Google's Secret Manager (`/versions/7` names another), `$${` a plain `${`. They are filled in
  after the YAML is read, so a password may contain anything; only those that the chosen
  environment uses are looked up.
- **`environments`** are laid over the file by `--env`: mappings merge, lists and single values
  replace.
- URLs are written as SQLAlchemy writes them, without a driver: `mysql://user:password@host/database`,
  `duckdb:///file.duckdb`.

This page is made from the models in `tmg_etl/config`; a test holds it.
"""

_SECTIONS = (
    ("", "Top level"),
    ("FilesConnection", "`connections.NAME`, type files"),
    ("SqlConnection", "`connections.NAME`, a database"),
    ("BigQueryConnection", "`connections.NAME`, type bigquery"),
    ("FlakyConnection", "`connections.NAME`, type flaky"),
    ("Credentials", "`connections.NAME.credentials`, of BigQuery and of gs:// folders"),
    ("Transfer", "`transfers.NAME`"),
    ("SourceSpec", "`transfers.NAME.source`"),
    ("CsvSpec", "`transfers.NAME.source.csv`"),
    ("TargetSpec", "`transfers.NAME.target`"),
    ("DeltaSpec", "`transfers.NAME.delta`"),
    ("IndexSpec", "`transfers.NAME.indexes[]`"),
    ("Defaults", "`defaults`"),
)


def render() -> str:
    """Return the whole page as Markdown."""
    described = schema.json_schema()
    parts = [_INTRODUCTION]
    for name, title in _SECTIONS:
        definition = described["$defs"][name] if name else described
        parts.append(_section(title, definition))
    return "\n".join(parts)


def _section(title: str, definition: dict[str, Any]) -> str:
    required = set(definition.get("required", ()))
    lines = [f"## {title}", "", "| key | |", "| --- | --- |"]
    for key, facts in definition["properties"].items():
        mark = " (required)" if key in required else ""
        words = " ".join(facts.get("description", "").split()).replace("|", "\\|")
        lines.append(f"| `{key}`{mark} | {words} |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    sys.stdout.write(render())
