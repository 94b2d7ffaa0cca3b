"""What messages say, built from facts."""

from __future__ import annotations

import signal

from tmg_etl import errors


def test_a_stop_names_its_signal() -> None:
    assert str(errors.Stopped(signal.SIGINT)) == "stopped by SIGINT"
    assert str(errors.Stopped(0)) == "stopped by signal 0"


def test_a_wait_is_rounded() -> None:
    assert "waited 3 s;" in str(errors.LockBusyError("t", 2.99988))
    assert "waited 1.5 s;" in str(errors.LockBusyError("t", 1.5))


def test_a_table_beside_the_target_is_named_as_the_target() -> None:
    text = 'new row for "_tmg_shadow_e3b98a4da31a_202611301603074a9ae286393c" violates "t_check"'
    refused = errors.ConstraintError("t", errors.Constraint.CHECK, text, key={"id": 2})
    assert str(refused) == (
        "t: the row (id='2') was refused, a check constraint: new row for \"t\" violates"
        ' "t_check"; the target is unchanged; correct the source or the constraint'
    )
    other = errors.ValueRejectedError("t", column="v", value=1, reason=text)
    assert "_tmg_" not in str(other)
    assert str(other).endswith("; the target is unchanged; correct the value at its source")
