"""What is locked is what is installed, whatever was released since, by uv and by pip.

The index here has every locked package as a small wheel with its real dependencies, and each also
in a newer version that satisfies whoever asks for it. The lock is the repository's, but for the
hashes of these wheels. It is that of development, which holds all that runs in production.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import os
import pathlib
import re
import runpy
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Callable, Iterable

import duckdb
import pytest

from tests.bigquery import emulator

PROJECT = pathlib.Path(__file__).parents[2]
ROOT = PROJECT.parent
OLDEST_PIP = pathlib.Path(__file__).parent / "oldest-pip.txt"
UV = [sys.executable, str(ROOT / "script" / "uv.py"), "pip"]
CLAIMED = [
    text.rpartition(" ")[2]
    for text in tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["classifiers"]
]
translate: Callable[[dict[str, str]], dict[str, str]] = runpy.run_path(
    str(ROOT / "script" / "uv.py")
)["translate"]


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def newer(version: str) -> str:
    return re.sub(r"(\.post\d+)?$", ".post999", version, count=1)


def asked(requirement: str) -> tuple[str, bool]:
    """Return whom a requirement asks for, and whether with an extra."""
    found = re.match(r"([\w.-]+)\s*(\[)?", requirement)
    assert found, requirement
    return canonical(found[1]), bool(found[2])


@dataclasses.dataclass(frozen=True)
class Package:
    """A locked package.

    Attributes:
        pin: its line in the lock, without hashes.
        name: of the package.
        version: that is locked.
        metadata: what it asks for and offers, of the installed one.
    """

    pin: str
    name: str
    version: str
    metadata: tuple[str, ...]

    def asks_with_an_extra(self) -> set[str]:
        """Return the packages that it asks for with an extra."""
        lines = [line.removeprefix("Requires-Dist: ") for line in self.metadata]
        return {name for name, with_extra in map(asked, lines) if with_extra}


def read_lock() -> list[Package]:
    installed = {
        (canonical(found.name), found.version): found
        for found in importlib.metadata.distributions()
    }
    packages = []
    for line in (PROJECT / "dev-requirements.txt").read_text().splitlines():
        if found := re.match(r"(([\w.-]+)==([^\s;]+).*?) *\\$", line):
            pin, name, version = found.groups()
            lines: list[str] = []
            if known := installed.get((name, version)):
                lines += [f"Requires-Dist: {text}" for text in known.requires or ()]
                extras = known.metadata.get_all("Provides-Extra") or ()
                lines += [f"Provides-Extra: {text}" for text in extras]
            packages.append(Package(pin, name, version, tuple(lines)))
    return packages


def make_wheel(folder: pathlib.Path, package: Package, version: str) -> pathlib.Path:
    stem = f"{package.name.replace('-', '_')}-{version}"
    file = folder / f"{stem}-py3-none-any.whl"
    head = ("Metadata-Version: 2.1", f"Name: {package.name}", f"Version: {version}")
    files = {
        "METADATA": "\n".join([*head, *package.metadata, ""]),
        "WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files["RECORD"] = "".join(f"{stem}.dist-info/{name},,\n" for name in (*files, "RECORD"))
    with zipfile.ZipFile(file, "w") as archive:
        for name, text in files.items():
            archive.writestr(f"{stem}.dist-info/{name}", text)
    return file


@dataclasses.dataclass(frozen=True)
class Index:
    """A folder that is a simple index, and a lock of what it has.

    Attributes:
        url: of the index.
        lock: the requirements file.
        wanted: name → versions that are locked; more than one where the platform decides.
    """

    url: str
    lock: pathlib.Path
    wanted: dict[str, set[str]]


def make_index(folder: pathlib.Path, packages: Iterable[Package]) -> Index:
    wanted: dict[str, set[str]] = {}
    pages: dict[str, str] = {}
    lock = ""
    for package in packages:
        (folder / package.name).mkdir(parents=True, exist_ok=True)
        wanted.setdefault(package.name, set()).add(package.version)
        digests = []
        for version in (package.version, newer(package.version)):
            file = make_wheel(folder / package.name, package, version)
            digests.append(hashlib.sha256(file.read_bytes()).hexdigest())
            link = f'<a href="{file.name}#sha256={digests[-1]}">{file.name}</a>\n'
            pages[package.name] = pages.get(package.name, "") + link
        lock += f"{package.pin} --hash=sha256:{digests[0]}\n"
    for name, page in pages.items():
        (folder / name / "index.html").write_text(page)
    (folder / "lock.txt").write_text(lock)
    return Index(folder.as_uri(), folder / "lock.txt", wanted)


def run(command: list[str], env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run an installer without the settings of this machine."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith(("PIP_", "UV_"))}
    return subprocess.run(
        command, capture_output=True, text=True, check=False,
        env={**kept, "PIP_CONFIG_FILE": os.devnull, "UV_NO_CACHE": "1", **(env or {})},
    )  # fmt: skip


def installed(folder: pathlib.Path) -> dict[str, str]:
    return {
        canonical(found.name): found.version
        for found in importlib.metadata.distributions(path=[str(folder)])
    }


def locked_install(folder: pathlib.Path, lock: pathlib.Path) -> list[str]:
    return [
        "install", "--target", str(folder), "--only-binary", ":all:", "--require-hashes",
        "--requirement", str(lock),
    ]  # fmt: skip


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Index:
    """All that is locked."""
    return make_index(tmp_path_factory.mktemp("index"), read_lock())


@pytest.fixture(scope="module")
def extras(tmp_path_factory: pytest.TempPathFactory) -> Index:
    """What is asked for with an extra, and who asks: pip takes its time for each package."""
    packages = read_lock()
    pairs = [
        (package.name, name)
        for package in packages
        for name in package.asks_with_an_extra() & {found.name for found in packages}
    ]
    assert ("google-cloud-bigquery", "google-auth") in pairs
    kept = {name for pair in pairs for name in pair}
    shortened = [
        dataclasses.replace(
            package,
            metadata=tuple(
                line
                for line in package.metadata
                if line.startswith("Provides") or asked(line.split(": ")[1])[0] in kept
            ),
        )
        for package in packages
        if package.name in kept
    ]
    return make_index(tmp_path_factory.mktemp("extras"), shortened)


@pytest.fixture(scope="module")
def oldest_pip(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The folder of the oldest pip that README names."""
    folder = tmp_path_factory.mktemp("pip")
    subprocess.run([*UV, "--quiet", *locked_install(folder, OLDEST_PIP)], check=True)
    return folder


