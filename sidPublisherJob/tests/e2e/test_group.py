"""The command `pipeline` with a group's name: what it publishes, writes down and says."""

from __future__ import annotations

import json
import pathlib

import pyarrow as pa
import pytest

from tests.e2e import group_kit
from tests.e2e import place as place_module
from tests.e2e.plan_kit import row
from tmg_etl import connectors, errors
from tmg_etl.connectors import memory
from tmg_etl.transfer import pipeline

FIRST = {"facts": [row(1), row(2)], "dims": [row(11)]}
SECOND = {"facts": [row(1), row(3)], "dims": [row(12), row(13)]}


@pytest.fixture
def shop(
    tmp_path: pathlib.Path, place: place_module.Place, empty_ledger: pathlib.Path
) -> group_kit.Shop:
    """A group in each kind of target in turn, published once."""
    made = group_kit.Shop(tmp_path / "shop", place, empty_ledger)
    made.declare()
    made.fill(**FIRST)
    made.publish()
    return made


@pytest.fixture
def local(tmp_path: pathlib.Path, empty_ledger: pathlib.Path) -> group_kit.Shop:
    """The same in a SQLite file only, for what is no matter of databases."""
    place = place_module.SQLite(tmp_path)
    made = group_kit.Shop(tmp_path / "shop", place, empty_ledger)
    made.declare()
    made.fill(**FIRST)
    made.publish()
    return made


