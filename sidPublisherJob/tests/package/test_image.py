"""What is in the image, what is not, and that it runs as a pod would run it."""

from __future__ import annotations

import os
import pathlib
import re
import sqlite3
import stat
import time

import pytest

from tests.package import conftest, image_kit
from tmg_etl import errors
from tmg_etl.__version__ import __version__

SMOKE = image_kit.ROOT / "examples" / "smoke"
SIZE_LIMIT_BYTES = 490_000_000
"""docs/image.md says what it is made of. The limit leaves room for a library, not for a mistake."""

BUILD_TOOLS = re.compile(
    r"(pip|pip3|gcc|g\+\+|cc|c\+\+|ld|make|cmake|git|curl|wget|uv|poetry|buildah|invoke|pytest)"
    r"([-.\d]*)"
)
SHELLS = re.compile(r"sh|dash|bash|busybox|perl.*|apt.*|dpkg.*|env|su|mount|openssl|awk|sed|tar")
KEY_NAMES = re.compile(r"(?i).*\.(key|p12|pfx|jks|kdbx)|id_(rsa|ed25519|ecdsa)|\.env(\..*)?")
# With a value that is base64: Google's clients have the name, and show what it looks like.
PRIVATE_KEY_VALUE = re.compile(
    rb'"private_key"\s*:\s*"-----BEGIN [A-Z ]*-----(\\n|\n)?[A-Za-z0-9+/]'
)
SLOW_PIPELINE = """
import time

from tmg_etl import TMGETL


class Slow(TMGETL):
    def pre_execution_cleansing(self):
        print("begun", flush=True)

    def pipeline(self):
        for _ in range(600):
            self.run.stop.check()
            time.sleep(0.1)

    def post_execution_cleanup(self):
        open("/tmp/cleaned", "w").close()
"""


@pytest.fixture
def tmp(tmp_path: pathlib.Path) -> pathlib.Path:
    """What is /tmp in the container."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    return folder


def test_it_starts_pipeline_directly_as_a_numbered_user(image: image_kit.Image) -> None:
    assert image.config["Entrypoint"] == ["pipeline"]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", image.config["User"])
    assert image.config["User"] == f"{image_kit.UID}:{image_kit.UID}"


def test_labels_say_what_it_was_made_from(image: image_kit.Image) -> None:
    labels = {
        key.removeprefix("org.opencontainers.image."): value
        for key, value in image.config["Labels"].items()
    }
    assert labels["title"] == "sidPublisherJob"
    assert labels["version"] == __version__
    assert labels["revision"] == conftest.FACTS["REVISION"]
    assert labels["created"] == conftest.FACTS["CREATED"]
    assert labels["source"] == conftest.FACTS["SOURCE"]
    assert labels["description"]
    assert labels["base.name"].startswith("localhost/sid-test-base:")


def test_help_is_what_it_does_without_arguments(image: image_kit.Image, tmp: pathlib.Path) -> None:
    done = image.run(*image.config["Cmd"], tmp=tmp, config=SMOKE)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Usage: pipeline [OPTIONS] EXECUTION_DATE TRANSFER_NAME")


def test_people_can_use_it_too(image: image_kit.Image, tmp: pathlib.Path) -> None:
    done = image.run("version", tmp=tmp, config=SMOKE, entrypoint=["tmg-etl"])
    assert done.returncode == 0, done.stderr
    assert __version__ in done.stdout


def test_it_publishes_from_a_read_only_root(image: image_kit.Image, tmp: pathlib.Path) -> None:
    done = image.run("20240101", "planet", "truncate", "/srv/config.yaml", tmp=tmp, config=SMOKE)
    assert done.returncode == 0, done.stderr
    with sqlite3.connect(tmp / "sid-smoke.db") as database:
        assert database.execute("SELECT count(*), sum(moons) FROM planet").fetchone() == (8, 419)


def test_it_publishes_with_every_client_of_its_own(
    image: image_kit.Image, tmp: pathlib.Path
) -> None:
    """Reads Parquet and writes DuckDB: nothing that was removed from the libraries is missed."""
    config = tmp.parent / "config"
    config.mkdir()
    (config / "config.yaml").write_text("""\
