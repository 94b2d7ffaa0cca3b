"""The agent dimension: derived from facts, keys that never change."""

from __future__ import annotations

import datetime

import pyarrow as pa

from sid_dim_agent import agent


def day(number: int) -> datetime.date:
    return datetime.date(2013, 1, number)


def facts(*rows: tuple[str, str, datetime.date]) -> pa.RecordBatch:
    columns = list(zip(*rows, strict=True))
    return pa.record_batch(
        [pa.array(columns[0]), pa.array(columns[1]), pa.array(columns[2], pa.date32())],
        names=list(agent.FACTS),
    )


def test_facts_of_all_batches_are_combined() -> None:
    batches = [
        facts(("UA", "EWR", day(2)), ("AA", "JFK", day(1)), ("UA", "EWR", day(1))),
        facts(("UA", "EWR", day(3)), ("UA", "LGA", day(3))),
    ]
    assert agent.derive(batches, day(31)) == [
        agent.Agent("AA", "JFK", day(1), day(1), 1),
        agent.Agent("UA", "EWR", day(1), day(3), 3),
        agent.Agent("UA", "LGA", day(3), day(3), 1),
    ]


def test_flights_after_the_execution_date_do_not_count() -> None:
    batches = [facts(("UA", "EWR", day(1)), ("UA", "EWR", day(2)), ("AA", "JFK", day(2)))]
    assert agent.derive(batches, day(1)) == [agent.Agent("UA", "EWR", day(1), day(1), 1)]
    assert agent.derive([], day(1)) == []


def test_keys_are_kept_and_new_agents_get_the_next_ones() -> None:
    known = agent.Agent("UA", "EWR", day(1), day(1), 1)
    grown = agent.Agent("UA", "EWR", day(1), day(2), 2)
    new = agent.Agent("AA", "JFK", day(2), day(2), 1)
    table = agent.merge([new, grown], [(7, known)], day(2))
    assert table.select(["agent_key", "carrier", "flights"]).to_pylist() == [
        {"agent_key": 7, "carrier": "UA", "flights": 2},
        {"agent_key": 8, "carrier": "AA", "flights": 1},
    ]


def test_merging_again_changes_nothing() -> None:
    agents = [
        agent.Agent("AA", "JFK", day(2), day(2), 1),
        agent.Agent("UA", "EWR", day(1), day(1), 1),
    ]
    first = agent.merge(agents, [], day(2))
    rows = first.drop_columns(["is_active"]).to_pylist()
    published = [(row.pop("agent_key"), agent.Agent(**row)) for row in rows]
    assert agent.merge(agents, published, day(2)).equals(first)


def test_an_agent_that_left_keeps_its_row_and_is_not_active() -> None:
    gone = agent.Agent("UA", "EWR", day(1), day(1), 1)
    (row,) = agent.merge([], [(3, gone)], datetime.date(2013, 3, 1)).to_pylist()
    assert (row["agent_key"], row["is_active"]) == (3, False)