def test_each_member_has_a_row_in_the_ledger(
    shop: group_kit.Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    shop.fill(**SECOND)
    assert shop.run() == 0
    assert shop.both() == ([1, 3], [12, 13])
    said = json.loads(capsys.readouterr().out)
    assert (said["group"], said["status"], said["exit_code"]) == ("nightly", "succeeded", 0)
    assert (said["rows_inserted"], said["rows_deleted"]) == (4, 3)
    assert [member["transfer"] for member in said["members"]] == ["facts", "dims"]
    facts, dims = shop.runs("facts")[0], shop.runs("dims")[0]
    assert [one.status for one in (facts, dims)] == ["succeeded", "succeeded"]
    assert facts.id == said["run_id"] != dims.id
    assert facts.publish == dims.publish == "swap"
    assert facts.rows_inserted == dims.rows_inserted == 2
    assert shop.leftovers() == []


def test_the_row_of_who_did_not_fail_says_who_did(shop: group_kit.Shop) -> None:
    shop.fill(facts=[row(7)], dims=[row(8), row(8, name="other")])
    assert shop.run() == 65
    assert shop.both() == ([1, 2], [11])
    facts, dims = shop.runs("facts")[0], shop.runs("dims")[0]
    assert [one.exit_code for one in (facts, dims)] == [65, 65]
    assert "the key (id='8') occurs more than once" in str(dims.error)
    assert "nothing of the group nightly was published: dims" in str(facts.error)
    assert shop.leftovers() == []


@pytest.mark.parametrize("mode", ["truncate", "delta"])
def test_the_row_that_a_member_is_refused_for_is_named(shop: group_kit.Shop, mode: str) -> None:
    """Its parents are in the same group, and new themselves: it is looked for among them."""
    columns = "day date, version bigint, amount double precision, name varchar(20), gone bigint"
    shop.place.sql(
        "DROP TABLE facts",
        "DROP TABLE dims",
        f"CREATE TABLE dims (id bigint NOT NULL PRIMARY KEY, {columns})",
        f"CREATE TABLE facts (id bigint NOT NULL PRIMARY KEY, {columns}, CHECK (version < 90),"
        " FOREIGN KEY (gone) REFERENCES dims (id))",
        "INSERT INTO dims (id) VALUES (1)",
    )
    shop.declare(*(["delta: {cursor: day}"] * 2))
    dims = [row(number) for number in (range(1, 9) if shop.place.kind != "duckdb" else [1])]
    facts = [row(number, gone=1 + number % len(dims)) for number in range(20)]
    shop.fill(facts=[*facts, row(20, version=91, gone=1)], dims=dims)
    said = str(shop.outcome(mode).error)
    assert "facts: the row (id='20') was refused, a check constraint: " in said
    shop.fill(facts=[*facts, row(20, gone=77)])
    error = shop.outcome(mode).error
    assert "facts: the row (id='20') was refused, a foreign key: " in str(error)
    assert shop.runs("facts")[0].error == str(error)
    assert "nothing of the group nightly was published: facts" in str(shop.runs("dims")[0].error)
    assert shop.both() == ([], [1])
    assert shop.leftovers() == []


def test_a_member_may_be_read_by_another_one(shop: group_kit.Shop) -> None:
    """It is read as it was before the step, and does not keep it from being replaced."""
    text = shop.path.read_text()
    declared = "{connection: lake, table: dims}"
    assert declared in text
    query = '{connection: serving, query: "SELECT * FROM facts"}'
    shop.path.write_text(text.replace(declared, query))
    shop.fill(**SECOND)
    shop.publish()
    assert shop.both() == ([1, 3], [1, 2])
    shop.publish()
    assert shop.both() == ([1, 3], [1, 3])


def test_who_never_began_has_a_row_too(local: group_kit.Shop) -> None:
    config = local.config
    serving = connectors.connect(config.connections["serving"], config.folder)
    with serving.open_target("dims") as target, target.lock("somebody", 0):
        assert local.run() == 75
    facts, dims = local.runs("facts")[0], local.runs("dims")[0]
    assert "is locked by run somebody" in str(dims.error)
    assert "nothing of the group nightly was published: dims" in str(facts.error)
    assert [one.exit_code for one in (facts, dims)] == [75, 75]


def test_the_text_names_every_table_below_the_group(
    local: group_kit.Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    assert local.run("truncate", "nightly", "--log-format", "text") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "nightly: 2 tables published in one step, truncate, 2013-01-02"
    assert [line for line in lines if not line.startswith(" ")][1:] == [
        "facts: published by swap, truncate, 2013-01-02",
        "dims: published by swap, truncate, 2013-01-02",
    ]
    assert sum(line.startswith("  time") for line in lines) == 1


def test_a_member_alone_is_refused(
    local: group_kit.Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    assert local.run(name="dims") == 78
    error = capsys.readouterr().err
    assert "dims is published with the group nightly" in error
    assert "run nightly instead of dims" in error
    before, _, _ = local.path.read_text().partition("  dims:\n")
    declared = before.count("\n") + 2
    assert f"{local.path}:{declared}:transfers.dims.publish_group: " in error
    assert len(local.runs("dims")) == 1


def test_options_of_the_command_are_for_all_members(local: group_kit.Shop) -> None:
    assert local.run("truncate", "nightly", "--verify", "count") == 0
    for name in group_kit.MEMBERS:
        assert local.runs(name)[0].fingerprint_target.endswith(" rows")  # type: ignore[union-attr]


def test_who_is_unchanged_is_left_alone(local: group_kit.Shop) -> None:
    local.declare("skip_unchanged: true", "skip_unchanged: true")
    local.publish()
    before = local.runs("dims")[0].id
    local.fill(facts=SECOND["facts"])
    local.publish()
    assert local.both() == ([1, 3], [11])
    assert local.runs("dims")[0].publish == "none"
    assert before in str(local.runs("dims")[0].publish_reason)
    assert local.runs("facts")[0].publish != "none"
    local.publish()
    assert [local.runs(name)[0].publish for name in group_kit.MEMBERS] == ["none", "none"]


class Derived(pipeline.TransferPipeline):
    """A member with a source of its own."""

    def open_source(self) -> memory.MemorySource:
        """Return one row."""
        with super().open_source() as table:
            first = next(iter(table.read(table.schema().names))).slice(0, 1)
        return memory.MemorySource(pa.Table.from_batches([first]), "the first row")


class Headstrong(pipeline.TransferPipeline):
    """A member that publishes by itself."""

    def pipeline(self) -> None:
        """Do something else."""


def test_a_member_may_have_a_source_of_its_own(local: group_kit.Shop) -> None:
    local.declare(f"pipeline: {__name__}:Derived")
    local.path.write_text(f"packages: [tests]\n{local.path.read_text()}")
    local.publish()
    assert local.both() == ([1], [11])


def test_a_member_that_publishes_by_itself_is_refused(local: group_kit.Shop) -> None:
    local.declare(f"pipeline: {__name__}:Headstrong")
    local.path.write_text(f"packages: [tests]\n{local.path.read_text()}")
    with pytest.raises(errors.ConfigError, match="Headstrong has its own `pipeline`"):
        local.outcome()


def test_a_system_that_publishes_each_table_alone_is_refused(local: group_kit.Shop) -> None:
    text = local.path.read_text()
    local.path.write_text(text.replace("connection: serving", "connection: lake"))
    outcome = local.outcome()
    assert outcome.exit_code == 78
    assert "publishes each table alone" in str(outcome.error)
    assert {one.exit_code for one in outcome.members.values()} == {78}