def assert_is_what_was_locked(folder: pathlib.Path, index: Index) -> None:
    found = installed(folder)
    assert found.keys() <= index.wanted.keys()
    assert not {
        name: version for name, version in found.items() if version not in index.wanted[name]
    }


def test_uv_installs_what_is_locked(index: Index, tmp_path: pathlib.Path) -> None:
    done = run([*UV, *locked_install(tmp_path, index.lock)], {"PIP_INDEX_URL": index.url})
    assert done.returncode == 0, done.stderr
    assert len(installed(tmp_path)) > 0.9 * len(index.wanted)
    assert_is_what_was_locked(tmp_path, index)


@pytest.mark.parametrize("python", CLAIMED)
def test_the_locks_fit_every_python_that_is_claimed(
    index: Index, tmp_path: pathlib.Path, python: str
) -> None:
    options = ["--dry-run", "--python-version", python]
    done = run([*UV, *locked_install(tmp_path, index.lock), *options], {"PIP_INDEX_URL": index.url})
    assert done.returncode == 0, done.stderr
    assert ".post999" not in done.stderr


def test_a_newer_python_publishes_with_what_is_locked(tmp_path: pathlib.Path) -> None:
    """Python 3.13, which the emulator of BigQuery brings."""
    options = [
        *locked_install(tmp_path / "packages", PROJECT / "requirements.txt"),
        "--python-version", "3.13", "--link-mode", "symlink",
    ]  # fmt: skip
    subprocess.run([*UV, "--quiet", *options], check=True)
    (tmp_path / "planets.csv").write_text("name,moons\nMercury,0\nEarth,1\nMars,2\n")
    (tmp_path / "config.yaml").write_text("""\
connections:
  lake: {type: files, url: .}
  serving: {type: duckdb, url: "duckdb:///serving.duckdb"}
transfers:
  planet:
    source: {connection: lake, table: planets}
    target: {connection: serving, table: planet}
    key: [name]
""")
    pipeline = "import sys, tmg_etl.cli.pipeline as p; assert sys.version_info[1] == 13; p.main()"
    done = subprocess.run(
        [str(emulator.PLACE / "python" / "python3.13"), "-c", pipeline,
         "20240101", "planet", "truncate", str(tmp_path / "config.yaml")],
        env={**os.environ, "PYTHONPATH": f"{tmp_path / 'packages'}:{PROJECT}"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    with duckdb.connect(str(tmp_path / "serving.duckdb")) as database:
        assert database.execute("SELECT sum(moons) FROM planet").fetchone() == (3,)


def test_the_oldest_pip_installs_what_is_locked(
    extras: Index, oldest_pip: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    pip = [sys.executable, "-m", "pip", *locked_install(tmp_path, extras.lock)]
    done = run([*pip, "--index-url", extras.url], {"PYTHONPATH": str(oldest_pip)})
    assert done.returncode == 0, done.stderr
    assert installed(tmp_path).keys() == extras.wanted.keys()
    assert_is_what_was_locked(tmp_path, extras)


def test_any_pip_installs_what_is_locked_when_it_resolves_nothing(
    extras: Index, tmp_path: pathlib.Path
) -> None:
    """The one that this machine's venv brings: 23.0 on Debian 12."""
    pip = [sys.executable, "-m", "pip", *locked_install(tmp_path, extras.lock), "--no-deps"]
    done = run([*pip, "--index-url", extras.url])
    assert done.returncode == 0, done.stderr
    assert installed(tmp_path).keys() == extras.wanted.keys()
    assert_is_what_was_locked(tmp_path, extras)


def test_another_file_of_a_locked_version_is_refused(extras: Index, tmp_path: pathlib.Path) -> None:
    lock = tmp_path / "lock.txt"
    lock.write_text(re.sub(r"sha256:[0-9a-f]{8}", "sha256:00000000", extras.lock.read_text()))
    done = run([*UV, *locked_install(tmp_path / "to", lock)], {"PIP_INDEX_URL": extras.url})
    assert done.returncode != 0
    assert "Hash mismatch" in done.stderr
    assert not installed(tmp_path / "to")


def test_readme_names_the_oldest_pip() -> None:
    found = re.match(r"pip==([\d.]+) ", OLDEST_PIP.read_text())
    assert found
    assert f"pip {found[1]} or newer" in (ROOT / "README.md").read_text()


def test_a_home_that_cannot_be_written_to_only_costs_the_cache(
    extras: Index, tmp_path: pathlib.Path
) -> None:
    env = {"PIP_INDEX_URL": extras.url, "XDG_CACHE_HOME": os.devnull, "UV_NO_CACHE": "false"}
    done = run([*UV, *locked_install(tmp_path, extras.lock)], env)
    assert done.returncode == 2
    done = run([*UV, *locked_install(tmp_path, extras.lock)], {**env, "UV_NO_CACHE": ""})
    assert done.returncode == 0, done.stderr


def test_develop_mode_is_a_plain_path_entry_and_warns_of_nothing(tmp_path: pathlib.Path) -> None:
    """An import hook would cost every start of the commands."""
    build = f"import setuptools.build_meta as m; m.build_editable({str(tmp_path)!r})"
    done = subprocess.run(
        [sys.executable, "-W", "always", "-c", build],
        cwd=PROJECT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "warning" not in (done.stdout + done.stderr).lower()
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (entry,) = (name for name in archive.namelist() if ".dist-info/" not in name)
        assert entry.endswith(".pth")
        assert archive.read(entry).decode().strip() == str(PROJECT)


@pytest.mark.parametrize(
    ("settings", "variables"),
    [
        ({"cert": "/a.pem"}, {"SSL_CERT_FILE": "/a.pem"}),
        (
            {"extra-index-url": "https://a/ https://b/"},
            {"UV_INDEX": "https://a/ https://b/", "UV_INDEX_STRATEGY": "unsafe-best-match"},
        ),
        ({"find-links": f"/missing {ROOT}"}, {"UV_FIND_LINKS": str(ROOT)}),
        ({"index-url": "https://a/"}, {"UV_DEFAULT_INDEX": "https://a/"}),
        ({"keyring-provider": "subprocess"}, {"UV_KEYRING_PROVIDER": "subprocess"}),
        ({"keyring-provider": "auto"}, {}),
        ({"proxy": "http://a:1"}, {"ALL_PROXY": "http://a:1"}),
        ({"trusted-host": "a b"}, {"UV_INSECURE_HOST": "a b"}),
        ({"quiet": "1"}, {}),
    ],
)
def test_uv_is_told_what_pip_was_told(settings: dict[str, str], variables: dict[str, str]) -> None:
    assert translate(settings) == variables


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, "1"),
        ({"PIP_INDEX_URL": ""}, "1"),
        ({"PIP_INDEX_URL": "2"}, "2"),
        ({"UV_DEFAULT_INDEX": "3"}, "3"),
        ({"UV_INDEX_URL": "3"}, "3"),
    ],
)
def test_the_index_is_the_one_that_this_machine_names(
    tmp_path: pathlib.Path, variables: dict[str, str], expected: str
) -> None:
    """Index 1 is named in pip.conf, which one variable or another overrides."""
    urls = {"": ""}
    for version in ("1", "2", "3"):
        package = Package(f"probe=={version}", "probe", version, ())
        urls[version] = make_index(tmp_path / version, [package]).url
    conf = tmp_path / "pip.conf"
    conf.write_text(f"[global]\nindex-url = {urls['1']}\n")
    env = {name: urls[text] for name, text in variables.items()}
    command = [*UV, "install", "--dry-run", "--target", str(tmp_path / "to"), "probe"]
    done = run(command, {"PIP_CONFIG_FILE": str(conf), **env})
    assert f"probe=={newer(expected)}" in done.stderr
