"""The last words of a run that succeeded: as text for people, as fields for machines. Pure."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from tmg_etl import errors, run
from tmg_etl.cli import output, quantity

if TYPE_CHECKING:
    from tmg_etl.transfer import nest

_COUNTS = ("read", "inserted", "updated", "deleted", "unchanged")


@dataclasses.dataclass(frozen=True)
class Summary:
    """What is said of a run.

    Attributes:
        transfer: its name.
        window: the days.
        write_mode: truncate or delta.
        verify: what was to be compared: fingerprint, count or off.
        outcome: how it ended.
    """

    transfer: str
    window: run.Window
    write_mode: run.WriteMode
    verify: str
    outcome: run.Outcome

    @property
    def rows_per_s(self) -> int | None:
        """Return rows read by second of the whole run."""
        return quantity.rate(self.outcome.result.rows_read, self.outcome.duration_s)

    @property
    def _is_skipped(self) -> bool:
        reason = self.outcome.result.publish_reason or ""
        return self.outcome.result.publish == "none" and reason.startswith("nothing to do")

    @property
    def warnings(self) -> list[str]:
        """Return what the result is to be read with, and what went wrong beside the work."""
        found = (
            ("the cleanup failed", self.outcome.cleanup_error),
            ("the ledger could not be written", self.outcome.ledger_error),
        )
        beside = [f"{what}: {words(error)}" for what, error in found if error is not None]
        return [*self.outcome.warnings, *beside]

    def proof(self) -> str:
        """Return what the comparison of source and target gave, in one line."""
        if self._is_skipped:
            return "of that run; what others wrote to the target since is not seen"
        source = self.outcome.result.fingerprint_source
        target = self.outcome.result.fingerprint_target
        if self.verify == "off":
            return "verify off: source and target were not compared"
        if source is None or target is None:
            return "not verified: the pipeline reports no fingerprint"
        what = "counts" if self.verify == "count" else "fingerprint"
        relation = "equal" if source == target else "DIFFERENT"
        sign = "=" if source == target else "≠"
        text = f"{what} {relation}: source {source} {sign} target {target}"
        if self.outcome.error is not None:
            return f"not published; what was loaded beside the target: {text}"
        return text

    def headline(self) -> str:
        """Return the run in one sentence."""
        is_done = self.outcome.status is run.Status.SUCCEEDED
        verb = "published" if is_done else str(self.outcome.status)
        kind = self.outcome.result.publish
        if is_done and self._is_skipped:
            verb = "nothing to do"
        by = f" by {kind}" if kind and kind != "none" else ""
        return f"{self.transfer}: {verb}{by}, {self.write_mode}, {self.window}"

    def render(self, *, has_time: bool = True) -> str:
        """Return the summary as lines of text; the seconds of a group's member say nothing."""
        result = self.outcome.result
        lines = [self.headline()]
        if result.publish_reason:
            lines.append(_line("why", result.publish_reason))
        rows = "none read: nothing to do" if self._is_skipped else _rows(result)
        lines.append(_line("rows", rows))
        if has_time:
            lines.append(_time(self.outcome.duration_s, self.rows_per_s))
        lines.append(_line("proof", self.proof()))
        lines += [_line("warning", warning) for warning in self.warnings]
        return "\n".join(output.printable(line) for line in lines)

    def as_dict(self) -> dict[str, Any]:
        """Return the summary as fields for JSON; None is what is not known."""
        outcome, result = self.outcome, self.outcome.result
        fields = {f"rows_{name}": getattr(result, f"rows_{name}") for name in _COUNTS}
        return {
            "status": str(outcome.status),
            "exit_code": outcome.exit_code,
            "window_start": self.window.start.isoformat(),
            "window_end": self.window.end.isoformat(),
            "publish": result.publish,
            "publish_reason": result.publish_reason,
            **fields,
            "duration_s": round(outcome.duration_s, 3),
            "rows_per_s": self.rows_per_s,
            "phase_seconds": {
                str(phase): round(seconds, 3) for phase, seconds in result.phase_seconds.items()
            },
            "verify": self.verify,
            "proof": self.proof(),
            "fingerprint_source": result.fingerprint_source,
            "fingerprint_target": result.fingerprint_target,
            "snapshot": result.snapshot,
            "bytes_read": result.bytes_read,
            "job_ids": list(result.job_ids),
            "previous_table": result.previous_table,
            "previous_fingerprint": result.previous_fingerprint,
            "previous_expires_at": result.previous_expires_at
            and result.previous_expires_at.isoformat(),
            "warnings": self.warnings,
            "started_at": outcome.started_at.isoformat(),
            "finished_at": outcome.finished_at.isoformat(),
        }


