"""The agent dimension, derived from flight facts, with surrogate keys that never change.

An agent is the crew that handles one carrier at one airport: call-centre screens show it, and other
tables refer to it by `agent_key`. No source has that table, so it is derived; and its keys must
survive every refresh, so what was published before is an input too. That is more than a declared
transfer can say, and the rest (load aside, prove, publish in one step) is inherited.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc

from tmg_etl.connectors import base, memory
from tmg_etl.transfer import pipeline

#: An agent without a flight for longer than this is not active any more. A guess: routes that pause
#: for a week or two come back under the same crew.
ACTIVE_DAYS = 30

#: Fact columns that the dimension is derived from.
FACTS = ("carrier", "origin", "flight_date")

SCHEMA = pa.schema(
    [
        pa.field("agent_key", pa.int64(), nullable=False),
        pa.field("carrier", pa.string(), nullable=False),
        pa.field("origin", pa.string(), nullable=False),
        pa.field("first_flight_date", pa.date32()),
        pa.field("last_flight_date", pa.date32()),
        pa.field("flights", pa.int64()),
        pa.field("is_active", pa.bool_()),
    ]
)


@dataclasses.dataclass(frozen=True)
class Agent:
    """One row of the dimension without its key.

    Attributes:
        carrier: IATA code of the airline.
        origin: IATA code of the airport.
        first_flight_date: day of the first flight handled.
        last_flight_date: day of the last one.
        flights: how many flights were handled.
    """

    carrier: str
    origin: str
    first_flight_date: datetime.date
    last_flight_date: datetime.date
    flights: int

    @property
    def identity(self) -> tuple[str, str]:
        """Return what makes it the same agent from day to day."""
        return self.carrier, self.origin


def derive(batches: Iterable[pa.RecordBatch], until: datetime.date) -> list[Agent]:
    """Return the agents that facts show, ordered by carrier and origin.

    Memory grows with the number of agents, not of facts.

    Args:
        batches: facts with the columns `FACTS`.
        until: later flights are left out, so that a run for a past day gives that day's table.
    """
    partial = []
    for batch in batches:
        known = batch.filter(pc.less_equal(batch.column("flight_date"), pa.scalar(until)))
        grouped = pa.Table.from_batches([known]).group_by(["carrier", "origin"])
        partial.append(
            grouped.aggregate(
                [("flight_date", "min"), ("flight_date", "max"), ("flight_date", "count")]
            )
        )
    if not partial:
        return []
    combined = (
        pa.concat_tables(partial)
        .group_by(["carrier", "origin"])
        .aggregate([("flight_date_min", "min"), ("flight_date_max", "max"),
                    ("flight_date_count", "sum")])
        .sort_by([("carrier", "ascending"), ("origin", "ascending")])
    )  # fmt: skip
    return [
        Agent(
            row["carrier"],
            row["origin"],
            row["flight_date_min_min"],
            row["flight_date_max_max"],
            row["flight_date_count_sum"],
        )
        for row in combined.to_pylist()
    ]


def merge(
    agents: list[Agent], published: list[tuple[int, Agent]], today: datetime.date
) -> pa.Table:
    """Return the whole dimension, ordered by key, with the columns `SCHEMA`.

    Agents that were published before keep their key; new ones get the next keys, in the order
    given. An agent that the facts no longer show keeps its row, because others refer to its key.

    Args:
        agents: what the facts show now.
        published: keys and rows of the dimension as it stands.
        today: the day that `is_active` is seen from.
    """
    keys = {agent.identity: key for key, agent in published}
    rows = {agent.identity: agent for _, agent in published}
    following = max(keys.values(), default=0) + 1
    for agent in agents:
        rows[agent.identity] = agent
        if agent.identity not in keys:
            keys[agent.identity] = following
            following += 1
    oldest = today - datetime.timedelta(days=ACTIVE_DAYS)
    return pa.Table.from_pylist(
        [
            {
                "agent_key": keys[identity],
                **dataclasses.asdict(agent),
                "is_active": agent.last_flight_date >= oldest,
            }
            for identity, agent in sorted(rows.items(), key=lambda item: keys[item[0]])
        ],
        schema=SCHEMA,
    )


class AgentPipeline(pipeline.TransferPipeline):
    """Publishes the agent dimension; the transfer's source is the flight facts."""

    def open_source(self) -> base.Source:
        """Return the dimension, derived from the facts and from what is published."""
        with super().open_source() as facts:
            agents = derive(facts.read(FACTS), self.run.execution_date)
            snapshot = facts.snapshot
            description = f"agents derived from {facts.description}"
        self.logger.info("%d agents in the facts", len(agents))
        table = merge(agents, self._published(), self.run.execution_date)
        return memory.MemorySource(table, description, snapshot)

    def _published(self) -> list[tuple[int, Agent]]:
        if self.target.describe() is None:
            return []
        names = [name for name in SCHEMA.names if name != "is_active"]
        batches = self.target.scan(self.target.table, names, base.Selection())
        return [
            (row.pop("agent_key"), Agent(**row)) for batch in batches for row in batch.to_pylist()
        ]