connections:
  lake: {type: files, url: data/}
  out: {type: files, url: /tmp/out/}
  serving: {type: duckdb, url: "duckdb:////tmp/serving.duckdb"}
ledger: "sqlite:////tmp/ledger.db"
transfers:
  to_parquet:
    source: {connection: lake, table: planets}
    target: {connection: out, table: planets}
  to_duckdb:
    source: {connection: out, table: planets}
    target: {connection: serving, table: planet}
    key: [name]
""")
    (config / "data").mkdir()
    (config / "data" / "planets.csv").write_text("name,moons\nMercury,0\nEarth,1\nMars,2\n")
    for transfer in ("to_parquet", "to_duckdb"):
        done = image.run(
            "20240101", transfer, "truncate", "/srv/config.yaml", tmp=tmp, config=config
        )
        assert done.returncode == 0, done.stderr
    python = ["python", "-c", (
        "import duckdb, psycopg, pymysql, alembic.command, pyarrow.dataset, rich.live, numpy;"
        "import google.cloud.bigquery, google.cloud.bigquery_storage, google.cloud.storage;"
        "import boto3;"
        "[boto3.client(name, region_name='eu-west-1') for name in ('s3', 'sts', 'sso')];"
        "psycopg.pq.version();"
        "database = duckdb.connect('/tmp/serving.duckdb');"
        "print(database.execute('SELECT count(*) FROM planet').fetchone())"
    )]  # fmt: skip
    done = image.run(tmp=tmp, config=config, entrypoint=python)
    assert (done.returncode, done.stdout.strip()) == (0, "(3,)"), done.stderr


def test_a_scheduled_pod_becomes_a_run(image: image_kit.Image, tmp: pathlib.Path) -> None:
    """The command of the chart's CronJobs, in a zone whose data the image must have."""
    pod = ["python3", "-m", "tmg_etl.launch.pod"]
    arguments = ["scheduled", "planet", "truncate", "/srv/config.yaml", "--time-zone=Europe/Madrid"]
    done = image.run(*arguments, tmp=tmp, config=SMOKE, entrypoint=pod)
    assert done.returncode == 0, done.stderr
    assert (tmp / "sid-smoke.db").exists()


def test_a_wrong_call_ends_with_our_exit_codes(image: image_kit.Image, tmp: pathlib.Path) -> None:
    unknown = image.run("20240101", "moon", "truncate", "/srv/config.yaml", tmp=tmp, config=SMOKE)
    assert unknown.returncode == errors.EXIT_CONFIG, unknown.stderr
    assert image.run("never", tmp=tmp, config=SMOKE).returncode == errors.EXIT_USAGE


def test_sigterm_reaches_python_which_cleans_up(image: image_kit.Image, tmp: pathlib.Path) -> None:
    """Python is process 1, for which a signal without a handler would do nothing."""
    config = tmp.parent / "config"
    config.mkdir()
    (config / "slow.py").write_text(SLOW_PIPELINE)
    (config / "config.yaml").write_text("""\
connections:
  out: {type: files, url: /tmp/out/}
ledger: "sqlite:////tmp/ledger.db"
packages: [slow]
transfers:
  slow:
    source: {connection: out, table: a}
    target: {connection: out, table: b}
    pipeline: slow:Slow
""")
    arguments = ("20240101", "slow", "truncate", "/srv/config.yaml")
    begun = time.monotonic()
    with image.start(*arguments, tmp=tmp, config=config, env={"PYTHONPATH": "/srv"}) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n", process.communicate(timeout=60)[1]
        image_kit.terminate(process)
        _, err = process.communicate(timeout=30)
    assert process.returncode == errors.EXIT_SIGTERM, err
    assert time.monotonic() - begun < 30
    assert (tmp / "cleaned").exists()


