"""Whatever command line and config say: an exit code of the list, one line, no traceback."""

from __future__ import annotations

import contextlib
import io
import pathlib

import hypothesis
import pytest
from hypothesis import strategies

from tests.corpus import corpus_kit
from tmg_etl.cli import people, pipeline

#: Those that a call can end with which connects to nothing.
_CODES = {0, 64, 65, 75, 77, 78}
QUICK = hypothesis.settings(
    max_examples=250,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(hypothesis.HealthCheck),
)
ODD = strategies.one_of(
    strategies.text(max_size=12),
    strategies.sampled_from(
        [
            "",
            "-",
            "--",
            "-h",
            "--env",
            "--env=",
            "\x00",
            "\n",
            "\ud800",
            "*",
            "~",
            "$HOME",
            "-1",
            "%s",
            "{}",
            "{0.__class__}",
            "x" * 300,
            "é",
            "\u202e",
            "../..",
            "config.yaml/",
            "@file",
            "=x",
        ]
    ),
)
DAYS = strategies.one_of(
    ODD, strategies.from_regex(r"[0-9]{8}", fullmatch=True), strategies.just("20240310")
)
OPTIONS = strategies.lists(
    strategies.one_of(
        ODD,
        strategies.sampled_from(
            [
                "--plan",
                "--delta_start_date",
                "--delta-start-date=20240101",
                "--verify",
                "count",
                "--log-format",
                "json",
                "text",
                "--progress",
                "--no-progress",
                "--version",
                "--help",
            ]
        ),
    ),
    max_size=4,
)
#: `dim` itself would run; any other name is refused before anything is opened.
NAMES = strategies.one_of(ODD, strategies.just("dem")).filter(lambda name: name != "dim")
MODES = strategies.one_of(ODD, strategies.sampled_from(["truncate", "delta"]))
PLACES = strategies.one_of(ODD, strategies.just("config.yaml"))
PIPELINE_CALLS = strategies.tuples(DAYS, NAMES, MODES, PLACES, OPTIONS).flatmap(
    lambda parts: (
        strategies.permutations([*parts[:4], *parts[4]])
        if len(parts[4]) == 4
        else strategies.just([*parts[:4], *parts[4]])
    )
)
PEOPLE_CALLS = strategies.lists(
    strategies.one_of(
        ODD,
        strategies.sampled_from(
            [
                "config",
                "check",
                "show",
                "schema",
                "plan",
                "runs",
                "version",
                "config.yaml",
                "--json",
                "--transfer",
                "--status",
                "--limit",
                "7",
                "20240310",
                "truncate",
                "dem",
            ]
        ),
    ),
    max_size=7,
)
CUTS = strategies.lists(
    strategies.tuples(
        strategies.integers(0, len(corpus_kit.CONFIG)),
        strategies.integers(0, 30),
        strategies.one_of(
            ODD,
            strategies.sampled_from(
                [
                    "\n",
                    "  ",
                    "\t",
                    ": ",
                    "- ",
                    "{",
                    "}",
                    "[",
                    "]",
                    "&a ",
                    "*a",
                    "<<: *a",
                    "!!int ",
                    "|\n",
                    ">\n",
                    "'",
                    '"',
                    "#",
                    "---\n",
                    "?",
                    ",",
                    "${",
                    "}",
                    "${secret:x}",
                    "~",
                    "1e999",
                    "0x7f",
                    "2024-02-30",
                    "yes",
                    ".inf",
                    "key: ",
                    "transfers:\n",
                    "null",
                ]
            ),
        ),
    ),
    min_size=1,
    max_size=5,
)


@pytest.fixture
def folder(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """A folder to be in, with a good config."""
    (tmp_path / "config.yaml").write_text(corpus_kit.CONFIG, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CORPUS_PASSWORD", corpus_kit.SECRET)
    monkeypatch.delenv("TMG_ETL_CONFIG", raising=False)
    return tmp_path


def _require_orderly(main, argv: list[str]) -> str:
    """Run a command; return what it printed."""
    with (
        contextlib.redirect_stdout(io.StringIO()) as out,
        contextlib.redirect_stderr(io.StringIO()) as err,
    ):
        code = main(argv)
    everything = out.getvalue() + err.getvalue()
    assert code in _CODES, everything
    assert "Traceback" not in everything
    assert corpus_kit.SECRET not in everything
    if code:
        assert err.getvalue().strip()
    return everything


@QUICK
@hypothesis.given(argv=PIPELINE_CALLS)
def test_any_call_of_pipeline(folder: pathlib.Path, argv: list[str]) -> None:
    _require_orderly(pipeline.main, argv)


@QUICK
@hypothesis.given(argv=PEOPLE_CALLS)
def test_any_call_of_the_people_s_command(folder: pathlib.Path, argv: list[str]) -> None:
    _require_orderly(people.main, argv)


@QUICK
@hypothesis.given(cuts=CUTS)
def test_any_config_that_was_edited_by_a_cat(
    folder: pathlib.Path, cuts: list[tuple[int, int, str]]
) -> None:
    text = corpus_kit.CONFIG
    for at, length, put in cuts:
        text = text[:at] + put + text[at + length :]
    path = folder / "edited.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    _require_orderly(people.main, ["config", "check", str(path)])
    _require_orderly(people.main, ["config", "show", str(path)])
