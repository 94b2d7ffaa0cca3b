"""Why a proof failed: the altered column is named where it can be found."""

import pathlib
from collections.abc import Iterator, Sequence

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
    target: base.Target,
    again: alteration.Again,
    sent: base.Fingerprint | None = None,
    key: Sequence[str] = ("id",),
) -> errors.VerificationError:
    sent = sent or sent_by(target, ROWS)
    held = verify.prove(target, kit.SHADOW, ROWS.schema, base.Selection(), "fingerprint")
    with (
        pytest.raises(errors.VerificationError) as caught,
        alteration.named(target, kit.SHADOW, ROWS.schema, key, sent, again),
    ):
        verify.require_equal("t", sent, held)
    assert (caught.value.expected, caught.value.found) == (sent, held)
    return caught.value


def test_the_column_is_named_with_a_row_and_its_values(target: target_module.SQLiteTarget) -> None:
    target.run(f"UPDATE {target.quote(kit.SHADOW)} SET name = upper(name) WHERE id > 1")
    error = failure(target, lambda: iter([ROWS]))
    assert error.reason == "the column 'name' (string) did not keep what was sent"
    assert error.row == "in the row (id='2') 'name' 'b' became 'B'"


def test_values_that_changed_places_have_no_column(target: target_module.SQLiteTarget) -> None:
    other = "CASE name WHEN 'a' THEN 'b' WHEN 'b' THEN 'a' ELSE name END"
    target.run(f"UPDATE {target.quote(kit.SHADOW)} SET name = {other}")
    error = failure(target, lambda: iter([ROWS]))
    assert (error.reason, error.row) == ("", "in the row (id='1') 'name' 'a' became 'b'")


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
        alteration.named(target, kit.SHADOW, ROWS.schema, ["id"], sent, stopped),
    ):
        raise errors.VerificationError("t", expected=sent, found=None)


def test_too_many_rows_are_named_without_an_example(
    target: target_module.SQLiteTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alteration, "_HELD_ROWS", 1)
    target.run(f"UPDATE {target.quote(kit.SHADOW)} SET note = 'X' WHERE note = 'x'")
    error = failure(target, lambda: iter([ROWS]))
    assert error.reason == "the column 'note' (string) did not keep what was sent"
    assert error.row == ""
