"""One call of `pipeline` after its arguments are parsed: config, run, last words."""

from __future__ import annotations

import dataclasses
import datetime
import logging
from typing import TYPE_CHECKING, Any

from tmg_etl import __version__, errors, run
from tmg_etl.cli import feedback, guard, output, summary

if TYPE_CHECKING:
    from tmg_etl.config import model
    from tmg_etl.transfer import group_plan, nest
    from tmg_etl.transfer import plan as plan_module

PROG = "pipeline"


@dataclasses.dataclass(frozen=True)
class Request:
    """What the command line asked for; the names are those of the arguments."""

    execution_date: datetime.date
    transfer_name: str
    write_mode: run.WriteMode
    config_location: str
    delta_start_date: datetime.date | None = None
    env: str = "local"
    verify: str | None = None
    lock_wait_s: float | None = None

    @property
    def window(self) -> run.Window:
        """Return the days that the request means."""
        return run.Window(self.delta_start_date or self.execution_date, self.execution_date)

    def facts(self) -> dict[str, Any]:
        """Return what `tmg_etl.transfer` is asked with."""
        return {
            "execution_date": self.execution_date,
            "delta_start_date": self.delta_start_date,
            "write_mode": self.write_mode,
        }


def execute(request: Request, style: feedback.Style) -> int:
    """Run a pipeline, print its summary to stdout, and return the exit code."""
    with feedback.Feedback(style) as voice:
        return guard.call(PROG, lambda: _execute(request, voice), voice)


def plan(request: Request, style: feedback.Style, prog: str = PROG, rows: str = "auto") -> int:
    """Print what a run would do to stdout, and return the exit code.

    Args:
        request: the run.
        style: text, or json.
        prog: the command's name, for messages.
        rows: how they are counted: auto, exact or estimate.
    """
    with feedback.Feedback(style) as voice:
        return guard.call(prog, lambda: _plan(request, voice, rows), voice)


def _execute(request: Request, voice: feedback.Feedback) -> int:
    run_id = run.new_run_id()
    voice.identify(
        run_id=run_id,
        transfer=request.transfer_name,
        execution_date=request.execution_date,
        write_mode=request.write_mode,
        env=request.env,
    )
    config = _load(request, voice)
    is_group = request.transfer_name in config.groups
    from tmg_etl.ledger import recorder
    from tmg_etl.transfer import runner

    build, stop = runner.build_group if is_group else runner.build, run.StopFlag()
    pipeline = build(
        config,
        request.transfer_name,
        **request.facts(),
        stop=stop,
        progress=voice.progress,
        logger=voice.logger,
        run_id=run_id,
        recorder=recorder.LedgerRecorder(config.ledger, config.redact),
    )
    if not voice.style.is_live:
        voice.logger.info(
            "%s: run %s starts, %s, %s",
            *(request.transfer_name, run_id, request.write_mode, request.window),
            extra={"version": __version__.__version__, "config_location": config.location},
        )
    with guard.deadline(stop, PROG, voice):
        outcome = pipeline.execute()
    guard.settle()
    voice.close_progress()
    result = _summary(request, config, outcome)
    if outcome.error is not None:
        return guard.report(PROG, guard.failure_of(outcome.error), voice, **result.as_dict())
    _print(result, voice)
    return outcome.exit_code


def _summary(
    request: Request, config: model.Config, outcome: run.Outcome | nest.GroupOutcome
) -> summary.Summary | summary.GroupSummary:
    if isinstance(outcome, run.Outcome):
        verify = config.transfer(request.transfer_name).verify
        return summary.Summary(
            request.transfer_name, request.window, request.write_mode, verify, outcome
        )
    members = [
        summary.Summary(
            member.name,
            request.window,
            # As it was run: without a delta it is refreshed whatever the group's mode is.
            run.WriteMode.TRUNCATE if member.delta is None else request.write_mode,
            member.verify,
            outcome.members[member.name],
        )
        for member in config.groups[request.transfer_name]
    ]
    return summary.GroupSummary(request.window, request.write_mode, tuple(members), outcome)


def _print(result: summary.Summary | summary.GroupSummary, voice: feedback.Feedback) -> None:
    """Print the summary; a run that published is not undone by a full disk under its log."""
    try:
        if voice.style.log_format == "json":
            level = logging.WARNING if result.warnings else logging.INFO
            fields = voice.fields(level, f"{result.headline()}; {result.proof()}")
            output.write_json(voice.redactor.value({**fields, **result.as_dict()}))
        else:
            output.write(voice.redactor.text(result.render()))
    except errors.TemporaryError as error:
        voice.logger.warning("the summary was not printed: %s", error)


def _plan(request: Request, voice: feedback.Feedback, rows: str) -> int:
    config = _load(request, voice)
    from tmg_etl.cli import plan_view
    from tmg_etl.transfer import group_plan, rehearsal
    from tmg_etl.transfer import plan as plan_module

    name, facts = request.transfer_name, {**request.facts(), "depth": rehearsal.Depth(rows)}
    if name in config.groups:
        whole = group_plan.make(config, name, **facts)
        return _print_plan(whole, plan_view.render_group(whole), voice)
    make = plan_module.make if config.group_of(name) is None else group_plan.make_member
    found = make(config, name, **facts)
    return _print_plan(found, plan_view.render(found), voice)


def _print_plan(
    found: plan_module.Plan | group_plan.GroupPlan, text: str, voice: feedback.Feedback
) -> int:
    if voice.style.log_format == "json":
        output.write_json(voice.redactor.value(found.as_dict()))
    else:
        output.write(voice.redactor.text(text))
    return found.exit_code


def _load(request: Request, voice: feedback.Feedback) -> model.Config:
    """Return the config with what the request overrides; make its secrets and packages known."""
    from tmg_etl.config import loader

    config = loader.load(request.config_location, request.env)
    voice.redactor.learn(config.redact)
    voice.listen_to(config.packages)
    return config.with_policy(
        request.transfer_name, verify=request.verify, lock_wait_s=request.lock_wait_s
    )
