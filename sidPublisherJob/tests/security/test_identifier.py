"""Names and values are data: published as they are, or refused, and never executed."""

from __future__ import annotations

import hypothesis
import pytest
from hypothesis import strategies

from tests.security import conftest
from tmg_etl.cli import people

ODD = [
    'a"b',
    "a'b",
    "a`b",
    "a\\b",
    "a\\",
    "a;b",
    "a b",
    " a",
    "a--b",
    "/*a*/",
    "#a",
    "a%b",
    "%s",
    "%(id)s",
    ":name",
    "a{}b",
    "{0}",
    "${a}",
    "select",
    "order",
    "été_Ünï_名",
    "😀",
    'x"; DROP TABLE t; --',
    "x`; DROP TABLE t; --",
    "x'); DROP TABLE t; --",
    "a.b",
    "[a]",
    "a\nb",
    "a\tb",
    "a\0b",
    "x" * 63,
    "x" * 64,
    "ü" * 40,
    "x" * 300,
    "_tmg_shadow_1",
]
NAMES = strategies.one_of(
    strategies.sampled_from(ODD),
    strategies.text(
        strategies.one_of(
            strategies.sampled_from("\"'`;\\%:{}[]().-/*#$ \n\0"), strategies.characters()
        ),
        min_size=1,
        max_size=20,
    ),
)
VALUES = strategies.lists(
    strategies.one_of(NAMES, strategies.sampled_from(["\\N", "", "NULL", "\\.", "a\\\n", "\x1a"])),
    min_size=1,
    max_size=4,
)


def quoted(field: conftest.Field, name: str) -> str:
    """A name as SQL, by rules of the test's own."""
    mark = field.place.quote
    return f"{mark}{name.replace(mark, mark * 2)}{mark}"


def publish_and_look(
    field: conftest.Field, table: str, column: str, index: str, transfer: str, values: list[str]
) -> bool:
    """Publish by truncate, then delta; return whether both did, after looking at everything."""
    rows = {"id": list(range(len(values))), "day": ["20240310"] * len(values), column: values}
    more = {"key": ["id"], "delta": {"cursor": "day"}, "transfer": transfer}
    indexes = [{"name": index, "columns": ["id"]}]
    was_published = False
    for mode in ("truncate", "delta"):
        code, printed = field.publish(table, rows, mode, indexes=indexes, **more)
        if code == 0:
            was_published = True
            select = f"SELECT id, {quoted(field, column)} FROM {quoted(field, table)}"
            assert sorted(field.place.sql(select)) == list(enumerate(values))
        else:
            field.require_refused(code, printed)
            assert not was_published, printed
        field.require_canary()
    return was_published


@pytest.mark.parametrize("kind", conftest.PLACES)
@pytest.mark.parametrize("name", ODD)
def test_odd_name_of_everything(field: conftest.Field, name: str) -> None:
    """The table, a column, an index and the transfer are called so, and a value reads so."""
    publish_and_look(field, name, name, f"i{name}", name, [name, "plain"])


@pytest.mark.parametrize("kind", conftest.PLACES)
@hypothesis.settings(
    max_examples=10,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(hypothesis.HealthCheck),
)
@hypothesis.given(table=NAMES, column=NAMES, index=NAMES, transfer=NAMES, values=VALUES)
def test_any_names(
    field: conftest.Field, table: str, column: str, index: str, transfer: str, values: list[str]
) -> None:
    hypothesis.assume(table.lower() != "t" and column.lower() not in ("id", "day"))
    if publish_and_look(field, table, column, index, transfer, values):
        field.place.sql(f"DROP TABLE {quoted(field, table)}")


@pytest.mark.parametrize("kind", conftest.PLACES)
@pytest.mark.parametrize("column", ["😀", "x" * 65, "ü" * 64, "a\0"])
def test_odd_name_of_a_column_alone(field: conftest.Field, column: str) -> None:
    publish_and_look(field, "new", column, "i", "dim", ["x"])


@pytest.mark.parametrize("kind", ["sqlite"])
@pytest.mark.parametrize("name", ["'; DROP TABLE tmg_etl_run; --", "%", "_", "a:b", "{}", "😀"])
def test_ledger_is_asked_for_a_name_as_it_is(
    field: conftest.Field, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, printed = field.publish("new", {"id": [1]}, transfer=name)
    assert code == 0, printed
    config = str(field.folder / "config.yaml")
    capsys.readouterr()
    assert people.main(["runs", config, "--transfer", name]) == 0
    assert name in capsys.readouterr().out
    assert people.main(["runs", config, "--transfer", "nobody' OR '1'='1"]) == 78
    assert name not in capsys.readouterr().out
