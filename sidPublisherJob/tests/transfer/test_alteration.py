"""Why a proof failed: the altered column is named where it can be found."""

import pathlib
from collections.abc import Iterator

import pyarrow as pa
import pytest

from tests.connectors import embedded_kit
from tests.connectors import sqlite_kit as kit
from tmg_etl import errors, run
from tmg_etl.connectors import base
from tmg_etl.connectors.sqlite import target as target_module
from tmg_etl.transfer import alteration, encode, verify

ROWS = pa.record_batch({"id": [1, 2, 3], "name": ["a", "b", "c"], "note": ["x", "x", "y"]})


@pytest.fixture
def target(tmp_path: pathlib.Path) -> Iterator[target_module.SQLiteTarget]:
    """A target beside which `ROWS` are loaded."""
    with kit.opened(tmp_path / "s.db") as found:
        found.create(kit.SHADOW, ROWS.schema, ["id"], [])
        found.load(kit.SHADOW, embedded_kit.batch(ROWS), ["id"])
        found.finish_load(kit.SHADOW, ["id"])
        yield found


def sent_by(target: base.Target, *batches: pa.RecordBatch) -> base.Fingerprint:
    encoder = encode.Encoder(ROWS.schema, target.capabilities.text, hashes=True)
    for one in batches:
        encoder.add(one)
    return encoder.fingerprint


def failure(
    target: base.Target, again: alteration.Again, sent: base.Fingerprint | None = None
) -> errors.VerificationError:
    sent = sent or sent_by(target, ROWS)
    held = verify.prove(target, kit.SHADOW, ROWS.schema, base.Selection(), "fingerprint")
    with (
        pytest.raises(errors.VerificationError) as caught,
        alteration.named(target, kit.SHADOW, ROWS.schema, sent, again),
    ):
        verify.require_equal("t", sent, held)
    assert (caught.value.expected, caught.value.found) == (sent, held)
    return caught.value


def test_the_column_is_named_with_the_likest_value(target: target_module.SQLiteTarget) -> None:
    target.run(f"UPDATE {target.quote(kit.SHADOW)} SET name = upper(name) WHERE id > 1")
    reason = failure(target, lambda: iter([ROWS])).reason
    assert reason in {
        f"the column 'name' (string) did not keep what was sent: '{one}' became '{one.upper()}'"
        for one in "bc"
    }


def test_values_that_changed_places_have_no_column(target: target_module.SQLiteTarget) -> None:
    other = "CASE name WHEN 'a' THEN 'b' WHEN 'b' THEN 'a' ELSE name END"
    target.run(f"UPDATE {target.quote(kit.SHADOW)} SET name = {other}")
    assert failure(target, lambda: iter([ROWS])).reason == ""


def test_a_lost_row_is_no_altered_column(target: target_module.SQLiteTarget) -> None:
    target.run(f"DELETE FROM {target.quote(kit.SHADOW)} WHERE id = 1")
    error = failure(target, lambda: iter([ROWS]))
    assert "sent 3 rows" in str(error)
    assert "holds 2 rows" in str(error)


def test_a_source_that_has_changed_since_tells_nothing(target: target_module.SQLiteTarget) -> None:
    target.run(f"UPDATE {target.quote(kit.SHADOW)} SET name = 'z' WHERE id = 1")
    assert failure(target, lambda: iter([ROWS.slice(1)])).reason == ""


def test_a_source_that_is_away_hides_no_failure(target: target_module.SQLiteTarget) -> None:
    def away() -> Iterator[pa.RecordBatch]:
        raise errors.ConnectionLostError("it is away")

    target.run(f"UPDATE {target.quote(kit.SHADOW)} SET name = 'z' WHERE id = 1")
    assert failure(target, away).reason == ""


def test_a_stop_is_heard(target: target_module.SQLiteTarget) -> None:
    flag = run.StopFlag()
    flag.set(15)

    def stopped() -> Iterator[pa.RecordBatch]:
        flag.check()
        yield ROWS

    sent = sent_by(target, ROWS)
    with (
        pytest.raises(errors.Stopped),
        alteration.named(target, kit.SHADOW, ROWS.schema, sent, stopped),
    ):
        raise errors.VerificationError("t", expected=sent, found=None)


def test_values_that_both_sides_have_are_found_among_few(
    target: target_module.SQLiteTarget,
) -> None:
    target.run(f"UPDATE {target.quote(kit.SHADOW)} SET note = 'y' WHERE id = 1")
    target.run(f"UPDATE {target.quote(kit.SHADOW)} SET note = 'y' WHERE id = 2")
    reason = failure(target, lambda: iter([ROWS])).reason
    assert reason == "the column 'note' (string) did not keep what was sent: 'x' became 'y'"


def test_a_column_of_many_values_has_an_example_too(
    target: target_module.SQLiteTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alteration, "_HELD_VALUES", 1)
    target.run(f"UPDATE {target.quote(kit.SHADOW)} SET name = 'A' WHERE id = 1")
    reason = failure(target, lambda: iter([ROWS])).reason
    assert reason == "the column 'name' (string) did not keep what was sent: 'a' became 'A'"


def test_too_many_values_are_named_without_an_example(
    target: target_module.SQLiteTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alteration, "_HELD_VALUES", 0)
    monkeypatch.setattr(alteration, "_HELD_ROWS", 1)
    target.run(f"UPDATE {target.quote(kit.SHADOW)} SET note = 'X' WHERE note = 'x'")
    reason = failure(target, lambda: iter([ROWS])).reason
    assert reason == "the column 'note' (string) did not keep what was sent"
