"""Loading: places, YAML features, defaults, environments, paths, digests."""

import os
import pathlib
import subprocess
import sys
import tempfile

import pytest
import yaml

from tmg_etl import errors
from tmg_etl.config import loader, model, place, tree

EXAMPLE = """\
connections:
  lake:    {type: files, url: lake/}
  bq:      {type: bigquery, project: acme-dev, dataset: sid, staging: gs://acme-staging/sid}
  serving: {type: mysql, url: "mysql://${MYSQL_USER}:${MYSQL_PASSWORD}@127.0.0.1/sid"}
ledger: "${LEDGER_URL:-sqlite:///.tmg_etl/ledger.db}"
defaults: {verify: count, lock_wait_s: 5, schema: evolve}
packages: [my_package]
transfers:
  dim_plane:
    source: {connection: lake, table: planes}
    target: {connection: serving, table: dim_plane}
    key: [tailnum]
  fact_flight:
    source: {connection: lake, table: flights}
    target: {connection: serving, table: fact_flight}
    key: [flight_date, carrier, flight, origin, sched_dep_time]
    omit: [year, month, day]
    verify: fingerprint
    delta: {cursor: flight_date, order_by: [time_hour], strategy: upsert}
    indexes: [{name: fact_flight_origin, columns: [origin, flight_date]}]
    schedule: "17 4 * * *"
    pipeline: my_package.flights:FlightPipeline
environments:
  prod: {connections: {serving: {url: "mysql://prod:${PROD_PASSWORD}@db/sid"}}}
"""
ENVIRON = {"MYSQL_USER": "sid", "MYSQL_PASSWORD": "geheim"}


def test_example_of_the_design_loads(load, tmp_path):
    config = load(EXAMPLE, environ=ENVIRON)
    assert config.location == "config.yaml"
    assert config.folder == tmp_path
    assert config.env == "local"
    assert config.ledger == f"sqlite:///{tmp_path}/.tmg_etl/ledger.db"
    assert config.connections["lake"].url == f"{tmp_path}/lake"
    assert config.connections["serving"].url == "mysql://sid:geheim@127.0.0.1/sid"
    assert config.connections["serving"].name == "serving"
    flight = config.transfer("fact_flight")
    assert flight.name == "fact_flight"
    assert flight.delta == model.DeltaSpec(cursor="flight_date", order_by=["time_hour"])
    assert flight.indexes[0].columns == ["origin", "flight_date"]


def test_defaults_fill_what_a_transfer_does_not_say(load):
    config = load(EXAMPLE, environ=ENVIRON)
    plane, flight = config.transfer("dim_plane"), config.transfer("fact_flight")
    assert (plane.verify, plane.lock_wait_s, plane.schema_) == ("count", 5.0, "evolve")
    assert (flight.verify, flight.lock_wait_s, flight.schema_) == ("fingerprint", 5.0, "evolve")
    assert plane.on_empty == "fail"


def test_unknown_transfer_names_the_closest_and_all(load):
    with pytest.raises(errors.ConfigError) as caught:
        load(EXAMPLE, environ=ENVIRON).transfer("dim_plan")
    assert str(caught.value) == (
        "config.yaml:transfers: found no transfer 'dim_plan'; did you mean `dim_plane`? "
        "transfers in this file: dim_plane, fact_flight"
    )


def test_unknown_transfer_of_many(load, base):
    transfer = base.partition("  dim_plane:\n")[2]
    text = base + "".join(f"  table_{number:02}:\n{transfer}" for number in range(20))
    with pytest.raises(errors.ConfigError) as caught:
        load(text).transfer("quite different")
    assert str(caught.value).endswith("table_13, table_14 and 5 more")
    assert str(caught.value).startswith(
        "config.yaml:transfers: found no transfer 'quite different'; "
        "transfers in this file: dim_plane, table_00, "
    )
    with pytest.raises(errors.ConfigError) as caught:
        load(text).transfer("Tabel_07")
    assert str(caught.value).endswith("did you mean `table_07`?")


def test_unknown_transfer_of_an_empty_config(load):
    with pytest.raises(errors.ConfigError, match="transfers in this file: none"):
        load("ledger: sqlite:///x\n").transfer("dim_plane")


def test_sections_may_be_empty(load):
    config = load("connections:\ntransfers:\ndefaults:\nenvironments:\nledger: sqlite:///x.db\n")
    assert config.connections == {}
    assert config.defaults == model.Defaults()


def test_off_is_a_word(load, base):
    assert load(base + "    verify: off\n").transfer("dim_plane").verify == "off"
    assert load(base + '    verify: "off"\n').transfer("dim_plane").verify == "off"