def test_only_tmp_can_be_written_to(image: image_kit.Image, tmp: pathlib.Path) -> None:
    script = """
import os, pathlib
for folder in ("/", "/opt/sid", "/srv", "/var", "/run", "/home", "/tmp"):
    try:
        pathlib.Path(folder, "x").touch()
        print(folder)
    except OSError:
        pass
print(os.getuid(), *(line for line in open("/proc/self/status") if line.startswith("CapEff")))
"""
    done = image.run(tmp=tmp, config=SMOKE, entrypoint=["python", "-c", script])
    assert done.stdout.split() == ["/tmp", str(image_kit.UID), "CapEff:", "0" * 16], done.stderr


def test_nobody_can_become_root_or_change_the_program(image: image_kit.Image) -> None:
    for path in image.files():
        status = (image.root / path.relative_to("/")).lstat()
        if stat.S_ISREG(status.st_mode):
            assert not status.st_mode & (stat.S_ISUID | stat.S_ISGID | stat.S_IWOTH), path
        if path.is_relative_to("/opt/sid"):
            assert status.st_uid == 0, path


def test_it_has_the_locked_packages_and_no_other(image: image_kit.Image, tmp: pathlib.Path) -> None:
    script = (
        "import importlib.metadata as m; "
        "print(*sorted(f'{d.name}=={d.version}'.lower().replace('_', '-') "
        "for d in m.distributions(path=[m.__file__.replace('importlib/metadata/__init__.py', '')]"
        " + __import__('sys').path)))"
    )
    done = image.run(tmp=tmp, config=SMOKE, entrypoint=["python", "-c", script])
    found = set(done.stdout.split())
    locked = set(
        re.findall(
            r"^([\w.-]+==[\w.]+)",
            (image_kit.ROOT / "sidPublisherJob" / "requirements.txt").read_text(),
            re.MULTILINE,
        )
    )
    own = f"sidpublisherjob=={__version__}"
    assert own in found, done.stderr
    assert found - {own} <= locked
    # Some locked ones are for other platforms or Python versions.
    assert {"pyarrow", "duckdb", "psycopg-binary", "pymysql"} <= {
        name.split("==")[0] for name in found
    }


def test_no_test_and_no_build_tool(image: image_kit.Image) -> None:
    # Debian's own /usr/bin/test is a shell's command.
    for path in image.files():
        names = path.parts
        if "site-packages" in names:
            assert not {"tests", "test", "pip", "setuptools", "wheel"} & set(names), path
        assert "ensurepip" not in names, path
        assert not path.name.endswith((".whl", ".a", ".pyx", ".h")), path
        if path.parent.name in ("bin", "sbin"):
            assert not BUILD_TOOLS.fullmatch(path.name), path
            assert not SHELLS.fullmatch(path.name), path
    assert not list(image.root.glob("opt/sid/lib/*/site-packages/tmg_etl/testing"))


def test_scanners_find_the_packages_that_are_there_and_no_other(image: image_kit.Image) -> None:
    listed = (image.root / "var/lib/dpkg/status").read_text()
    packages = set(re.findall(r"^Package: (\S+)$", listed, re.MULTILINE))
    assert {"libc6", "libssl3", "libstdc++6", "libpython3.11-stdlib", "tzdata"} <= packages
    assert not {"perl-base", "apt", "dash", "coreutils", "python3-pip-whl"} & packages
    assert listed.count("\nStatus: install ok installed\n") == len(packages)
    for package in packages:
        assert list(image.root.glob(f"usr/share/doc/{package}*")), package


def test_no_key_that_lay_in_the_checkout_is_in_it(image: image_kit.Image) -> None:
    planted = {pathlib.PurePath(name).name for name in conftest.POISON}
    found = 0
    for path in image.files():
        assert path.name not in planted, path
        assert not KEY_NAMES.fullmatch(path.name), path
        file = image.root / path.relative_to("/")
        if path.is_relative_to("/opt/sid") and file.is_file() and file.stat().st_size < 1_000_000:
            data = file.read_bytes()
            assert b"PRIVATE KEY-----\nMII" not in data, path
            assert not PRIVATE_KEY_VALUE.search(data), path
            assert b"PASSWORD=poison" not in data, path
            found += 1
    assert found > 1000


