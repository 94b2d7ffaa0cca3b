"""Whatever is wrong: the right exit code, one clear line, the target unchanged, nothing left."""

import os
import pathlib
import socket
import urllib.parse
from collections.abc import Callable

import pyarrow as pa
import pytest

from tests.e2e import conftest
from tests.e2e import place as place_module
from tmg_etl.cli import pipeline

Refuse = Callable[..., str]
Workshop = conftest.Workshop

DELTA = "delta: {cursor: day, strategy: upsert}"


# --- the command line and the config: the same for every target -----------------------------------


@pytest.fixture
def here(workshop: Workshop, tmp_path: pathlib.Path) -> place_module.Place:
    """An embedded target, declared in the config."""
    made = place_module.DuckDB(tmp_path)
    workshop.declare(made.connection, DELTA)
    return made


@pytest.mark.parametrize("date", ["2013-01-01", "20130231"])
def test_a_wrong_date(refuse: Refuse, here: place_module.Place, date: str) -> None:
    refuse(64, date, "YYYYMMDD", place=here, date=date)


def test_a_window_that_ends_before_it_starts(refuse: Refuse, here: place_module.Place) -> None:
    options = {"arguments": ["--delta_start_date", "20130102"], "mode": "delta"}
    refuse(64, "20130102", "20130101", place=here, **options)


def test_an_unknown_transfer(refuse: Refuse, here: place_module.Place) -> None:
    refuse(78, "dim_plan", "did you mean `dim_plane`", place=here, transfer="dim_plan")


def test_a_config_that_is_not_there(refuse: Refuse, workshop: Workshop) -> None:
    refuse(78, "config.yaml", "no such file")
    assert not workshop.config.exists()


def test_malformed_yaml(refuse: Refuse, here: place_module.Place, workshop: Workshop) -> None:
    text = workshop.config.read_text(encoding="utf-8")
    workshop.config.write_text(text.replace("key: [id]", "key: [id"), encoding="utf-8")
    refuse(78, "config.yaml:11", place=here)


def test_an_unset_variable(refuse: Refuse, workshop: Workshop) -> None:
    workshop.declare('{type: postgres, url: "postgresql://u:${NOT_SET}@127.0.0.1/d"}')
    refuse(78, "config.yaml:3", "NOT_SET")


def test_a_source_that_is_not_there(
    refuse: Refuse, here: place_module.Place, workshop: Workshop
) -> None:
    (workshop.lake / "planes.parquet").rename(workshop.lake / "plains.parquet")
    refuse(78, "planes", place=here)


def test_a_csv_whose_values_have_another_type(
    refuse: Refuse, here: place_module.Place, workshop: Workshop
) -> None:
    workshop.declare(here.connection)
    (workshop.lake / "planes.parquet").unlink()
    (workshop.lake / "planes.csv").write_text("id,v,name\n1,ten,x\n", encoding="utf-8")
    message = refuse(78, "'v'", "`columns:`", place=here)
    assert "evolve" not in message


# --- the servers ----------------------------------------------------------------------------------


def test_a_wrong_password(refuse: Refuse, workshop: Workshop, server: place_module.Server) -> None:
    right = urllib.parse.urlsplit(server.user())
    url = server.with_user(str(right.username), f"not {place_module.SECRET}")
    workshop.declare(f"{{type: {server.kind}, url: '{url}'}}")
    refuse(77, "serving", str(right.username), place=server)


