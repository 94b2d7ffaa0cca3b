"""Servers: whatever belongs to a table stays with it, and its readers notice nothing."""
# ruff: noqa: D102 - a test's name says what it checks

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import ClassVar, cast

import pyarrow as pa
import pytest

from tmg_etl import errors
from tmg_etl.testing.conformance import profile, publication, suite
from tmg_etl.testing.conformance.row import held, numbered

_MILLION = 1_000_000


@dataclasses.dataclass(frozen=True)
class Kept:
    """Something that belongs to a table; ``{table}`` stands for its name.

    Attributes:
        setup: statements that make it.
        facts: query whose rows must be the same after a publish.
        reads: query that must give the `id` of every published row; None when there is none.
        may_block_swap: a swap may refuse the table because of it; `publish: auto` may not.
        columns: names of columns that it adds, which a swap is told to reset.
    """

    setup: tuple[str, ...]
    facts: str
    reads: str | None = None
    may_block_swap: bool = False
    columns: tuple[str, ...] = ()


class ServerPlace(profile.SqlPlace):
    """A place on a server, which has more to keep than rows."""

    #: What belongs to a table, by a word for it.
    kept: ClassVar[dict[str, Kept]]

    #: Statement that makes the column `name` of ``{table}`` hold five characters and no null.
    narrowed: ClassVar[str]

    #: Where it is, for `reader`.
    url: str


class ServerConformance(suite.TargetSuite):
    """A table keeps its identity, and is never seen half published."""

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Run a test once for each thing that a table keeps."""
        super().pytest_generate_tests(metafunc)
        if "kept" in metafunc.fixturenames and hasattr(self, "profile"):
            known = cast("type[ServerPlace]", self.profile).kept
            metafunc.parametrize("kept", list(known))

    @pytest.mark.parametrize("how", ["swap", "auto"])
    def test_a_publish_keeps(self, target: publication.Publication, kept: str, how: str) -> None:
        place = cast("ServerPlace", target.place)
        thing = place.kept[kept]
        target.publish(numbered(1, 2, 3))
        for statement in thing.setup:
            place.execute(statement.replace("{table}", target.table))
        facts = thing.facts.replace("{table}", target.table)
        before = _facts(place, facts)
        assert before, "the profile's own query finds nothing to keep"
        # The key 1 stays: another table may refer to it.
        rows, reset = numbered(1, 7, 8, 9, text="m"), thing.columns if how == "swap" else ()
        outcome = target.run(rows, publish=how, reset=list(reset))
        if thing.may_block_swap and how == "swap" and outcome.error is not None:
            assert isinstance(outcome.error, errors.ConfigError)
            assert held(target) == [(1, "n1"), (2, "n2"), (3, "n3")]
            return
        if outcome.error is not None:
            raise outcome.error
        assert _facts(place, facts) == before
        assert held(target) == [(1, "m1"), (7, "m7"), (8, "m8"), (9, "m9")]
        if thing.reads:
            found = place.query(thing.reads.replace("{table}", target.table))
            assert [row[0] for row in found] == [1, 7, 8, 9]
        assert target.leftovers() == set()

    def test_what_somebody_makes_during_a_swap_stays(
        self, target: publication.Publication, kept: str
    ) -> None:
        place = cast("ServerPlace", target.place)
        thing = place.kept[kept]
        target.publish(numbered(1, 2, 3))
        found: list[list[str]] = []

        def make(*_: object) -> None:
            for statement in thing.setup:
                place.execute(statement.replace("{table}", target.table))
            found.append(_facts(place, thing.facts.replace("{table}", target.table)))

        fault = publication.Fault("finish_load", make, is_after=True)
        outcome = target.run(numbered(1, 7, text="m"), publish="swap", fault=fault)
        # Grants belong to a name, or are handed over last: they keep no swap from its end.
        assert isinstance(outcome.error, errors.AlteredError | errors.ConfigError | None)
        assert isinstance(outcome.error, errors.ConfigError) <= thing.may_block_swap
        new, old = [(1, "m1"), (7, "m7")], [(1, "n1"), (2, "n2"), (3, "n3")]
        assert held(target) == (new if outcome.error is None else old)
        assert [_facts(place, thing.facts.replace("{table}", target.table))] == found
        assert target.leftovers() == set()

    @pytest.mark.parametrize("value", ["longer", None], ids=["longer", "null"])
    def test_a_value_that_does_not_fit_is_named(
        self, target: publication.Publication, publish: str, value: str | None
    ) -> None:
        place = cast("ServerPlace", target.place)
        target.publish(numbered(1, 2, 3))
        place.execute(place.narrowed.replace("{table}", target.table))
        rows = pa.table({"id": list(range(100, 112)), "name": ["fits"] * 10 + [value, "fits"]})
        error = target.refuse(rows, errors.ValueRejectedError, publish=publish)
        assert error.exit_code == errors.EXIT_DATA
        assert "110" in str(error)
        assert "'name'" in str(error)
        assert str(value).replace("None", "null") in str(error)

    @pytest.mark.slow
    def test_readers_see_the_old_rows_or_the_new_ones_and_never_wait(
        self, target: publication.Publication
    ) -> None:
        place = cast("ServerPlace", target.place)
        target.publish(_many(_MILLION), batch_rows=65_536)
        with _reading(place.url, target.table) as turns:
            while len(turns) < 3:
                time.sleep(0.05)
            before = len(turns)
            result = target.publish(_many(_MILLION - 1000), batch_rows=65_536)
            assert result.publish == "swap"
            during = len(turns)
            while len(turns) < during + 3:
                time.sleep(0.05)
        counts = [rows for _, rows, _ in turns]
        assert set(counts) == {_MILLION, _MILLION - 1000}
        assert counts == sorted(counts, reverse=True)
        assert during >= before + 3
        assert max(one_row_s for one_row_s, _, _ in turns) < 1
        # Counting a million rows is work of its own, which a busy machine makes longer: every time,
        # and not once as waiting does.
        undisturbed_s = max(count_s for _, _, count_s in turns[:before])
        usual_s = statistics.median(count_s for _, _, count_s in turns[before:during])
        assert max(count_s for _, _, count_s in turns) < max(1, 4 * undisturbed_s, 4 * usual_s)


def _facts(place: ServerPlace, query: str) -> list[str]:
    # The next number of an auto-increment column is state, not definition.
    return sorted(re.sub(r"AUTO_INCREMENT=\d+ ?", "", repr(row)) for row in place.query(query))


def _many(rows: int) -> pa.Table:
    numbers = pa.array(range(rows), pa.int64())
    return pa.table({"id": numbers, "name": numbers.cast(pa.string())})


@contextlib.contextmanager
def _reading(url: str, table: str) -> Iterator[list[tuple[float, int, float]]]:
    """Yield a list that grows while another process reads the table in a loop."""
    import threading

    command = [sys.executable, "-m", "tmg_etl.testing.conformance.reader", url, table]
    turns: list[tuple[float, int, float]] = []
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        stdout = process.stdout
        assert stdout is not None
        listener = threading.Thread(
            target=lambda: turns.extend(tuple(json.loads(line)) for line in stdout)
        )
        listener.start()
        try:
            yield turns
        finally:
            process.stdin.close()
            listener.join(30)
    assert process.returncode == 0
