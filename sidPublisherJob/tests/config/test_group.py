"""Publish groups: who is in which, and what members must agree on."""

import pytest

from tmg_etl import errors

CONNECTIONS = """\
connections:
  lake: {type: files, url: lake/}
  serving: {type: duckdb, url: "duckdb:///serving.duckdb"}
  other: {type: postgres, url: "postgresql://localhost/other"}
transfers:
"""


def transfer(name, *, table=None, connection="serving", group="nightly", more=""):
    return (
        f"  {name}:\n"
        f"    source: {{connection: lake, table: {name}}}\n"
        f"    target: {{connection: {connection}, table: {table or name}}}\n"
        f"    publish_group: {group}\n{more}"
    )


def test_groups_have_their_members_as_declared(load):
    config = load(
        CONNECTIONS
        + transfer("z")
        + transfer("b", group="hourly")
        + transfer("alone", group="null")
        + transfer("a")
    )
    assert {name: [m.name for m in members] for name, members in config.groups.items()} == {
        "nightly": ["z", "a"],
        "hourly": ["b"],
    }
    assert list(config.groups) == ["nightly", "hourly"]
    assert config.group_of("a") == "nightly"
    assert config.group_of("alone") is None
    with pytest.raises(errors.ConfigError, match="found no transfer 'nightly2'.*`nightly`"):
        config.group_of("nightly2")


def test_one_schedule_serves_a_group_and_may_be_said_twice(load):
    more = '    schedule: "1 2 * * *"\n'
    config = load(CONNECTIONS + transfer("a") + transfer("b", more=more) + transfer("c", more=more))
    assert len(config.groups["nightly"]) == 3


def test_policy_of_a_group_is_that_of_all_its_members(load):
    config = load(CONNECTIONS + transfer("a") + transfer("b") + transfer("c", group="null"))
    changed = config.with_policy("nightly", verify="count", lock_wait_s=None)
    assert [t.verify for t in changed.transfers.values()] == ["count", "count", "fingerprint"]
    assert changed.digest == config.digest


def test_tables_that_differ_in_case_are_two_where_the_database_says_so(load):
    pair = [transfer("a", connection="other"), transfer("b", table="A", connection="other")]
    assert len(load(CONNECTIONS + "".join(pair)).groups["nightly"]) == 2


@pytest.mark.parametrize(
    ("transfers", "where", "fragments"),
    [
        pytest.param(
            [transfer("a"), transfer("b", connection="other")],
            "transfers.b.target.connection",
            ["found the connection 'other'", "expected 'serving'", "'nightly'"],
            id="another connection",
        ),
        pytest.param(
            [transfer("a"), transfer("b", table="A")],
            "transfers.b.target.table",
            ["found the table 'A'", "'a' of the group 'nightly'"],
            id="one table twice",
        ),
        pytest.param(
            [
                transfer("a", more='    schedule: "1 2 * * *"\n'),
                transfer("b", more='    schedule: "1 3 * * *"\n'),
            ],
            "transfers.b.schedule",
            ["found the schedule '1 3 * * *'", "expected '1 2 * * *'", "'a'"],
            id="two schedules",
        ),
        pytest.param(
            [transfer("a", more="    keep_previous: 24h\n"), transfer("b")],
            "transfers.b.keep_previous",
            ["found `keep_previous: null`, expected 24h", "'a' of the group 'nightly'"],
            id="one kept only",
        ),
        pytest.param(
            [transfer("a"), transfer("nightly", group="null")],
            "transfers.a.publish_group",
            ["found the group 'nightly'", "a transfer's name too", "rename"],
            id="name of a transfer",
        ),
        pytest.param(
            [transfer("a", group='" "')],
            "transfers.a.publish_group",
            ["outer spaces", "choose another name"],
            id="no name",
        ),
        pytest.param(
            [transfer("a", group="x" * 201)],
            "transfers.a.publish_group",
            ["201 characters, expected 1 to 200"],
            id="long name",
        ),
        pytest.param(
            [transfer(f"t{number}") for number in range(51)],
            "transfers.t50.publish_group",
            ["found 51 transfers", "at most 50"],
            id="too many",
        ),
    ],
)
def test_group_that_cannot_be_published_in_one_step_is_refused(load, transfers, where, fragments):
    with pytest.raises(errors.ConfigError) as caught:
        load(CONNECTIONS + "".join(transfers))
    assert where in str(caught.value)
    for fragment in fragments:
        assert fragment in str(caught.value)