def test_nothing_was_removed_from_a_layer_that_still_holds_it(
    image: image_kit.Image, tmp_path: pathlib.Path
) -> None:
    """Every layer is scanned by itself, because whoever has the image has all of them."""
    image.builder.buildah("push", "--quiet", "--disable-compression", image.tag, f"dir:{tmp_path}")
    image_kit.call(image_kit.as_root("chmod", "-R", "a+rX", tmp_path))
    planted = {pathlib.PurePath(name).name for name in conftest.POISON}
    scanned = 0
    for blob in tmp_path.iterdir():
        listed = image_kit.call(
            ["sh", "-c", 'tar -tf "$1" 2>/dev/null || test $? -ne 127', "list", str(blob)]
        ).splitlines()
        for name in listed:
            base = pathlib.PurePath(name).name
            assert base not in planted, name
            assert not base.startswith(".wh."), f"{name} was removed from a layer below"
        scanned += len(listed)
    assert scanned > 1000


def test_one_commit_gives_the_same_bytes(
    image: image_kit.Image, builder: image_kit.Builder, tmp_path: pathlib.Path
) -> None:
    """Built again from nothing, of files of another time, so that no layer is sent twice."""
    image_kit.copy_of_checkout(tmp_path)
    for path in tmp_path.rglob("*"):
        os.utime(path, (1e9, 1e9))
    # Few packages are enough to see whether what is installed depends on when and where.
    lock = tmp_path / "sidPublisherJob" / "requirements.txt"
    pins = re.findall(r"^(?:click|pymysql)==(?:.*\\\n)+.*\n", lock.read_text(), re.MULTILINE)
    assert len(pins) == 2
    lock.write_text("".join(pins))
    tag = "localhost/sid-again:1"
    with builder.locked():
        options = ("--target=package", "--no-cache")
        builder.build(tmp_path, tag, {"BASE": builder.base()}, *options)
        container, root = builder.mount(tag)
    try:
        own = [path for path in (root / "opt/package").rglob("*") if path.is_file()]
        packages = root.glob("opt/sid/lib/*/site-packages/*")
        theirs = [
            path
            for package in packages
            if package.name.startswith(("click", "pymysql"))
            for path in package.rglob("*")
            if path.is_file()
        ]
        assert len(own) > 300
        assert len(theirs) > 50
        for path in (*own, *theirs):
            place = path.relative_to(root / "opt/package" if path in own else root)
            assert path.read_bytes() == (image.root / place).read_bytes(), place
    finally:
        builder.remove(container)
        builder.buildah("rmi", tag)
    assert {(image.root / place).stat().st_mtime for place in ("opt/sid", "usr/lib", "etc")} == {0}


def test_history_tells_no_secret_and_no_path_of_the_builder(image: image_kit.Image) -> None:
    text = str(image.history) + str(image.config)
    assert "PRIVATE" not in text
    assert str(image_kit.ROOT) not in text


def test_it_is_small(image: image_kit.Image) -> None:
    size = sum(
        file.stat().st_size
        for path in image.files()
        if (file := image.root / path.relative_to("/")).is_file() and not file.is_symlink()
    )
    assert size < SIZE_LIMIT_BYTES, f"{size / 1e6:.0f} MB"


def test_python_starts_without_compiling(image: image_kit.Image, tmp: pathlib.Path) -> None:
    """The root is read-only: what is not compiled would be compiled again at every start."""
    script = (
        "import sys, tmg_etl.cli.pipeline as p, tmg_etl.transfer.pipeline, sqlalchemy, duckdb\n"
    )
    script += "print(*[n for n, m in sys.modules.items() if (getattr(m, '__cached__', None) or '')"
    script += ".endswith('.pyc') and not __import__('os').path.exists(m.__cached__)])"
    done = image.run(tmp=tmp, config=SMOKE, entrypoint=["python", "-c", script])
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr
