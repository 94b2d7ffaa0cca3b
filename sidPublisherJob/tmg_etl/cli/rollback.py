"""One call of `tmg-etl rollback` after its arguments are parsed."""

from __future__ import annotations

import dataclasses
import datetime
from typing import TYPE_CHECKING, Any

from tmg_etl import errors, run
from tmg_etl.cli import feedback, guard, output, quantity

if TYPE_CHECKING:
    from tmg_etl.config import model
    from tmg_etl.transfer import undo

PROG = "tmg-etl"


@dataclasses.dataclass(frozen=True)
class Request:
    """What the command line asked for."""

    config_location: str
    env: str
    transfer_name: str
    wanted: str | None
    is_unverified: bool


def execute(request: Request, style: feedback.Style) -> int:
    """Roll back, print what came of it, and return the exit code."""
    with feedback.Feedback(style) as voice:
        return guard.call(PROG, lambda: _execute(request, voice), voice)


def show(config_location: str, env: str, transfer_name: str, style: feedback.Style) -> int:
    """Print what is kept, and return the exit code."""
    with feedback.Feedback(style) as voice:
        return guard.call(PROG, lambda: _show(config_location, env, transfer_name, voice), voice)


def _execute(request: Request, voice: feedback.Feedback) -> int:
    run_id = run.new_run_id()
    voice.identify(
        run_id=run_id,
        transfer=request.transfer_name,
        execution_date=datetime.datetime.now(datetime.UTC).date(),
        write_mode=run.WriteMode.TRUNCATE,
        env=request.env,
    )
    config = _load(request.config_location, request.env, voice)
    from tmg_etl.transfer import undo

    pipeline = undo.build(
        config,
        request.transfer_name,
        wanted=request.wanted,
        is_unverified=request.is_unverified,
        logger=voice.logger,
        run_id=run_id,
    )
    with guard.deadline(pipeline.run.stop, PROG, voice):
        outcome = pipeline.execute()
    guard.settle()
    if outcome.error is not None:
        return guard.report(PROG, guard.failure_of(outcome.error), voice)
    facts = _facts(request.transfer_name, run_id, outcome)
    text = output.to_json(facts) if voice.style.log_format == "json" else _render(facts)
    output.write(voice.redactor.text(text))
    return outcome.exit_code


def _load(location: str, env: str, voice: feedback.Feedback) -> model.Config:
    """Return the config, and make its secrets and packages known."""
    from tmg_etl.config import loader

    config = loader.load(location, env)
    voice.redactor.learn(config.redact)
    voice.listen_to(config.packages)
    return config


def _facts(transfer: str, run_id: str, outcome: run.Outcome) -> dict[str, Any]:
    result = outcome.result
    return {
        "transfer": transfer,
        "run_id": run_id,
        "status": outcome.status.value,
        "reason": result.publish_reason,
        "rows_put_back": result.rows_inserted,
        "rows_replaced": result.rows_deleted,
        "fingerprint": result.fingerprint_target,
        "previous_table": result.previous_table,
        "previous_expires_at": result.previous_expires_at,
    }


def _render(facts: dict[str, Any]) -> str:
    end = facts["previous_expires_at"]
    until = "the next run" if end is None else f"{end:%Y-%m-%d %H:%M} UTC"
    return "\n".join(
        [
            f"{facts['transfer']}: rolled back; run {facts['run_id']} {facts['reason']}",
            f"  {quantity.count(facts['rows_put_back'])} rows are back,"
            f" {quantity.count(facts['rows_replaced'])} were replaced",
            f"  fingerprint {facts['fingerprint']}",
            f"  the replaced table is kept until {until}: rolling back again takes this back",
        ]
    )


def _show(config_location: str, env: str, transfer_name: str, voice: feedback.Feedback) -> int:
    config = _load(config_location, env, voice)
    from tmg_etl.transfer import undo

    tables = undo.listed(config, transfer_name)
    if voice.style.log_format == "json":
        output.write_json([dataclasses.asdict(table) for table in tables])
    elif not tables:
        output.write(f"no earlier table of {transfer_name} is kept")
    else:
        output.write("\n".join(map(_line, tables)))
    return errors.EXIT_OK


def _line(table: undo.Kept) -> str:
    end = table.expires_at
    until = "until the next run" if end is None else f"until {end:%Y-%m-%d %H:%M} UTC"
    held = table.fingerprint or "fingerprint unknown"
    return f"replaced by run {table.run_id}, kept {until}: {held}"
