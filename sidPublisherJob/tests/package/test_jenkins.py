"""The Jenkins pipelines call tasks and scripts that exist, with options that they have.

Jenkins' own checker needs a Jenkins. Here the Groovy is split into tokens, so that brackets,
strings and comments are understood, and the commands in it are taken from there.
"""

from __future__ import annotations

import itertools
import pathlib
import re
import shlex

import pytest

from tests.package import image_kit, task_kit

FILES = ("Jenkinsfile", "Jenkinsfile.promote")
TOKEN = re.compile(
    r"""(?P<comment>//[^\n]*|/\*.*?\*/)
      | (?P<string>'''(?:\\.|[^\\])*?'''|\"\"\"(?:\\.|[^\\])*?\"\"\"|'(?:\\.|[^'\\\n])*'
          |"(?:\\.|[^"\\\n])*")
      | (?P<word>[\w.]+)
      | (?P<mark>[(){}\[\],:?!=+-])
      | (?P<space>\s+)
      | (?P<other>.)""",
    re.VERBOSE | re.DOTALL,
)
PAIRS = {")": "(", "]": "[", "}": "{"}


def tokens(name: str) -> list[tuple[str, str]]:
    text = (image_kit.ROOT / name).read_text()
    found = [(str(match.lastgroup), match[0]) for match in TOKEN.finditer(text)]
    return [(kind, part) for kind, part in found if kind not in ("comment", "space")]


def strings(name: str) -> list[str]:
    found = [part for kind, part in tokens(name) if kind == "string"]
    widths = [3 if part.startswith(("'''", '"""')) else 1 for part in found]
    return [part[width:-width] for part, width in zip(found, widths, strict=True)]


def commands(name: str) -> list[str]:
    """Return every line that a shell runs."""
    lines = [line.strip() for text in strings(name) for line in text.splitlines()]
    return [line for line in lines if re.match(r"(script/|\.venv/bin/)", line)]


@pytest.mark.parametrize("name", FILES)
def test_brackets_and_strings_are_closed(name: str) -> None:
    opened: list[str] = []
    for kind, part in tokens(name):
        assert kind != "other", f"{name}: {part!r}"
        if kind == "mark" and part in PAIRS.values():
            opened.append(part)
        elif kind == "mark" and part in PAIRS:
            assert opened.pop() == PAIRS[part], name
    assert opened == []


@pytest.mark.parametrize("name", FILES)
def test_it_is_a_declarative_pipeline(name: str) -> None:
    words = [part for kind, part in tokens(name) if kind in ("word", "mark")]
    assert words[:2] == ["pipeline", "{"]
    assert {"agent", "options", "stages", "stage", "steps"} <= set(words)
    # Each stage has steps or stages of its own.
    assert words.count("stage") == words.count("steps") + words.count("stages") - 1


@pytest.mark.parametrize("name", FILES)
def test_every_command_exists_and_has_these_options(
    name: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    assert commands(name)
    for line in commands(name):
        program, *arguments = shlex.split(line)
        if program == ".venv/bin/invoke":
            task, *given = arguments
            shown = task_kit.helps()[task]
            for option in (part.split("=")[0] for part in given if part.startswith("--")):
                assert f"{option}=" in shown or f"{option} " in shown, line
        elif program.startswith("script/"):
            known = (image_kit.ROOT / program).read_text()
            assert all(re.search(rf"^ +{part}\b.*\)", known, re.MULTILINE) for part in arguments), (
                line
            )
        else:
            assert (pathlib.Path(task_kit.INVOKE).parent / pathlib.Path(program).name).is_file()


def test_it_is_built_once_tested_first_and_deployed_from_the_main_branch_only() -> None:
    lines = " ".join(commands("Jenkinsfile"))
    order = ["lint", "test ", "make-docker-image", "test-docker-local", "deploy-docker-image",
             "local-deploy-gke --env dev"]  # fmt: skip
    places = [lines.index(f"invoke {task}") for task in order]
    assert places == sorted(places)
    assert lines.count("make-docker-image") == 1
    parts = [part for _, part in tokens("Jenkinsfile")]
    branch = parts.index("branch")
    assert parts[branch - 2 : branch + 2] == ["when", "{", "branch", "'main'"]
    pushes = next(i for i, part in enumerate(parts) if "deploy-docker-image" in part)
    assert branch < pushes


def test_main_is_built_once_a_month_and_told_then_what_is_behind() -> None:
    parts = [part for _, part in tokens("Jenkinsfile")]
    cron = parts.index("cron")
    assert parts[cron - 2 : cron + 8] == [
        "triggers", "{", "cron", "(", "env.BRANCH_NAME", "=", "=", "'main'", "?", "'H 5 1 * *'",
    ]  # fmt: skip
    timer = parts.index("triggeredBy")
    check = parts.index("'script/update-requirements --check'")
    assert parts[timer + 1] == "'TimerTrigger'"
    assert "stage" not in parts[timer:check]
    assert parts[check - 2 : check] == ["{", "sh"]
    assert "catchError" in parts[timer:check]
    full = next(i for i, part in enumerate(parts) if "--full" in part)
    timer = parts.index("triggeredBy", timer + 1)
    assert parts[timer + 1] == "'TimerTrigger'"
    assert "stage" not in parts[timer:full]


def test_promotion_is_checked_then_approved_then_done() -> None:
    parts = [part for _, part in tokens("Jenkinsfile.promote")]
    dry = next(i for i, part in enumerate(parts) if "promote" in part and "--dry-run" in part)
    asked = parts.index("input")
    done = next(i for i, part in enumerate(parts) if "promote" in part and '"$@"' in part)
    assert dry < asked < done
    assert "submitter" in parts


def test_an_approval_for_one_environment_ends_no_build_for_another() -> None:
    """A milestone aborts the older builds of its job: so each environment has a job."""
    parts = [part for _, part in tokens("Jenkinsfile.promote")]
    assert "milestone" in parts
    parameters = parts[parts.index("parameters") : parts.index("options")]
    assert "'ENVIRONMENT'" not in parameters
    place = parts.index("ENVIRONMENT")
    assert "JOB_BASE_NAME" in parts[place + 2]


@pytest.mark.parametrize("name", FILES)
def test_a_parameter_never_becomes_part_of_a_command(name: str) -> None:
    """Groovy would put `${…}` of a string in double quotes into the command itself."""
    parts = tokens(name)
    for (_, before), (kind, part) in itertools.pairwise(parts):
        if before in ("sh", "script") and kind == "string":
            assert part.startswith("'"), f"{name}: {part}"
