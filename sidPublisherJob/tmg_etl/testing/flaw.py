"""Faults in the systems that a pipeline talks to, one at a time: errors, lost connections, room.

In this process, through connections of type ``flaky`` that stand before those of the config; what
`check.assert_crash_safe` does with kills, this does with what a pipeline can catch.
"""

from __future__ import annotations

import datetime
import pathlib
import tempfile
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING

from tmg_etl import errors
from tmg_etl import run as run_module
from tmg_etl.testing import state

if TYPE_CHECKING:
    from tmg_etl.config import model

#: What a run may answer to a fault, by the action of a flaky connection.
_CODES = {
    "raise": (errors.EXIT_OK, errors.EXIT_BUG),
    "cut": (errors.EXIT_OK, errors.EXIT_TEMPORARY),
    "full": (errors.EXIT_OK, errors.EXIT_TEMPORARY),
}


def assert_fault_safe(
    config: str | pathlib.Path,
    transfer: str,
    write_mode: str = "truncate",
    *,
    day: datetime.date,
    reset: Callable[[], None],
    start: datetime.date | None = None,
    env: str = "local",
    connections: Collection[str] | None = None,
    actions: Collection[str] = ("raise", "cut"),
) -> int:
    """Have each call to a connection fail in turn; return how many faults were injected.

    After each fault the exit code must tell the truth: 0 only if the target is what the run makes
    of it, else 70 for an unexpected error and 75 for a lost connection or a full disk, and the
    target what it was before or what the run makes of it. The next run must succeed, make the same
    of it, and leave nothing temporary.

    Args:
        config: path of the config.
        transfer: name in `transfers`.
        write_mode: truncate or delta.
        day: execution date.
        reset: puts the target into the state before the run; called before each run.
        start: `--delta_start_date`; None takes the execution date.
        env: environment of the config.
        connections: names of those that fail; None means the source's and the target's.
        actions: what happens to them: ``raise``, ``cut``, ``full``.
    """
    view = state.View(config, transfer, day, env)
    declared = view.config.transfer(transfer)
    names = connections or dict.fromkeys((declared.source.connection, declared.target.connection))

    def attempt(with_flaws: model.Config) -> run_module.Outcome:
        from tmg_etl.transfer import runner

        return runner.build(
            with_flaws,
            transfer,
            execution_date=day,
            delta_start_date=start,
            write_mode=run_module.WriteMode(write_mode),
        ).execute()

    reset()
    before = view.read()
    _require_success(attempt(view.config), "the run fails without a fault")
    after = view.read()
    injected = 0
    for name in names:
        for point in _points(view.config, name, attempt, reset):
            for action in actions:
                what = f"{action} at {point} of {name!r}"
                reset()
                outcome = attempt(flawed(view.config, name, {point: action}))
                _judge(outcome, view.read(), before, after, what, _CODES[action])
                again = attempt(view.config)
                _require_success(again, f"{what}: the next run failed")
                found = view.read_clean(f"{what}, and run again")
                changed = state.difference(after, found)
                assert found == after, f"{what}: the next run made something else: {changed}"
                injected += 1
    return injected


def flawed(
    config: model.Config,
    connection: str,
    faults: Mapping[str, str],
    record: pathlib.Path | None = None,
) -> model.Config:
    """Return a config in which one connection fails.

    Args:
        config: as loaded.
        connection: name of the one that fails.
        faults: action by point, as in a connection of type ``flaky``.
        record: file that the points are written to; None is nowhere.
    """
    from tmg_etl.config import model

    behind = f"{connection} (behind)"
    flaky = model.FlakyConnection.model_validate(
        {
            "type": "flaky",
            "name": connection,
            "of": behind,
            "faults": dict(faults),
            "record": None if record is None else str(record),
        }
    )
    known = {**config.connections, behind: config.connections[connection], connection: flaky}
    return config.model_copy(update={"connections": known})


def _points(
    config: model.Config,
    connection: str,
    attempt: Callable[[model.Config], run_module.Outcome],
    reset: Callable[[], None],
) -> list[str]:
    """Return the points of a connection that a run without a fault reaches, in its order."""
    with tempfile.TemporaryDirectory(prefix="tmg-flaw-") as folder:
        record = pathlib.Path(folder) / "points"
        reset()
        outcome = attempt(flawed(config, connection, {}, record))
        _require_success(outcome, "the run fails without a fault")
        return record.read_text(encoding="utf-8").split() if record.exists() else []


def _require_success(outcome: run_module.Outcome, what: str) -> None:
    assert outcome.error is None, f"{what}: {outcome.error!r}"


def _judge(
    outcome: run_module.Outcome,
    found: state.State,
    before: state.State,
    after: state.State,
    what: str,
    codes: tuple[int, ...],
) -> None:
    code = outcome.exit_code
    missing = state.difference(after, found)
    if code == errors.EXIT_OK:
        assert found == after, f"{what}: the run ended with 0, and the target has {missing}"
    assert code in codes, f"{what}: the run ended with {code}, expected one of {codes}"
    assert found in (before, after), (
        f"{what}: the target is neither what it was before the run"
        f" ({state.difference(before, found)}) nor what the run makes of it ({missing})"
    )
