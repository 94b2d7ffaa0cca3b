"""What others make of a table, its columns and indexes, is not undone by a full refresh."""
# ruff: noqa: D102 - a test's name says what it checks

from __future__ import annotations

from typing import ClassVar

import pytest

from tmg_etl import errors
from tmg_etl import run as run_module
from tmg_etl.connectors import base
from tmg_etl.testing.conformance import profile as profile_module
from tmg_etl.testing.conformance import publication
from tmg_etl.testing.conformance.row import held, numbered

_NAMES = run_module.TemporaryNames("20240310000000aaaaaaaaaaaa")


class AlterationConformance:
    """What somebody else added stays; a definition that changed meanwhile stops every swap."""

    profile: ClassVar[type[profile_module.SqlPlace]]

    @pytest.fixture
    def target(self, target_place: profile_module.SqlPlace) -> publication.Publication:
        """Return a table of two rows."""
        target = publication.Publication(target_place, publication.new_name())
        target.publish(numbered(1, 2))
        return target

    def test_a_run_ends_with_a_code_that_is_retried(
        self, target: publication.Publication, target_place: profile_module.SqlPlace
    ) -> None:
        table = target_place.quote(target.table)
        fault = publication.Fault(
            "finish_load",
            lambda *_: target_place.execute(f"ALTER TABLE {table} ADD extra int DEFAULT 7"),
        )
        outcome = target.run(numbered(5), publish="swap", fault=fault)
        assert isinstance(outcome.error, errors.AlteredError)
        assert outcome.exit_code == errors.EXIT_TEMPORARY
        assert "was altered by somebody else during the run" in str(outcome.error)
        found = target_place.query(f"SELECT id, name, extra FROM {table} ORDER BY id")
        assert found == [(1, "n1", 7), (2, "n2", 7)]
        assert target.leftovers() == set()

    def test_what_others_write_into_a_column_of_their_own_stays(
        self, target: publication.Publication, target_place: profile_module.SqlPlace
    ) -> None:
        table = target_place.quote(target.table)
        target_place.execute(f"ALTER TABLE {table} ADD status varchar(9) DEFAULT 'new'")
        target_place.execute(f"UPDATE {table} SET status = 'done' WHERE id = 1")
        written = f"SELECT id, status FROM {table} ORDER BY id"
        # An index that is missing is a reason for a swap.
        wanted = {"indexes": [{"name": f"new_{target.table}", "columns": ["id"]}]}
        assert target.publish(numbered(1, 3), **wanted).publish == "diff"
        assert target_place.query(written) == [(1, "done"), (3, "new")]
        for asked in ({"publish": "swap"}, {"keep_previous": "1h"}):
            error = target.refuse(numbered(1), errors.ConfigError, **asked)
            assert "would reset the column 'status', which the source lacks" in str(error)
            assert "`reset: [status]`" in str(error)
        assert target.publish(numbered(1, 3), reset=["status"]).publish == "swap"
        assert target_place.query(written) == [(1, "new"), (3, "new")]

    @pytest.mark.parametrize("step", ["swap", "keep", "group", "rollback"])
    def test_an_index_stays(
        self, target: publication.Publication, target_place: profile_module.SqlPlace, step: str
    ) -> None:
        if step == "rollback":
            assert target.run(numbered(1, 2), publish="swap", keep_previous="1h").exit_code == 0
        index, table = f"by_id_{target.table}", target_place.quote(target.table)
        with target.opened() as opened, opened.lock("somebody", 0):
            exchanges = _exchanges(opened, step)
            target_place.execute(f"CREATE INDEX {index} ON {table} (id)")
            with pytest.raises(errors.AlteredError, match=target.table):
                opened.swap_together(exchanges, _NAMES)
            for one in exchanges:
                one.target.disown(one.shadow)
                one.target.drop(one.shadow)
        with target.opened() as opened:
            described = opened.describe()
        assert described is not None
        assert index in described.indexes
        assert held(target) == [(1, "n1"), (2, "n2")]
        assert target.leftovers() == set()


def _exchanges(opened: base.Target, step: str) -> list[base.Exchange]:
    """Return a table and what is to take its place: an empty copy, or what it replaced."""
    if step == "rollback":
        (kept,) = opened.kept(_NAMES)
        opened.adopt(kept)
        return [base.Exchange(opened, kept)]
    shadow = _NAMES.table("shadow", opened.table)
    opened.create_shadow(shadow, [])
    opened.finish_load(shadow, ["id"])
    keep = _NAMES.table("prev", opened.table) if step == "keep" else None
    exchanges = [base.Exchange(opened, shadow, keep)]
    if step == "group":
        other = opened.beside(publication.new_name())
        another = _NAMES.table("shadow", other.table)
        other.create(another, numbered(1).schema, ["id"], [])
        other.finish_load(another, ["id"])
        exchanges.append(base.Exchange(other, another))
    return exchanges
