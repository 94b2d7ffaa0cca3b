"""A place with a canary in it, and runs of the real command inside this process."""

from __future__ import annotations

import contextlib
import io
import json
import pathlib
import shutil
from collections.abc import Callable, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from tests.e2e import place as place_module
from tmg_etl.cli import pipeline

PLACES = [
    "duckdb",
    "sqlite",
    "postgres",
    "mariadb",
    "mysql",
]


class Field:
    """A database with a canary, a lake, a ledger, and the command.

    Args:
        place: whose table `t` is the canary.
        folder: empty.
        ledger: copied into it.
    """

    def __init__(
        self, place: place_module.Place, folder: pathlib.Path, ledger: pathlib.Path
    ) -> None:
        self.place = place
        self.folder = folder
        shutil.copy(ledger, folder)
        self.canary = (place.tables(), place.rows())

    def publish(
        self,
        table: str,
        rows: Mapping[str, list[Any]],
        mode: str = "truncate",
        *,
        transfer: str = "dim",
        **more: Any,
    ) -> tuple[int, str]:
        """Write the rows to the lake, run, and return the exit code and what was printed."""
        pq.write_table(pa.table(dict(rows)), self.folder / "rows.parquet")
        config = {
            "connections": {
                "lake": {"type": "files", "url": str(self.folder)},
                "serving": yaml.safe_load(self.place.connection),
            },
            "ledger": f"sqlite:///{self.folder / 'ledger.db'}",
            "transfers": {
                transfer: {
                    "source": {"connection": "lake", "path": "rows.parquet"},
                    "target": {"connection": "serving", "table": table},
                    **more,
                }
            },
        }
        path = self.folder / "config.yaml"
        path.write_text(yaml.safe_dump(config, allow_unicode=True), encoding="utf-8")
        with (
            contextlib.redirect_stdout(io.StringIO()) as out,
            contextlib.redirect_stderr(io.StringIO()) as err,
        ):
            code = pipeline.main(["20240310", transfer, mode, str(path)])
        return code, out.getvalue() + err.getvalue()

    def require_refused(self, code: int, printed: str) -> None:
        """Hold a run that did not publish to a clear refusal."""
        assert code in (64, 65, 78), printed
        assert "Traceback" not in printed
        last = json.loads(printed.splitlines()[-1])
        assert last["severity"] == "ERROR"

    def require_canary(self) -> None:
        """Fail if anything temporary is left, or the canary is not as it was."""
        tables, rows = self.canary
        found = self.place.tables()
        assert tables <= found
        assert not {name for name in found if name.startswith("_tmg_")}
        assert self.place.rows() == rows


@pytest.fixture
def field(
    kind: str, request: pytest.FixtureRequest, tmp_path: pathlib.Path, empty_ledger: pathlib.Path
) -> Field:
    """A place of the kind that the parameter `kind` names."""
    makers: dict[str, Callable[[], place_module.Place]] = {
        "duckdb": lambda: place_module.DuckDB(tmp_path),
        "sqlite": lambda: place_module.SQLite(tmp_path),
        "postgres": lambda: place_module.Postgres(request.getfixturevalue("postgres_url")),
        "mariadb": lambda: place_module.MySQL(request.getfixturevalue("mariadb_url")),
        "mysql": lambda: place_module.MySQL(request.getfixturevalue("mysql_url")),
    }
    place = makers[kind]()
    (tmp_path / "work").mkdir()
    return Field(place, tmp_path / "work", empty_ledger)
