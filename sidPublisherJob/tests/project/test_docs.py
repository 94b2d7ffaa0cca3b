"""The pages say what the program does: its own tables are compared with them."""

from __future__ import annotations

import pathlib
import re

import click
import pytest

from tmg_etl import errors
from tmg_etl.cli import people, pipeline
from tmg_etl.config import reference, schema

ROOT = pathlib.Path(__file__).parents[3]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
LINK = re.compile(r"\]\(([^)#\s]+)(#[^)\s]+)?\)")


def test_the_configuration_page_is_made_from_the_models() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text()
    assert page == reference.render(), (
        "run: python -m tmg_etl.config.reference > docs/configuration.md"
    )


def _keys(schema: object) -> set[str]:
    """Return the names of all properties in a JSON Schema."""
    if isinstance(schema, list):
        return set().union(*map(_keys, schema))
    if not isinstance(schema, dict):
        return set()
    found = schema.get("properties")
    own = set(found) if isinstance(found, dict) else set()
    return own.union(*map(_keys, schema.values()))


def test_every_key_that_is_documented_is_read_by_the_program() -> None:
    """One that nothing reads would be accepted and do nothing."""
    code = "\n".join(
        path.read_text()
        for path in (ROOT / "sidPublisherJob" / "tmg_etl").rglob("*.py")
        if "testing" not in path.parts and path.name not in ("reference.py", "schema.py")
    )
    keys = _keys(schema.json_schema())
    page = (ROOT / "docs" / "configuration.md").read_text()
    assert set(re.findall(r"^\| `(\w+)`", page, re.MULTILINE)) == keys
    # `schema` is a word of pydantic's, and so has another name in the models.
    read = set(re.findall(r"\.(\w+)", code)) | {name for name in keys if f".{name}_" in code}
    # Laid under each transfer before there are models.
    assert keys - read == {"defaults"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: pathlib.Path) -> None:
    for target, _ in LINK.findall(page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize(
    "code", sorted({kind.exit_code for kind in errors.TmgEtlError.__subclasses__()})
)
def test_every_exit_code_is_explained(code: int) -> None:
    assert re.search(rf"\b{code}\b", (ROOT / "docs" / "failure.md").read_text())


def commands(group: click.Group, prefix: str) -> list[tuple[str, click.Command]]:
    context = click.Context(group)
    found: list[tuple[str, click.Command]] = []
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            found += commands(command, f"{prefix} {name}")
        else:
            found.append((f"{prefix} {name}", command))
    return found


def test_every_command_has_help_and_is_in_the_docs() -> None:
    text = " ".join(page.read_text() for page in PAGES)
    for name, command in commands(people.command, "tmg-etl"):
        assert command.help, name
        words = name.removeprefix("tmg-etl ")
        assert words in text or words.split()[-1] in text, f"{name} is in no page"


def test_every_option_of_pipeline_has_help() -> None:
    for parameter in pipeline.command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, parameter.name


def test_the_changelog_knows_the_version_or_what_is_not_released() -> None:
    text = (ROOT / "changelog.md").read_text()
    assert "## [Unreleased]" in text or "## [" in text
