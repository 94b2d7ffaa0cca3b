"""The locked requirements agree with what the package declares."""

import os
import pathlib
import re
import subprocess
import tomllib

import pytest

PROJECT = pathlib.Path(__file__).parents[2]
DECLARED = tomllib.loads((PROJECT / "pyproject.toml").read_text())


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(file: str) -> dict[str, list[str]]:
    """Package → its pinned versions with their hashes; a version may depend on the platform."""
    text = (PROJECT / file).read_text().replace("\\\n", " ")
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line and not line.lstrip().startswith("#"):
            found.setdefault(canonical(re.split(r"[=\[]", line)[0]), []).append(line)
    return found


def names(requirements: list[str]) -> set[str]:
    return {canonical(re.split(r"[^\w.-]", text, maxsplit=1)[0]) for text in requirements}


def test_every_declared_dependency_is_locked() -> None:
    runtime = names(DECLARED["project"]["dependencies"])
    assert runtime <= pins("requirements.txt").keys()
    groups = DECLARED["dependency-groups"]
    assert names(groups["dev"]) <= pins("dev-requirements.txt").keys()
    for group in ("chart", "build", "installer"):
        assert names(groups[group]) <= pins(f"{group}-requirements.txt").keys()


def test_development_uses_the_versions_that_run_in_production() -> None:
    # Without the markers: a tool may need on all platforms what the package needs on one.
    def versions(lines: list[str]) -> list[str]:
        return [re.sub(r" ;.*?(?=\s--hash)", "", line) for line in lines]

    development = pins("dev-requirements.txt")
    for name, lines in pins("requirements.txt").items():
        assert [line.split() for line in versions(development[name])] == [
            line.split() for line in versions(lines)
        ]


@pytest.mark.parametrize(
    "file",
    [
        "requirements.txt",
        "dev-requirements.txt",
        "chart-requirements.txt",
        "build-requirements.txt",
        "installer-requirements.txt",
        "tests/bigquery/emulator-requirements.txt",
    ],
)
def test_every_pin_has_hashes_and_no_place_of_its_own(file: str) -> None:
    for lines in pins(file).values():
        assert all("==" in line and "--hash=sha256:" in line for line in lines)
    assert not re.search(
        r"://|--(extra-)?index-url|--find-links|--trusted-host", (PROJECT / file).read_text()
    )


def test_image_holds_no_development_tool() -> None:
    assert not {"pytest", "ruff", "mypy", "hypothesis"} & pins("requirements.txt").keys()


def test_the_page_of_dependencies_lists_exactly_the_direct_ones() -> None:
    page = (PROJECT.parent / "docs" / "dependencies.md").read_text()
    rows = [line.split("|")[1:-1] for line in page.splitlines() if line.startswith("| ")]
    listed = {canonical(row[0].split()[0]): row for row in rows if row[0].strip() != "package"}
    listed = {name: row for name, row in listed.items() if name.strip("-")}
    declared = names(DECLARED["project"]["dependencies"])
    for extra in DECLARED["project"]["optional-dependencies"].values():
        declared |= names(extra)
    assert listed.keys() == declared
    for name, (_, licence, reason, _, drop) in listed.items():
        assert licence.strip(), name
        assert reason.strip(), name
        assert drop.strip(), name


@pytest.mark.parametrize(
    ("option", "message"),
    [
        # Nothing is asked: the cache is empty.
        ("--check", "the network was disabled"),
        ("--chek", "error: unknown argument --chek (see script/update-requirements --help)"),
    ],
)
def test_what_is_behind_and_cannot_be_found_out_is_told_by_the_exit_code(
    tmp_path: pathlib.Path, option: str, message: str
) -> None:
    locks = {file: file.read_text() for file in PROJECT.rglob("*requirements.txt")}
    script = PROJECT.parent / "script" / "update-requirements"
    done = subprocess.run(
        [str(script), option],
        env={**os.environ, "UV_OFFLINE": "1", "UV_CACHE_DIR": str(tmp_path)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert message in done.stderr
    assert locks == {file: file.read_text() for file in PROJECT.rglob("*requirements.txt")}
    assert "2 when that cannot be found out" in script.read_text()
