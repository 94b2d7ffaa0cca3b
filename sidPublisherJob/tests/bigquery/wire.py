"""What no emulator does: a proxy before one that fails, is slow and keeps count as Google does.

Every call is held to the API's own reference (`reference`) and kept in `calls`, so that a test can
look at what was sent. What the emulator can do, it does.

    with wire.Wire(server) as found:
        found.fail("jobs.insert", "rateLimitExceeded", times=2)
        ...  # clients that read `found.environment`
        assert [call.name for call in found.calls] == …

Beyond refusals it gives: bytes processed and the limit of bytes billed, jobs that end later, etags
and If-Match, answers that get lost, and streams that end in the middle (`stream`).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import threading
from collections.abc import Callable
from typing import Any, Self

from tests.bigquery import call as call_module
from tests.bigquery import emulator, reference, refusal, stream
from tests.bigquery.call import Answer, Call

MIB = 1 << 20
#: What Google's own client sends all the same.
_UNDOCUMENTED = {"jobs.get": frozenset({"projection"})}

Condition = Callable[[Call], bool]
Step = Callable[[Call], Answer | None]


@dataclasses.dataclass
class Rule:
    """Something that happens to the next calls of a method."""

    name: str
    when: Condition
    times: int
    step: Step


class Wire:
    """The proxy, in this process.

    Args:
        server: a running emulator.

    Attributes:
        calls: every request so far.
        faults: what the reference does not allow in them; leaving the block asserts that it is
            empty.
        bytes_processed: what each query reads, by its dry run and by its job.
        polls: how often a new job is seen running before it is done.
        reads: the streams.
    """

    def __init__(self, server: emulator.BigQueryServer) -> None:
        self.calls: list[Call] = []
        self.faults: list[str] = []
        self.bytes_processed = 0
        self.polls = 0
        self.reads = stream.Streams(server)
        self._server = server
        self._lock = threading.Lock()
        self._rules: list[Rule] = []
        self._changes: list[tuple[str, Callable[[dict[str, Any]], None]]] = []
        self._interrupt: Rule | None = None
        self._running: dict[str, int] = {}
        self._failed: dict[str, dict[str, Any]] = {}
        self._http = call_module.serve(self)

    # --- what a test says -----------------------------------------------------------------------

    @property
    def environment(self) -> dict[str, str]:
        """The variables by which clients find it."""
        return self._server.environment | {
            "BIGQUERY_EMULATOR_HOST": f"http://{call_module.HOST}:{self._http.server_port}",
            "BIGQUERY_STORAGE_EMULATOR_HOST": self.reads.address,
        }

    def fail(
        self,
        name: str,
        reason: str,
        *,
        times: int = 1,
        message: str | None = None,
        when: Condition = lambda _: True,
        is_done: bool = False,
    ) -> None:
        """Refuse the next calls of a method.

        Args:
            name: such as ``tables.get``.
            reason: a key of `refusal.REASONS`.
            times: how many calls.
            message: None: Google's usual words.
            when: which calls.
            is_done: what was asked for is done all the same.
        """

        def step(call: Call) -> Answer:
            if is_done:
                self.forward(call)
            return call_module.refused(reason, message)

        self._rules.append(Rule(name, when, times, step))

    def lose(self, name: str, *, times: int = 1, when: Condition = lambda _: True) -> None:
        """Do what the next calls of a method ask for, and end the connection without an answer."""

        def step(call: Call) -> Answer:
            self.forward(call)
            raise call_module.LostError

        self._rules.append(Rule(name, when, times, step))

    def fail_job(
        self, kind: str, reason: str, *, times: int = 1, message: str | None = None
    ) -> None:
        """Accept the next jobs and have them fail without doing anything.

        Args:
            kind: ``query``, ``load``, ``copy`` or ``extract``.
            reason: a key of `refusal.REASONS`.
            times: how many jobs.
            message: None: Google's usual words.
        """

        def step(call: Call) -> Answer:
            return self._failing(call, refusal.proto(reason, message))

        self._rules.append(Rule("jobs.insert", lambda call: kind in call.config, times, step))

    def change(self, name: str, edit: Callable[[dict[str, Any]], None]) -> None:
        """Edit every answer of a method, in place."""
        self._changes.append((name, edit))

    def before(
        self, name: str, work: Callable[[], object], *, when: Condition = lambda _: True
    ) -> None:
        """Do something right before the next call of a method: another run, another person."""

        def step(call: Call) -> None:
            work()

        self._rules.append(Rule(name, when, 1, step))

    def interrupt(self, number: int, work: Callable[[], object], when: Condition) -> None:
        """Do what one call asks for, then something else, and give it no answer.

        Args:
            number: of the call among those from now on that fulfil `when`, from 1.
            work: what is done, such as to kill whoever asks.
            when: which calls are counted.
        """
        self._interrupt = Rule("", when, number, lambda _: work())

    def named(self, name: str) -> list[Call]:
        """Return the calls of one method."""
        return [call for call in self.calls if call.name == name]

    def jobs(self, kind: str) -> list[dict[str, Any]]:
        """Return what the jobs of a kind were asked to do, dry runs left out."""
        calls = self.named("jobs.insert")
        return [c.config[kind] for c in calls if kind in c.config and not c.config.get("dryRun")]

    def close(self) -> None:
        """Stop answering."""
        self._http.shutdown()
        self._http.server_close()
        self.reads.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.close()
        if kind is None:
            assert not self.faults, "\n".join(self.faults)

    # --- what happens to a call -----------------------------------------------------------------

    def answer(self, call: Call, method: reference.Method) -> Answer:
        """Answer one call."""
        with self._lock:
            self.calls.append(call)
            self.faults += _faults(call, method)
            rule = next((r for r in self._rules if _applies(r, call)), None)
            if rule:
                rule.times -= 1
            interrupt = self._counted(call)
        if interrupt:
            self.forward(call)
            interrupt.step(call)
            raise call_module.LostError
        found = rule.step(call) if rule else None
        if found is None:
            found = self._billed(call) or self._matched(call) or self.forward(call)
        if found.status != 200 or not found.raw:
            return found
        body = found.body
        self._later(call, body)
        if call.name.startswith("tables.") and "tableReference" in body:
            body["etag"] = _etag(body)
        for name, edit in self._changes:
            if name == call.name:
                edit(body)
        return found.with_body(body)

    def _counted(self, call: Call) -> Rule | None:
        rule = self._interrupt
        if rule is None or not rule.when(call):
            return None
        rule.times -= 1
        return rule if rule.times == 0 else None

    def forward(self, call: Call) -> Answer:
        """Have the emulator answer."""
        return call_module.forward(call, self._server.port)

    def _failing(self, call: Call, error: dict[str, Any]) -> Answer:
        job = call.body["jobReference"]
        body = {
            "kind": "bigquery#job",
            "id": f"{job['projectId']}:US.{job['jobId']}",
            "jobReference": {"location": "US", **job},
            "configuration": call.config,
            "status": {"state": "DONE", "errorResult": error, "errors": [error]},
            "statistics": {"creationTime": "1", "startTime": "1", "endTime": "1"},
        }
        self._failed[job["jobId"]] = body
        return call_module.answer(200, json.dumps(body).encode())

    def _billed(self, call: Call) -> Answer | None:
        """Refuse a query that reads more than it may be billed for."""
        query = call.body if call.name == "jobs.query" else call.config.get("query", {})
        limit = query.get("maximumBytesBilled")
        is_dry = call.body.get("dryRun") or call.config.get("dryRun")
        if limit is None or is_dry or int(limit) >= self.bytes_billed:
            return None
        message = (
            f"Query exceeded limit for bytes billed: {limit}. {self.bytes_billed} or higher"
            " required."
        )
        if call.name == "jobs.query":
            return call_module.refused("bytesBilledLimitExceeded", message)
        return self._failing(call, refusal.proto("bytesBilledLimitExceeded", message))

    @property
    def bytes_billed(self) -> int:
        """Return what a query is billed: whole MiB, at least ten.

        Source: https://cloud.google.com/bigquery/pricing#on_demand_pricing
        """
        return max(10 * MIB, -(-self.bytes_processed // MIB) * MIB) if self.bytes_processed else 0

    def _matched(self, call: Call) -> Answer | None:
        """Answer what the emulator cannot: jobs that failed here, etags that do not match."""
        failed = self._failed.get(call.place.get("jobId", ""))
        if failed and call.name == "jobs.get":
            return call_module.answer(200, json.dumps(failed).encode())
        if failed and call.name == "jobs.getQueryResults":
            error = failed["status"]["errorResult"]
            return call_module.refused(error["reason"], error["message"])
        expected = call.headers.get("if-match")
        if not expected or not call.name.startswith("tables."):
            return None
        path = call.target.split("?")[0]
        found = self.forward(dataclasses.replace(call, verb="GET", target=path, raw=b""))
        if found.status == 200 and _etag(found.body) != expected:
            return call_module.refused("conditionNotMet")
        return None

    def _later(self, call: Call, body: dict[str, Any]) -> None:
        """Give a job's answer its bytes, and hide the end of one that is to be seen running."""
        if not call.name.startswith("jobs."):
            return
        name = body.get("jobReference", call.place).get("jobId", "")
        if call.name == "jobs.insert" and self.polls and name:
            self._running[name] = self.polls
        self._count_bytes(call, body)
        left = self._running.get(name, 0)
        if not left:
            return
        if call.name == "jobs.cancel":
            del self._running[name]
            job = body["job"]
            job["status"] = {"state": "DONE", "errorResult": refusal.proto("stopped")}
            self._failed[name] = job
        elif "status" in body:
            body["status"] = {"state": "RUNNING"}
            body["statistics"].pop("endTime", None)
        elif "jobComplete" in body:
            reduced = {key: body[key] for key in ("kind", "jobReference") if key in body}
            body.clear()
            body.update(reduced, jobComplete=False)
        if call.name in ("jobs.get", "jobs.getQueryResults"):
            self._running[name] = left - 1

    def _count_bytes(self, call: Call, body: dict[str, Any]) -> None:
        processed, billed = str(self.bytes_processed), str(self.bytes_billed)
        if "query" in body.get("configuration", {}) and "statistics" in body:
            if body["configuration"].get("dryRun"):
                billed = "0"
            counted = {"totalBytesProcessed": processed, "totalBytesBilled": billed}
            body["statistics"]["totalBytesProcessed"] = processed
            body["statistics"].setdefault("query", {}).update(counted)
        elif "totalBytesProcessed" in body:
            body["totalBytesProcessed"] = processed
            if "totalBytesBilled" in body:
                body["totalBytesBilled"] = billed


def _applies(rule: Rule, call: Call) -> bool:
    return rule.times > 0 and rule.name == call.name and rule.when(call)


def _faults(call: Call, method: reference.Method) -> list[str]:
    found = [f"{call.name}: {fault}" for fault in _faults_of_body(call, method)]
    known = method.parameters | _UNDOCUMENTED.get(call.name, frozenset())
    for name in sorted(call.query.keys() - known):
        found.append(f"{call.name}: the reference has no parameter {name}")
    return found


def _faults_of_body(call: Call, method: reference.Method) -> list[str]:
    if method.request is None:
        return ["a body where none belongs"] if call.raw else []
    return list(reference.faults(call.body, method.request))


def _etag(table: dict[str, Any]) -> str:
    text = json.dumps({k: v for k, v in table.items() if k != "etag"}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:24]
