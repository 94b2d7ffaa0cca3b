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
    if request.transfer_name in config.groups:
        return _execute_group(config, request, run_id, voice)
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


def _execute_group(
    config: model.Config, request: Request, run_id: str, voice: feedback.Feedback
) -> int:
    from tmg_etl.transfer import group_undo

    rollback = group_undo.build(
        config,
        request.transfer_name,
        wanted=request.wanted,
        is_unverified=request.is_unverified,
        logger=voice.logger,
        run_id=run_id,
    )
    with guard.deadline(rollback.stop, PROG, voice):
        outcome = rollback.execute()
    guard.settle()
    if outcome.error is not None:
        return guard.report(PROG, guard.failure_of(outcome.error), voice)
    facts = {
        "group": request.transfer_name,
        "run_id": run_id,
        "status": run.Status.SUCCEEDED.value,
        "members": [
            _facts(name, rollback.run_id(name), member) for name, member in outcome.members.items()
        ],
    }
    text = output.to_json(facts) if voice.style.log_format == "json" else _render_group(facts)
    output.write(voice.redactor.text(text))
    return errors.EXIT_OK


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
        "warnings": list(outcome.warnings),
    }


def _until(end: datetime.datetime | None) -> str:
    return "the next run" if end is None else f"{end:%Y-%m-%d %H:%M} UTC"


def _render_group(facts: dict[str, Any]) -> str:
    back = [member for member in facts["members"] if member["previous_table"] is not None]
    left = [member["transfer"] for member in facts["members"] if member not in back]
    ends = [member["previous_expires_at"] for member in back]
    lines = [f"{facts['group']}: rolled back in one step, run {facts['run_id']}"]
    lines += [
        f"  {member['transfer']}: {quantity.count(member['rows_put_back'])} rows are back,"
        f" {quantity.count(member['rows_replaced'])} were replaced;"
        f" fingerprint {member['fingerprint']}"
        for member in back
    ]
    if left:
        lines.append(f"  left as it is, for that step did not replace it: {', '.join(left)}")
    until = _until(None if None in ends else min(ends))
    lines.append(
        f"  the replaced tables are kept until {until}: rolling back again takes this back"
    )
    lines += [line for member in facts["members"] for line in _warnings(member)]
    return "\n".join(output.printable(line) for line in lines)


def _render(facts: dict[str, Any]) -> str:
    until = _until(facts["previous_expires_at"])
    return "\n".join(
        [
            f"{facts['transfer']}: rolled back; run {facts['run_id']} {facts['reason']}",
            f"  {quantity.count(facts['rows_put_back'])} rows are back,"
            f" {quantity.count(facts['rows_replaced'])} were replaced",
            f"  fingerprint {facts['fingerprint']}",
            f"  the replaced table is kept until {until}: rolling back again takes this back",
            *_warnings(facts),
        ]
    )


def _warnings(facts: dict[str, Any]) -> list[str]:
    return [f"  warning: {output.printable(text)}" for text in facts["warnings"]]


def _show(config_location: str, env: str, transfer_name: str, voice: feedback.Feedback) -> int:
    config = _load(config_location, env, voice)
    if transfer_name in config.groups:
        return _show_group(config, transfer_name, voice)
    from tmg_etl.transfer import undo

    tables = undo.listed(config, transfer_name)
    if voice.style.log_format == "json":
        output.write_json([dataclasses.asdict(table) for table in tables])
    elif not tables:
        output.write(f"no earlier table of {transfer_name} is kept")
    else:
        output.write("\n".join(map(_line, tables)))
    return errors.EXIT_OK


def _show_group(config: model.Config, group: str, voice: feedback.Feedback) -> int:
    from tmg_etl.transfer import group_undo

    steps = group_undo.listed(config, group)
    if voice.style.log_format == "json":
        output.write_json(
            [
                {"transfer": name, **dataclasses.asdict(table)}
                for step in steps
                for name, table in step.tables.items()
            ]
        )
    elif not steps:
        output.write(f"no earlier table of {group} is kept")
    else:
        blocks = [
            [f"step {step.id}", *(f"  {name}: {_held(one)}" for name, one in step.tables.items())]
            for step in steps
        ]
        output.write("\n".join(line for block in blocks for line in block))
    return errors.EXIT_OK


def _line(table: undo.Kept) -> str:
    return f"replaced by run {table.run_id}, {_held(table)}"


def _held(table: undo.Kept) -> str:
    return f"kept until {_until(table.expires_at)}: {table.fingerprint or 'fingerprint unknown'}"
