"""Whatever the text, loading ends with a config or with one line."""

import contextlib

import hypothesis
import pytest
import yaml
from hypothesis import strategies

from tmg_etl import errors
from tmg_etl.config import cron, loader, place, tree

WORDS = [
    "connections",
    "transfers",
    "ledger",
    "defaults",
    "environments",
    "local",
    "source",
    "type",
    "files",
    "mysql",
    "url",
    "table",
    "key",
    "verify",
    "schema",
    "${A}",
    "${",
    "$$",
    "off",
    "<<",
    "mysql://u:p@h/d",
    "1",
    "1.5",
    "2013-01-01",
    "null",
    "x",
]
SCALARS = strategies.one_of(
    strategies.none(),
    strategies.booleans(),
    strategies.integers(),
    strategies.floats(),
    strategies.dates(),
    strategies.binary(max_size=4),
    strategies.sampled_from(WORDS),
    strategies.text(max_size=8),
)
VALUES = strategies.recursive(
    SCALARS,
    lambda below: strategies.one_of(
        strategies.lists(below, max_size=3),
        strategies.dictionaries(
            strategies.one_of(strategies.sampled_from(WORDS), SCALARS.filter(lambda x: x == x)),
            below,
            max_size=4,
        ),
    ),
    max_leaves=20,
)
FRAGMENTS = strategies.lists(
    strategies.sampled_from(
        [
            *WORDS,
            ": ",
            "\n",
            "  ",
            "- ",
            "{",
            "}",
            "[",
            "]",
            "&a ",
            "*a",
            "!!x ",
            "'",
            '"',
            "#",
            "|",
            ">",
            "---",
            "\t",
            "%",
            "@",
            "? ",
            ",",
            "\x00",
            "\ud800",
            "é",
        ]
    ),
    max_size=30,
).map("".join)


@pytest.fixture
def opened(monkeypatch):
    """Return a dict whose entry `text` is what `memory://` holds."""
    held: dict[str, bytes] = {}
    monkeypatch.setitem(place.OPENERS, "memory", lambda location: (held["text"], location))
    return held


QUICK = hypothesis.settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[
        hypothesis.HealthCheck.function_scoped_fixture,
        hypothesis.HealthCheck.too_slow,
    ],
)


def load_any(opened, data: bytes) -> None:
    opened["text"] = data
    message = ""
    try:
        loader.load("memory://x", environ={"A": "a"})
    except errors.ConfigError as error:
        message = str(error)
    assert "\n" not in message
    assert not message or message.startswith("memory://x")


@QUICK
@hypothesis.given(
    data=strategies.one_of(
        strategies.binary(max_size=60),
        strategies.text().map(lambda text: text.encode("utf-8", "surrogatepass")),
    )
)
def test_random_bytes(opened, data):
    load_any(opened, data)


@QUICK
@hypothesis.given(text=FRAGMENTS)
def test_random_yaml_like_text(opened, text):
    load_any(opened, text.encode("utf-8", "surrogatepass"))


@QUICK
@hypothesis.given(value=VALUES)
def test_random_values(opened, value):
    load_any(opened, yaml.safe_dump(value, allow_unicode=True).encode("utf-8", "surrogatepass"))


@QUICK
@hypothesis.given(
    value=VALUES,
    name=strategies.sampled_from(
        ["connections", "transfers", "ledger", "defaults", "environments", "packages"]
    ),
)
def test_random_sections(opened, value, name):
    text = yaml.safe_dump({name: {"a": value, "local": value}, "ledger": value})
    load_any(opened, text.encode("utf-8", "surrogatepass"))


@QUICK
@hypothesis.given(value=strategies.dictionaries(strategies.sampled_from("abc"), VALUES))
def test_tree_reads_what_yaml_reads(value):
    text = yaml.safe_dump(value)
    with contextlib.suppress(tree.InvalidError):  # keys that are not text
        node = tree.parse(text)
        assert node is not None
        assert repr(node.plain()) == repr(yaml.safe_load(text))


@hypothesis.given(text=strategies.text(alphabet="0123456789*/,- janMON?L#@", max_size=20))
def test_random_schedules(text):
    with contextlib.suppress(ValueError):
        cron.check(text)


@pytest.mark.parametrize(
    "schedule",
    [
        "* * * * *",
        "17 4 * * *",
        "H 4 * * *",
        "*/15 0-6,22-23 1,15 jan-mar MON-FRI",
        "0 0 31 12 0",
        "0-59/2 * * * 6",
    ],
)
def test_good_schedules(schedule):
    cron.check(schedule)


@pytest.mark.parametrize(
    "schedule",
    [
        "",
        "@daily",
        "60 * * * *",
        "* 24 * * *",
        "* * 0 * *",
        "* * * 13 *",
        "* * * * 7",
        "*/0 * * * *",
        "5-1 * * * *",
        "1,,2 * * * *",
        "a * * * *",
        "* * * * * *",
        "-1 * * * *",
        "1- * * * *",
        "٣ * * * *",
    ],
)
def test_bad_schedules(schedule):
    with pytest.raises(ValueError, match=r"fields|field|in the"):
        cron.check(schedule)