def test_types_are_written_as_one_likes(load, base):
    text = base.replace("table: planes", "table: planes, columns: {a: Decimal(9, 2), b: INT8}")
    with pytest.raises(errors.ConfigError, match=r"columns\.a: found 'Decimal\(9'"):
        load(text)  # a comma inside braces needs quotes
    text = text.replace("Decimal(9, 2)", "'Decimal(9, 2)'")
    assert load(text).transfer("dim_plane").source.columns == {"a": "decimal(9,2)", "b": "int8"}


def test_numbers_are_texts_for_drivers(load):
    config = load(
        "connections:\n  db: {type: mysql, url: mysql://h/d, options: {connect_timeout: 5}}\n"
    )
    assert config.connections["db"].options == {"connect_timeout": "5"}


def test_anchors_and_merge_keys(load, base):
    config = load(
        base
        + """\
    delta: &delta {cursor: day, order_by: [a]}
  other:
    source: {connection: lake, table: other}
    target: {connection: serving, table: other}
    key: [id]
    delta: {<<: *delta, cursor: month}
"""
    )
    assert config.transfer("other").delta == model.DeltaSpec(cursor="month", order_by=["a"])


def test_merge_of_several_prefers_the_first():
    text = "a: &a {x: 1, y: 1}\nb: &b {x: 2, z: 2}\nc: {<<: [*a, *b], y: 3}\n"
    node = tree.parse(text)
    assert node is not None
    assert node.plain()["c"] == {"x": 1, "y": 3, "z": 2}
    assert node.plain() == yaml.safe_load(text)


def test_alias_bomb_is_refused(load):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    with pytest.raises(errors.ConfigError, match="values, aliases followed"):
        load("\n".join(lines))


def test_a_data_file_is_refused(load):
    with pytest.raises(errors.ConfigError, match="more than 200000 values"):
        load("packages:\n" + "- a\n" * 300_000)


def test_anchor_that_holds_itself_is_refused(load):
    with pytest.raises(errors.ConfigError, match="without its anchor"):
        load("packages: &a [*a]\n")


def test_thousands_of_brackets_do_not_kill_the_process(load):
    with pytest.raises(errors.ConfigError, match="levels of nesting"):
        load("packages: " + "[" * 100_000)


# --- places


def test_missing_file():
    with pytest.raises(errors.ConfigError) as caught:
        loader.load("/nowhere/config.yaml")
    assert str(caught.value) == "/nowhere/config.yaml: there is no such file; looked in /nowhere"


def test_file_below_a_file(tmp_path):
    (tmp_path / "a").touch()
    with pytest.raises(errors.ConfigError, match="there is no such file"):
        loader.load(str(tmp_path / "a" / "config.yaml"))


def test_directory(tmp_path):
    with pytest.raises(errors.ConfigError, match=r"found a directory.*name the file inside it"):
        loader.load(str(tmp_path))


def test_empty_location():
    with pytest.raises(errors.ConfigError, match="found a directory"):
        loader.load("")


def test_null_byte_in_location():
    with pytest.raises(errors.ConfigError, match="cannot be read"):
        loader.load("a\0b")


def test_not_utf8_names_the_line(tmp_path):
    file = tmp_path / "config.yaml"
    file.write_bytes(b"# one\n# M\xfcnchen\n")
    with pytest.raises(errors.ConfigError, match=r"config.yaml:2: found bytes that are not UTF-8"):
        loader.load(str(file))


def test_byte_order_mark_is_ignored(tmp_path):
    file = tmp_path / "config.yaml"
    file.write_bytes(b"\xef\xbb\xbfpackages: [a]\r\n")
    assert loader.load(str(file)).packages == ["a"]


def test_device_does_not_fill_the_memory():
    with pytest.raises(errors.ConfigError, match="more than 4 MiB"):
        loader.load("/dev/zero")


def test_file_url(tmp_path):
    file = tmp_path / "my config.yaml"
    file.write_text("packages: [a]")
    config = loader.load(f"file://{tmp_path}/my%20config.yaml")
    assert config.folder == tmp_path


@pytest.mark.parametrize("scheme", ["https", "hdfs"])
def test_scheme_that_is_not_built_in(scheme):
    with pytest.raises(errors.ConfigError, match=f"{scheme}://, which is not built into"):
        loader.load(f"{scheme}://bucket/config.yaml")


def test_further_places_are_one_entry(monkeypatch):
    monkeypatch.setitem(place.OPENERS, "memory", lambda location: (b"packages: [a]", location))
    assert loader.load("memory://x/config.yaml").packages == ["a"]


def test_config_behind_a_link_starts_at_the_link(tmp_path):
    # A mounted ConfigMap: config.yaml -> ..data/config.yaml -> ..2026/config.yaml
    (tmp_path / "..2026").mkdir()
    (tmp_path / "..2026" / "config.yaml").write_text("ledger: sqlite:///runs.db")
    (tmp_path / "config.yaml").symlink_to(tmp_path / "..2026" / "config.yaml")
    config = loader.load(str(tmp_path / "config.yaml"))
    assert config.ledger == f"sqlite:///{tmp_path}/runs.db"


