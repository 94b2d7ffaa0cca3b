"""From a config and a command line to a pipeline that is ready to execute."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import difflib
import importlib
import inspect
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeGuard

from tmg_etl import connectors, errors, etl
from tmg_etl import run as run_module
from tmg_etl.connectors import base
from tmg_etl.transfer import pipeline as pipeline_module

if TYPE_CHECKING:
    from tmg_etl.config import model
    from tmg_etl.transfer import group as group_module


def build(
    config: model.Config,
    transfer_name: str,
    *,
    execution_date: datetime.date,
    delta_start_date: datetime.date | None,
    write_mode: run_module.WriteMode,
    progress: run_module.Progress | None = None,
    logger: logging.Logger | None = None,
    stop: run_module.StopFlag | None = None,
    run_id: str | None = None,
    recorder: run_module.Recorder | None = None,
) -> etl.TMGETL:
    """Return the pipeline of one run; nothing is opened yet.

    Args:
        config: with one environment merged in.
        transfer_name: key in `transfers`.
        execution_date: the day the run is for; the end of the window.
        delta_start_date: start of the window; None takes the execution date.
        write_mode: truncate or delta.
        progress: where rows are reported; None is silent.
        logger: None takes the logger ``tmg_etl``.
        stop: set by signals; None makes a new one.
        run_id: None makes a new one.
        recorder: where the run is written down; None is the config's ledger.

    Raises:
        errors.UsageError: the window ends before it starts.
        errors.ConfigError: unknown transfer, one that is published with its group only, or a
            pipeline class that cannot be loaded.
    """
    group_name = config.group_of(transfer_name)
    if group_name is not None:
        raise errors.ConfigError(
            f"{transfer_name} is published with the group {group_name}: alone, it would show"
            " another day than the other tables",
            where=config.transfer(transfer_name).where("publish_group"),
            hint=f"run {group_name} instead of {transfer_name}",
        )
    run = make_run(
        config,
        transfer_name,
        execution_date=execution_date,
        delta_start_date=delta_start_date,
        write_mode=write_mode,
        progress=progress,
        logger=logger,
        stop=stop,
        run_id=run_id,
    )
    pipeline_class = load_class(run.transfer, config.packages)
    run = dataclasses.replace(
        run, pipeline_path=f"{pipeline_class.__module__}:{pipeline_class.__qualname__}"
    )
    if recorder is None:
        from tmg_etl.ledger import recorder as ledger_recorder

        recorder = ledger_recorder.LedgerRecorder(config.ledger, config.redact)
    return pipeline_class(run, lock=_locker(run), recorder=recorder)


def build_group(
    config: model.Config,
    group_name: str,
    *,
    execution_date: datetime.date,
    delta_start_date: datetime.date | None,
    write_mode: run_module.WriteMode,
    progress: run_module.Progress | None = None,
    logger: logging.Logger | None = None,
    stop: run_module.StopFlag | None = None,
    run_id: str | None = None,
    recorder: run_module.Recorder | None = None,
) -> group_module.Group:
    """Return the runs of a publish group; nothing is opened yet.

    Arguments as for `build`; `run_id` is that of the first member.

    Raises:
        errors.UsageError: the window ends before it starts.
        errors.ConfigError: there is no such group, or a member's pipeline class publishes by
            itself.
    """
    from tmg_etl.transfer import group as group_module
    from tmg_etl.transfer import group_choice

    if recorder is None:
        from tmg_etl.ledger import recorder as ledger_recorder

        recorder = ledger_recorder.LedgerRecorder(config.ledger, config.redact)
    stop, step_id = stop or run_module.StopFlag(), run_id or run_module.new_run_id()
    members: list[pipeline_module.TransferPipeline] = []
    for transfer in _members(config, group_name):
        run = make_run(
            config,
            transfer.name,
            execution_date=execution_date,
            delta_start_date=delta_start_date,
            write_mode=group_choice.mode_of(transfer, write_mode),
            progress=progress,
            logger=logger,
            stop=stop,
            run_id=None if members else step_id,
        )
        kind = _member_class(transfer, config.packages)
        run = dataclasses.replace(
            run,
            pipeline_path=f"{kind.__module__}:{kind.__qualname__}",
            group=group_name,
            step_id=step_id,
        )
        members.append(kind(run, recorder=recorder))
    return group_module.Group(group_name, members, write_mode)


def _members(config: model.Config, group_name: str) -> tuple[model.Transfer, ...]:
    found = config.groups.get(group_name)
    if found is None:
        # Says what there is, unless it is one of the transfers.
        config.transfer(group_name)
        raise errors.ConfigError(f"{group_name} is a transfer, not a publish group")
    return found


def _member_class(
    transfer: model.Transfer, packages: Sequence[str]
) -> type[pipeline_module.TransferPipeline]:
    """Return the pipeline class of a group's member, which leaves the publish to the group.

    Raises:
        errors.ConfigError: it does that itself, or cannot be loaded.
    """
    kind, plain = load_class(transfer, packages), pipeline_module.TransferPipeline
    own = [
        name
        for name in ("exclusive", "pipeline", "execute")
        if getattr(kind, name) is not getattr(plain, name)
    ]
    if issubclass(kind, plain) and not own:
        return kind
    what = f"has its own `{own[0]}`" if issubclass(kind, plain) else "is no TransferPipeline"
    raise errors.ConfigError(
        f"{kind.__name__} {what}, so that the group {transfer.publish_group} cannot publish for it",
        where=transfer.where("pipeline"),
        hint="derive it from TransferPipeline and override `open_source`, or take the transfer out"
        " of the group",
    )


def make_run(
    config: model.Config,
    transfer_name: str,
    *,
    execution_date: datetime.date,
    delta_start_date: datetime.date | None,
    write_mode: run_module.WriteMode,
    progress: run_module.Progress | None = None,
    logger: logging.Logger | None = None,
    stop: run_module.StopFlag | None = None,
    run_id: str | None = None,
    is_dry: bool = False,
) -> run_module.Run:
    """Return the frozen values of one run; arguments and errors as for `build`.

    With `is_dry` it will not hold the target's lock, so connections are told of no run: what other
    runs have left may belong to one that is under way.
    """
    transfer = config.transfer(transfer_name)
    window = run_module.Window(delta_start_date or execution_date, execution_date)
    stop = stop or run_module.StopFlag()
    run_id = run_id or run_module.new_run_id()
    owner = base.Owner("" if is_dry else run_id, transfer_name, config.env)
    return run_module.Run(
        id=run_id,
        transfer_name=transfer_name,
        execution_date=execution_date,
        window=window,
        write_mode=write_mode,
        transfer=transfer,
        connections=connectors.Connections(config.connections, config.folder, stop, owner),
        stop=stop,
        progress=progress or run_module.SilentProgress(),
        logger=logger or logging.getLogger("tmg_etl"),
        config_location=config.location,
        config_digest=config.digest,
        env=config.env,
    )


def load_class(transfer: model.Transfer, packages: Sequence[str]) -> type[etl.TMGETL]:
    """Return the pipeline class of a transfer.

    Args:
        transfer: its `pipeline` is ``module:Class``; None means `TransferPipeline`.
        packages: the packages that it may come from.

    Raises:
        errors.ConfigError: not in `packages`, not importable, or not a complete `TMGETL`.
    """
    if transfer.pipeline is None:
        return pipeline_module.TransferPipeline
    where = transfer.where("pipeline")
    module_name, _, class_name = transfer.pipeline.partition(":")
    if not any(f"{module_name}.".startswith(f"{package}.") for package in packages):
        raise errors.ConfigError(
            f"{module_name!r} is in none of the packages {list(packages)}",
            where=where,
            hint="add its package to `packages`",
        )
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise errors.ConfigError(
            f"cannot import {module_name!r}: {error}",
            where=where,
            hint="install its package where the pipeline runs",
        ) from error
    except Exception as error:
        # Whatever a module raises while it is imported: a syntax error, an unset variable.
        raise errors.ConfigError(
            f"cannot import {module_name!r}: {type(error).__name__}: {error}",
            where=where,
            hint="correct the module",
        ) from error
    found = getattr(module, class_name, None)
    if found is None:
        names = [name for name, kind in vars(module).items() if _is_pipeline(kind)]
        near = difflib.get_close_matches(class_name, names, 1)
        raise errors.ConfigError(
            f"the module {module_name!r} has no class {class_name!r}",
            where=where,
            hint=f"did you mean {near[0]!r}?"
            if near
            else f"its pipelines are {errors.listed(names) or 'none'}",
        )
    if not _is_pipeline(found):
        raise errors.ConfigError(
            f"{transfer.pipeline!r} is no subclass of tmg_etl.TMGETL", where=where
        )
    if inspect.isabstract(found):
        missing = ", ".join(sorted(found.__abstractmethods__))
        raise errors.ConfigError(f"{transfer.pipeline!r} does not implement {missing}", where=where)
    return found


def _is_pipeline(found: object) -> TypeGuard[type[etl.TMGETL]]:
    return inspect.isclass(found) and issubclass(found, etl.TMGETL)


def _locker(run: run_module.Run) -> Callable[[], contextlib.AbstractContextManager[None]]:
    """Return what holds the declared target for a pipeline that does not open it itself."""

    @contextlib.contextmanager
    def hold() -> Iterator[None]:
        spec = run.transfer.target
        with (
            run.connections[spec.connection].open_target(spec.table) as target,
            target.lock(run.id, run.transfer.lock_wait_s),
        ):
            yield

    return hold
