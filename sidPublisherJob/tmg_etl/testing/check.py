"""Assertions about a pipeline: the same twice, whole after any crash, equal to its source.

Written for small tables: rows are held in memory and compared one by one.
"""

from __future__ import annotations

import datetime
import pathlib
import tempfile
from collections.abc import Callable

from tmg_etl import run as run_module
from tmg_etl.testing import fault, fork, state


def run_pipeline(
    config: str | pathlib.Path,
    transfer: str,
    write_mode: str = "truncate",
    *,
    day: datetime.date,
    start: datetime.date | None = None,
    env: str = "local",
) -> run_module.Outcome:
    """Execute one run in this process and return how it ended.

    Args:
        config: path of the config.
        transfer: name in `transfers`.
        write_mode: truncate or delta.
        day: execution date.
        start: `--delta_start_date`; None takes the execution date.
        env: environment of the config.
    """
    from tmg_etl.config import loader
    from tmg_etl.transfer import runner

    return runner.build(
        loader.load(str(config), env),
        transfer,
        execution_date=day,
        delta_start_date=start,
        write_mode=run_module.WriteMode(write_mode),
    ).execute()


def assert_equal(
    config: str | pathlib.Path,
    transfer: str,
    *,
    day: datetime.date,
    write_mode: str | None = None,
    start: datetime.date | None = None,
    env: str = "local",
) -> None:
    """Fail unless the target holds exactly what the transfer makes of its source.

    The source is what the transfer's pipeline opens, and rows are compared as `tmg-etl verify`
    does: of a transfer with a `delta:` the latest version of each key, deletions applied.

    Args:
        config: path of the config.
        transfer: name in `transfers`; runs a `TransferPipeline`.
        day: execution date, for the placeholders of the source.
        write_mode: truncate compares every row of both sides, delta those of the window; None
            compares all by the transfer's own rule.
        start: start of the window; None takes the execution date.
        env: environment of the config.
    """
    from tmg_etl.config import loader
    from tmg_etl.transfer import comparison

    found = comparison.make(
        loader.load(str(config), env),
        transfer,
        execution_date=day,
        delta_start_date=start,
        write_mode=None if write_mode is None else run_module.WriteMode(write_mode),
    )
    assert found.is_equal, f"{found.target} is not its source: {state.differences(found)}"


def assert_idempotent(
    config: str | pathlib.Path,
    transfer: str,
    write_mode: str = "truncate",
    *,
    day: datetime.date,
    start: datetime.date | None = None,
    env: str = "local",
) -> None:
    """Run twice: both must succeed, the target be the same, and nothing temporary be left.

    Args: as for `run_pipeline`.
    """
    view = state.View(config, transfer, day, env)
    states: list[state.State] = []
    for turn in ("first", "second"):
        outcome = run_pipeline(config, transfer, write_mode, day=day, start=start, env=env)
        assert outcome.error is None, f"the {turn} run failed: {outcome.error!r}"
        states.append(view.read())
    first, second = states
    changed = state.difference(first, second)
    assert second == first, f"the second run changed the target: {changed}"
    view.read_clean("two runs")


def assert_crash_safe(
    config: str | pathlib.Path,
    transfer: str,
    write_mode: str = "truncate",
    *,
    day: datetime.date,
    reset: Callable[[], None],
    start: datetime.date | None = None,
    env: str = "local",
    python_path: tuple[str, ...] = (),
) -> int:
    """Kill a pipeline at every hook and statement in turn; return how often it was killed.

    After each kill the target must be what it was before the run or what the run makes of it, and
    the next run must succeed, make the same of it, and leave nothing temporary.

    Args:
        config: path of the config.
        transfer: name in `transfers`.
        write_mode: truncate or delta.
        day: execution date.
        reset: puts the target into the state before the run; called before each run.
        start: `--delta_start_date`; None takes the execution date.
        env: environment of the config.
        python_path: folders to import the pipeline from, beside those of this process.
    """
    arguments = [f"{day:%Y%m%d}", transfer, write_mode, str(config), f"--env={env}"]
    if start is not None:
        arguments.append(f"--delta_start_date={start:%Y%m%d}")
    with (
        tempfile.TemporaryDirectory(prefix="tmg-crash-") as folder,
        fork.ForkServer(python_path=python_path) as server,
    ):
        place = pathlib.Path(folder)
        view = state.View(config, transfer, day, env)

        def attempt(injected: fault.Fault | None = None) -> fork.Ended:
            return server.run(arguments, place, injected)

        points = _count(attempt, reset)
        after = view.read()
        reset()
        before = view.read()
        for point in points:
            reset()
            attempt(fault.Fault(point.number, fault.Action.KILL))
            found = view.read()
            assert found in (before, after), (
                f"killed at {point}: the target is neither what it was before the run"
                f" ({state.difference(before, found)}) nor what the run makes of it"
                f" ({state.difference(after, found)})"
            )
            again = attempt()
            assert again.code == 0, f"killed at {point}: the next run failed: {again.error}"
            found = view.read_clean(f"killed at {point}, and run again")
            changed = state.difference(after, found)
            assert found == after, f"killed at {point}: the next run made something else: {changed}"
    return len(points)


def _count(attempt: Callable[[], fork.Ended], reset: Callable[[], None]) -> list[fault.Point]:
    """Return the points of a run that succeeds; the first one sets the ledger up."""
    for _ in range(2):
        reset()
        ended = attempt()
        assert ended.code == 0, f"the run fails without being killed: {ended.error}"
    return [point for point in ended.points if not point.is_after]