def test_file_without_read_permission():
    # Not in tmp_path, whose parents only root may enter: the child gives up root's rights.
    with tempfile.TemporaryDirectory() as folder:
        pathlib.Path(folder).chmod(0o755)
        file = pathlib.Path(folder) / "config.yaml"
        file.write_text("packages: [a]")
        file.chmod(0)
        code = f"""
import os, sys
from tmg_etl import errors
from tmg_etl.config import loader
if os.getuid() == 0:
    os.setuid(65534)
try:
    loader.load({str(file)!r})
except errors.TmgEtlError as error:
    print(error)
    sys.exit(error.exit_code)
"""
        done = _python(code)
    assert done.returncode == 77
    assert "may not be read by this user" in done.stdout


# --- relative paths


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("lake/", "/etc/sid/lake"),
        ("../lake", "/etc/sid/../lake"),
        ("/lake", "/lake"),
        ("file:///lake", "file:///lake"),
        ("gs://bucket/lake", "gs://bucket/lake"),
        ("sqlite:///a.db", "sqlite:////etc/sid/a.db"),
        ("sqlite:///a.db?timeout=3", "sqlite:////etc/sid/a.db?timeout=3"),
        ("sqlite:////a.db", "sqlite:////a.db"),
        ("sqlite://", "sqlite://"),
        ("sqlite:///:memory:", "sqlite:///:memory:"),
        ("sqlite:///file:a.db?mode=ro&uri=true", "sqlite:///file:a.db?mode=ro&uri=true"),
        ("sqlite+pysqlite:///a.db", "sqlite+pysqlite:////etc/sid/a.db"),
        ("duckdb:///a.duckdb", "duckdb:////etc/sid/a.duckdb"),
        ("duckdb:///:memory:", "duckdb:///:memory:"),
        ("duckdb:///md:sid", "duckdb:///md:sid"),
        ("mysql://u:p@h/d", "mysql://u:p@h/d"),
    ],
)
def test_resolve_url(url, expected):
    folder = pathlib.Path("/etc/sid")
    assert loader.resolve_url(folder, url) == expected
    assert loader.resolve_url(folder, expected) == expected


# --- digest, environments in the file, speed


def test_digest_follows_the_values_and_not_the_place(load, tmp_path):
    first = load(EXAMPLE, environ=ENVIRON)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "c.yaml").write_text("# a comment\n" + EXAMPLE)
    same = loader.load("other/c.yaml", environ=ENVIRON)
    assert len(first.digest) == 64
    assert same.digest == first.digest
    assert load(EXAMPLE, environ={**ENVIRON, "MYSQL_USER": "x"}).digest != first.digest
    assert load(EXAMPLE, "prod", {"PROD_PASSWORD": "x"}).digest != first.digest


def test_environment_names(load):
    load(EXAMPLE, environ=ENVIRON)
    assert loader.environments("config.yaml") == ["local", "prod"]


def test_check_returns_every_problem(load, base):
    with pytest.raises(errors.ConfigError):
        load(base + "    batch_rows: 0\n    verify: x\n    schedule: daily\n")
    found = loader.check("config.yaml")
    assert [str(error.where) for error in found] == [
        "config.yaml:9:transfers.dim_plane.batch_rows",
        "config.yaml:10:transfers.dim_plane.verify",
        "config.yaml:11:transfers.dim_plane.schedule",
    ]
    load(base)
    assert loader.check("config.yaml") == []
    assert len(loader.check("nowhere.yaml")) == 1


def test_loading_imports_no_database_client():
    code = (
        "import sys; from tmg_etl.config import loader\n"
        "heavy = {'pyarrow', 'duckdb', 'sqlalchemy', 'psycopg', 'pymysql', 'alembic', 'rich'}\n"
        "sys.exit(repr(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
    )
    done = _python(code)
    assert (done.returncode, done.stderr) == (0, "")


def _python(code: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "PYTHONPATH": str(pathlib.Path(__file__).parents[2])}
    return subprocess.run(
        [sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    "connection",
    ["{type: files, url: a}", "{type: bigquery, project: p, dataset: d}"],
)
def test_a_table_of_files_or_bigquery_may_have_a_dot(
    tmp_path: pathlib.Path, connection: str
) -> None:
    file = tmp_path / "c.yaml"
    place = "{connection: a, table: s2.t}"
    file.write_text(
        f"connections: {{a: {connection}}}\n"
        f"transfers: {{t: {{source: {place}, target: {place}}}}}\n"
    )
    assert loader.load(str(file)).transfer("t").target.table == "s2.t"