def test_a_server_that_nobody_answers_for(
    refuse: Refuse, workshop: Workshop, server: place_module.Server
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        parts = urllib.parse.urlsplit(server.with_user("u", place_module.SECRET))
        url = parts._replace(netloc=parts.netloc.replace(str(parts.port), str(port))).geturl()
        workshop.declare(f"{{type: {server.kind}, url: '{url}'}}")
        refuse(75, "serving", str(port), place=server)


def test_a_table_that_the_source_lacks(
    refuse: Refuse, workshop: Workshop, server: place_module.Server
) -> None:
    workshop.declare(server.connection)
    text = workshop.config.read_text(encoding="utf-8")
    text = text.replace("connection: lake, table: planes", "connection: serving, table: plains")
    workshop.config.write_text(text, encoding="utf-8")
    refuse(78, "plains", place=server)


#: What a user of the database may do, and what is then missing.
_RIGHTS = {
    "postgres": {
        "create": ["GRANT SELECT, INSERT, UPDATE, DELETE ON t TO {user}"],
        "everything": [],
    },
    "mysql": {
        "create": ["GRANT SELECT, INSERT, UPDATE, DELETE ON t TO {user}"],
        "insert": ["GRANT SELECT, CREATE, DROP, ALTER ON * TO {user}"],
    },
}


@pytest.mark.parametrize("lacking", ["first", "second"])
def test_a_user_without_the_rights(
    refuse: Refuse, workshop: Workshop, server: place_module.Server, lacking: str
) -> None:
    rights = list(_RIGHTS[server.kind].values())[lacking == "second"]
    workshop.declare(f"{{type: {server.kind}, url: '{server.user(*rights)}'}}")
    refuse(77, "denied", place=server)


#: Root may read and write anywhere, unless these capabilities are taken away.
_WITHOUT = "--bounding-set=-dac_override,-dac_read_search"
_OBEY_MODES = ["setpriv", _WITHOUT] if os.geteuid() == 0 else []


# --- the files ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [place_module.DuckDB, place_module.SQLite])
def test_a_read_only_target(
    refuse: Refuse,
    workshop: Workshop,
    tmp_path: pathlib.Path,
    kind: type[place_module.DuckDB] | type[place_module.SQLite],
) -> None:
    place = kind(tmp_path)
    workshop.declare(place.connection)
    place.path.chmod(0o444)
    refuse(77, place.path.name, place=place, before=_OBEY_MODES)


@pytest.mark.parametrize("kind", [place_module.DuckDB, place_module.SQLite])
@pytest.mark.parametrize("closed", ["file", "folder"])
def test_a_target_that_may_not_be_read(
    refuse: Refuse,
    workshop: Workshop,
    tmp_path: pathlib.Path,
    kind: type[place_module.DuckDB] | type[place_module.SQLite],
    closed: str,
) -> None:
    folder = tmp_path / "serving"
    folder.mkdir()
    place = kind(folder)
    workshop.declare(place.connection)
    shut = place.path if closed == "file" else folder
    shut.chmod(0)
    plan = ["--plan"] * (closed == "folder")
    refuse(77, str(shut), arguments=plan, before=_OBEY_MODES)
    shut.chmod(0o755)


@pytest.mark.parametrize(
    ("shut", "more"),
    [
        (".", ""),
        ("planes.parquet", ""),
        ("x", "path: '*/*.parquet'"),
        ("x", "path: x/y/z.parquet"),
    ],
)
def test_a_lake_that_may_not_be_read(
    refuse: Refuse, here: place_module.Place, workshop: Workshop, shut: str, more: str
) -> None:
    if more:
        text = workshop.config.read_text(encoding="utf-8").replace("table: planes", more)
        workshop.config.write_text(text, encoding="utf-8")
    (workshop.lake / "x/y").mkdir(parents=True)
    for copy in ("x/y/z.parquet", "x/z.parquet"):
        (workshop.lake / copy).write_bytes((workshop.lake / "planes.parquet").read_bytes())
    closed = workshop.lake / shut
    closed.chmod(0)
    refuse(77, closed.resolve().name, place=here, before=_OBEY_MODES)
    closed.chmod(0o755)


def test_a_folder_of_files_that_may_not_be_written(
    refuse: Refuse, workshop: Workshop, tmp_path: pathlib.Path
) -> None:
    (tmp_path / "out").mkdir(mode=0o555)
    workshop.declare(f"{{type: files, url: '{tmp_path / 'out'}'}}")
    refuse(77, str(tmp_path / "out"), before=_OBEY_MODES)


@pytest.mark.parametrize("kind", ["duckdb", "sqlite"])
def test_a_folder_in_a_database_s_place(
    refuse: Refuse, workshop: Workshop, tmp_path: pathlib.Path, kind: str
) -> None:
    (tmp_path / "serving").mkdir()
    workshop.declare(f"{{type: {kind}, url: '{kind}:///{tmp_path / 'serving'}'}}")
    refuse(78, str(tmp_path / "serving"))


@pytest.mark.parametrize("kind", [place_module.DuckDB, place_module.SQLite])
def test_a_full_disk(
    refuse: Refuse,
    workshop: Workshop,
    tmp_path: pathlib.Path,
    kind: type[place_module.DuckDB] | type[place_module.SQLite],
) -> None:
    place = kind(tmp_path)
    workshop.declare(place.connection)
    workshop.fill([(row, row % 7, os.urandom(400).hex()) for row in range(10_000)])
    refuse(75, place.path.name, place=place, before=["prlimit", f"--fsize={2**21}"])


# --- the rows -------------------------------------------------------------------------------------


def test_no_rows(refuse: Refuse, workshop: Workshop, place: place_module.Place) -> None:
    workshop.declare(place.connection)
    workshop.fill([])
    refuse(65, "empty", "on_empty", place=place)


@pytest.mark.parametrize("publish", ["swap", "diff"])
def test_a_key_twice(
    refuse: Refuse, workshop: Workshop, place: place_module.Place, publish: str
) -> None:
    workshop.declare(place.connection, f"publish: {publish}")
    workshop.fill([*conftest.ROWS, (3, 31, "again")])
    refuse(65, "id='3'", "more than once", place=place)


def test_a_null_key(refuse: Refuse, workshop: Workshop, place: place_module.Place) -> None:
    workshop.declare(place.connection)
    workshop.fill([*conftest.ROWS, (None, 31, "nobody")])
    refuse(65, "'id'", "nobody", place=place)


def test_a_number_that_does_not_fit(
    refuse: Refuse, workshop: Workshop, place: place_module.Place
) -> None:
    workshop.declare(place.connection)
    workshop.fill([*conftest.ROWS, (4711, 70_000, "big")])
    refuse(65, "'v'", "70000", "id='4711'", place=place)


def test_a_text_that_does_not_fit(
    refuse: Refuse, workshop: Workshop, server: place_module.Server
) -> None:
    workshop.declare(server.connection)
    workshop.fill([*conftest.ROWS, (4711, 7, "long " * 5)])
    refuse(65, "'name'", "long long", "id='4711'", place=server)


def test_a_key_that_the_source_lacks(
    refuse: Refuse, workshop: Workshop, place: place_module.Place
) -> None:
    workshop.declare(place.connection)
    text = workshop.config.read_text(encoding="utf-8")
    workshop.config.write_text(text.replace("key: [id]", "key: [nmae]"), encoding="utf-8")
    refuse(78, "'nmae'", "did you mean 'name'", place=place)


def test_a_delta_with_equal_versions(
    refuse: Refuse, workshop: Workshop, place: place_module.Place
) -> None:
    workshop.declare(place.connection, f"omit: [day]\n    {DELTA}")
    day = pa.field("day", pa.date32())
    rows = [(*row, 15706) for row in (*conftest.ROWS, (3, 31, "again"))]
    workshop.fill(rows, conftest.SCHEMA.append(day))
    refuse(65, "id='3'", place=place, mode="delta")


@pytest.mark.parametrize("mode", ["truncate", "delta"])
@pytest.mark.parametrize("transfer", ["dim_plane", "nightly"])
@pytest.mark.parametrize(
    "connection",
    ['{type: duckdb, url: "duckdb:///new.duckdb"}', '{type: sqlite, url: "sqlite:///new.db"}'],
)
def test_a_run_that_could_not_begin_leaves_no_file(
    workshop: Workshop,
    capfd: pytest.CaptureFixture[str],
    connection: str,
    transfer: str,
    mode: str,
) -> None:
    more = "publish_group: nightly" if transfer == "nightly" else DELTA
    workshop.declare(connection, f"{more}\n    omit: [day]")
    day = pa.field("day", pa.date32())
    (workshop.lake / "planes.parquet").unlink()
    before = {path.relative_to(workshop.folder) for path in workshop.folder.rglob("*")}
    arguments = ["20130101", transfer, mode, str(workshop.config)]
    assert pipeline.main(arguments) == 78
    assert "no table 'planes'" in capfd.readouterr().err
    workshop.fill([(*row, 15706) for row in conftest.ROWS], conftest.SCHEMA.append(day))
    before.add(pathlib.Path("lake/planes.parquet"))
    text = workshop.config.read_text(encoding="utf-8")
    workshop.config.write_text(text.replace("key: [id]", "key: [di]"), encoding="utf-8")
    assert pipeline.main(arguments) == 78
    assert {path.relative_to(workshop.folder) for path in workshop.folder.rglob("*")} == before
    workshop.config.write_text(text, encoding="utf-8")
    assert pipeline.main(arguments) == 0