@dataclasses.dataclass(frozen=True)
class GroupSummary:
    """What is said of the run of a publish group.

    Attributes:
        window: the days.
        write_mode: truncate or delta.
        members: one summary for each transfer, in the order of the config.
        outcome: how it ended.
    """

    window: run.Window
    write_mode: run.WriteMode
    members: tuple[Summary, ...]
    outcome: nest.GroupOutcome

    @property
    def warnings(self) -> list[str]:
        """Return the warnings of all members, each with its transfer."""
        return [f"{one.transfer}: {warning}" for one in self.members for warning in one.warnings]

    def proof(self) -> str:
        """Return what the comparisons gave, in one line."""
        return "; ".join(f"{one.transfer}: {one.proof()}" for one in self.members)

    def headline(self) -> str:
        """Return the run in one sentence."""
        published = [one for one in self.members if one.outcome.result.publish != "none"]
        if self.outcome.error is not None:
            verb = "not published"
        elif published:
            verb = f"{quantity.count(len(published))} tables published in one step"
        else:
            verb = "nothing to do"
        return f"{self.outcome.group}: {verb}, {self.write_mode}, {self.window}"

    def render(self) -> str:
        """Return the summary as lines of text, the members below the group."""
        members = [one.render(has_time=False) for one in self.members]
        time = _time(self.outcome.duration_s, self.rows_per_s)
        return "\n".join([output.printable(self.headline()), time, *members])

    def as_dict(self) -> dict[str, Any]:
        """Return the summary as fields for JSON; rows are sums, None where one is not known."""
        fields = {f"rows_{name}": self._sum(f"rows_{name}") for name in _COUNTS}
        return {
            "group": self.outcome.group,
            "status": str(self._status),
            "exit_code": self.outcome.exit_code,
            "window_start": self.window.start.isoformat(),
            "window_end": self.window.end.isoformat(),
            **fields,
            "duration_s": round(self.outcome.duration_s, 3),
            "rows_per_s": self.rows_per_s,
            "warnings": self.warnings,
            "members": [{"transfer": one.transfer, **one.as_dict()} for one in self.members],
        }

    @property
    def rows_per_s(self) -> int | None:
        """Return rows read by second of the whole run."""
        return quantity.rate(self._sum("rows_read"), self.outcome.duration_s)

    @property
    def _status(self) -> run.Status:
        if self.outcome.error is None:
            return run.Status.SUCCEEDED
        is_stopped = isinstance(self.outcome.error, errors.Stopped | KeyboardInterrupt)
        return run.Status.STOPPED if is_stopped else run.Status.FAILED

    def _sum(self, name: str) -> int | None:
        found = [getattr(one.outcome.result, name) for one in self.members]
        return None if None in found else sum(found)


def words(error: BaseException) -> str:
    """Return an error as one line."""
    return errors.one_line(str(error) or type(error).__name__)


def _rows(result: run.Result) -> str:
    counts = ((name, getattr(result, f"rows_{name}")) for name in _COUNTS)
    known = [f"{quantity.count(number)} {name}" for name, number in counts if number is not None]
    return ", ".join(known) or "not reported by the pipeline"


def _time(duration_s: float, rows_per_s: int | None) -> str:
    rate = f", {quantity.count(rows_per_s)} rows/s" if rows_per_s else ""
    return _line("time", quantity.duration(duration_s) + rate)


def _line(label: str, text: str) -> str:
    return f"  {label:<8} {text}"
