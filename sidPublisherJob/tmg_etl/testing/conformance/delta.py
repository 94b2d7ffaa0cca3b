"""Delta runs: tables with versions of keys on days, and runs that merge them."""

from __future__ import annotations

import datetime

import pyarrow as pa
import pytest

from tmg_etl import run as run_module
from tmg_etl.testing.conformance import profile, publication, suite

SCHEMA = pa.schema(
    [
        pa.field("id", pa.int64()),
        pa.field("day", pa.date32()),
        pa.field("version", pa.int64()),
        pa.field("name", pa.string()),
    ]
)
DAY = publication.DAY
Row = tuple[int, int, int | None, str]


def days(offset: int) -> datetime.date:
    """Return the day that many days after the execution date."""
    return DAY + datetime.timedelta(days=offset)


def rows_of(*rows: Row) -> pa.Table:
    """Return rows of (id, days after the execution date, version, name)."""
    return pa.Table.from_pylist(
        [
            {"id": key, "day": days(offset), "version": version, "name": name}
            for key, offset, version, name in rows
        ],
        schema=SCHEMA,
    )


def counts(result: run_module.Result) -> tuple[int | None, ...]:
    """Return rows inserted, updated, deleted and unchanged."""
    return (
        result.rows_inserted,
        result.rows_updated,
        result.rows_deleted,
        result.rows_unchanged,
    )


class Delta(publication.Publication):
    """A table that runs of mode delta merge into."""

    def merge(self, *rows: Row, **arguments: object) -> run_module.Result:
        """Execute one delta run that must succeed."""
        outcome = self.run(rows_of(*rows), mode="delta", **arguments)
        if outcome.error is not None:
            raise outcome.error
        assert outcome.cleanup_error is None, repr(outcome.cleanup_error)
        assert outcome.result.fingerprint_source == outcome.result.fingerprint_target
        assert self.leftovers() == set()
        return outcome.result

    @property
    def held(self) -> list[Row]:
        """Return the published rows as `_rows` takes them."""
        return [
            (row["id"], (row["day"] - DAY).days, row["version"], row["name"])  # type: ignore[operator, misc]
            for row in self.place.read(self.table, SCHEMA)
        ]


class DeltaSuite(suite.TargetSuite):
    """Base of the suites that run deltas."""

    #: `delta.strategy` of the runs.
    strategy = "upsert"

    @pytest.fixture
    def target(self, place: profile.TargetPlace) -> Delta:
        """Return a table that nobody has published to yet."""
        return Delta(
            place,
            publication.new_name(),
            delta={"cursor": "day", "order_by": ["version"], "strategy": self.strategy},
        )
