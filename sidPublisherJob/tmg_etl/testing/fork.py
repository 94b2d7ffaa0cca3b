"""Processes by the hundred: one interpreter imports everything once, and forks for each run.

A new interpreter takes half a second before it does anything; a fork takes milliseconds, and is a
process of its own to be killed, stopped, and waited for. The server is itself a child of the tests,
because a process that has used Arrow or DuckDB must not fork: their threads would be missing.

    with fork.ForkServer() as server:
        child = server.start(["20240310", "dim", "truncate", "etl.yaml"], folder)
        assert server.wait(child).code == 0

What tests of the commands look at is `call`: nothing is injected, and what it writes is kept apart.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import gc
import importlib
import itertools
import json
import os
import pathlib
import select
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from typing import IO, Any, Self

from tmg_etl.testing import fault, process

_POLL_S = 0.002
#: What a run imports sooner or later; none of these starts a thread when it is imported.
_WARM = (
    "concurrent.futures.thread",
    "dateutil.relativedelta",  # by Arrow, for its first Python value
    "duckdb",
    "encodings.idna",
    "encodings.utf_8_sig",
    "psycopg",
    "pymysql",
    "pyarrow.compute",
    "pyarrow.parquet",
    "pyarrow.csv",
    "sqlalchemy",
    "sqlalchemy.dialects.sqlite",
    "tmg_etl.cli.pipeline",
    "tmg_etl.cli.execution",
    "tmg_etl.config.loader",
    "tmg_etl.connectors.duckdb",
    "tmg_etl.connectors.files",
    "tmg_etl.connectors.mysql",
    "tmg_etl.connectors.postgres",
    "tmg_etl.connectors.sqlite",
    "tmg_etl.ledger.recorder",
    "tmg_etl.ledger.store",
    "tmg_etl.transfer.plan",
    "tmg_etl.transfer.runner",
)


@dataclasses.dataclass(frozen=True)
class Child:
    """A run under way.

    Attributes:
        pid: of its process.
        log: the file with its stderr and stdout.
        points_path: the file with the points that it reached.
    """

    pid: int
    log: pathlib.Path
    points_path: pathlib.Path

    @property
    def points(self) -> list[fault.Point]:
        """Return the points that it has reached so far."""
        return fault.read_points(self.points_path)


@dataclasses.dataclass(frozen=True)
class Ended:
    """How a process ended.

    Attributes:
        code: its exit code; minus the number of the signal that ended it.
        log: what it wrote.
        points: the points that it reached.
    """

    code: int
    log: str
    points: list[fault.Point]

    @property
    def error(self) -> str:
        """Return the message of the last line that it wrote."""
        line = (self.log.splitlines() or [""])[-1]
        try:
            return str(json.loads(line)["message"])
        except (ValueError, KeyError, TypeError):
            return line


@dataclasses.dataclass(frozen=True)
class Called:
    """How a command ended.

    Attributes:
        code: as for `Ended`.
        out: what it wrote to stdout.
        err: what it wrote to stderr.
    """

    code: int
    out: str
    err: str


class ForkServer:
    """Starts runs of a command, each in a process of its own.

    Args:
        constants: values to set before the runs, as ``module:NAME``: waits that tests cut short. A
            dictionary is merged into the one that is there.
        python_path: more folders to import pipelines from.
        warm: more modules to import before the runs.
        command: the module whose `main` is run.
    """

    def __init__(
        self,
        constants: Mapping[str, object] | None = None,
        python_path: Sequence[str] = (),
        warm: Sequence[str] = (),
        command: str = "tmg_etl.cli.pipeline",
    ) -> None:
        self._constants = dict(constants or {})
        self._python_path = list(python_path)
        self._warm = [*warm, command]
        self._command = command
        self._process: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)

    def __enter__(self) -> Self:
        """Start the server."""
        path = os.pathsep.join([*self._python_path, *filter(None, sys.path)])
        self._process = subprocess.Popen(
            [sys.executable, "-c", f"from {__name__} import serve; serve()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": path},
        )
        self._ask({"constants": self._constants, "warm": self._warm})
        return self

    def __exit__(self, *exc: object) -> None:
        """End the server; runs that are under way end with it."""
        server, self._process = self._process, None
        if server is not None:
            server.communicate()

    def start(
        self,
        arguments: Sequence[str],
        folder: pathlib.Path,
        injected: fault.Fault | None = None,
        clock_s: float = 0.0,
    ) -> Child:
        """Start the command and return at once.

        Args:
            arguments: of the command.
            folder: where its log and points are written.
            injected: what happens to it; None counts the points only.
            clock_s: seconds that its clock is fast; negative: slow.
        """
        number = next(self._numbers)
        log, points = folder / f"run{number}.log", folder / f"run{number}.points"
        answer = self._ask(
            {
                "command": self._command,
                "arguments": list(arguments),
                "out": str(log),
                "err": str(log),
                "points": str(points),
                "fault": None if injected is None else [injected.point, injected.action.value],
                "clock_s": clock_s,
            }
        )
        return Child(answer["pid"], log, points)

    def wait(self, child: Child, timeout_s: float = 60.0) -> Ended:
        """Return how a run ended.

        Raises:
            TimeoutError: it has not ended in time.
        """
        status = self._end_of(child.pid, timeout_s)
        log = _read(child.log)
        if status is None:
            raise TimeoutError(f"a run did not end in {timeout_s:g} s; {child.points[-1]}; {log}")
        return Ended(os.waitstatus_to_exitcode(status), log, child.points)

    def wait_suspended(self, child: Child, timeout_s: float = 60.0) -> bool:
        """Wait until a run is suspended; return False if it ended instead."""
        answer = self._ask({"wait": child.pid, "timeout_s": timeout_s, "stopped": True})
        if answer["status"] is None:
            raise TimeoutError(f"a run was not suspended in {timeout_s:g} s")
        return os.WIFSTOPPED(answer["status"])

    def run(
        self, arguments: Sequence[str], folder: pathlib.Path, injected: fault.Fault | None = None
    ) -> Ended:
        """Run the command to its end; arguments as for `start`."""
        return self.wait(self.start(arguments, folder, injected))

    def call(
        self,
        command: str,
        arguments: Sequence[str],
        folder: pathlib.Path,
        environ: Mapping[str, str],
        timeout_s: float = 60.0,
    ) -> Called:
        """Run a command to its end; several threads may.

        Args:
            command: the module with its `main`.
            arguments: of the command.
            folder: where it runs.
            environ: all its variables.
            timeout_s: how long it may take.

        Raises:
            TimeoutError: it has not ended in time.
        """
        with tempfile.TemporaryDirectory(prefix="tmg-call-", dir=process.memory()) as place:
            out, err = pathlib.Path(place, "out"), pathlib.Path(place, "err")
            request: dict[str, object] = {"command": command, "arguments": list(arguments)}
            request |= {"out": str(out), "err": str(err), "cwd": str(folder)}
            request["environ"] = dict(environ)
            status = self._end_of(self._ask(request)["pid"], timeout_s)
            if status is None:
                raise TimeoutError(f"{command} did not end in {timeout_s:g} s: {_read(err)}")
            return Called(os.waitstatus_to_exitcode(status), _read(out), _read(err))

    def _end_of(self, pid: int, timeout_s: float) -> int | None:
        """Return the status of a process that has ended, or None; others may ask the server."""
        end = os.pidfd_open(pid)
        try:
            poll = select.poll()
            poll.register(end, select.POLLIN)
            poll.poll(timeout_s * 1000)
        finally:
            os.close(end)
        status: int | None = self._ask({"wait": pid, "timeout_s": 0.0, "stopped": False})["status"]
        return status

    def _ask(self, request: Mapping[str, object]) -> dict[str, Any]:
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._lock:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the fork server has ended")
        answer: dict[str, Any] = json.loads(line)
        return answer


class _Server:
    """The other end of `ForkServer`, in its own process."""

    def __init__(self, answers: IO[str]) -> None:
        self._answers = answers
        self._ended: dict[int, int] = {}
        self._running: set[int] = set()

    def serve(self, requests: IO[str]) -> None:
        """Answer requests until there are no more."""
        for line in requests:
            request = json.loads(line)
            if "constants" in request:
                answer = self._warm(request["constants"], request["warm"])
            elif "wait" in request:
                answer = {"status": self._wait(request)}
            else:
                answer = {"pid": self._fork(request)}
            self._answers.write(json.dumps(answer) + "\n")
            self._answers.flush()
        for pid in self._running:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, 9)

    def _warm(self, constants: Mapping[str, object], more: Sequence[str]) -> dict[str, Any]:
        for name in (*_WARM, *more):
            importlib.import_module(name)
        for path, value in constants.items():
            module_name, _, name = path.partition(":")
            module = importlib.import_module(module_name)
            present = getattr(module, name)
            setattr(module, name, present | value if isinstance(value, dict) else value)
        _practise()
        # Else the first collection in a child would touch, and so copy, every page of the parent.
        gc.collect()
        gc.freeze()
        return {}

    def _fork(self, request: Mapping[str, Any]) -> int:
        pid = os.fork()
        if pid == 0:
            code = 70
            try:
                code = _child(request)
            except BaseException:  # noqa: BLE001 - this process ends here, whatever happened
                traceback.print_exc()
            finally:
                with contextlib.suppress(Exception):
                    sys.stdout.flush()
                    sys.stderr.flush()
                os._exit(code)
        self._running.add(pid)
        return pid

    def _wait(self, request: Mapping[str, Any]) -> int | None:
        pid = int(request["wait"])
        flags = os.WNOHANG | (os.WUNTRACED if request["stopped"] else 0)
        deadline = time.monotonic() + float(request["timeout_s"])
        while not (found := os.waitpid(pid, flags))[0]:
            if time.monotonic() >= deadline:
                return None
            time.sleep(_POLL_S)
        _, status = found
        if not os.WIFSTOPPED(status):
            self._running.discard(pid)
        return status


def _practise() -> None:
    """Have what learns at its first use learn before the first child; no thread stays."""
    import duckdb
    import pyarrow as pa

    from tmg_etl.ledger import record, writer

    day, now = datetime.date(2024, 3, 10), datetime.datetime.now(datetime.UTC)
    words = ("transfer", "target", "write_mode", "env", "config_location", "config_digest")
    facts: dict[str, Any] = dict.fromkeys((*words, "pipeline", "version", "host"), "practice")
    facts |= dict.fromkeys(("execution_date", "window_start", "window_end"), day)
    facts |= {"id": "practice", "pid": os.getpid(), "started_at": now, "job_ids": ("1",)}
    with tempfile.TemporaryDirectory(prefix="tmg-fork-") as folder:
        # A ledger that is there already is only looked at.
        for number in ("practice", "practice2"):
            run = record.Record(**facts | {"id": number})
            ledger = writer.Writer(f"sqlite:///{folder}/ledger.db")
            ledger.begin(run)
            ledger.finish(dataclasses.replace(run, status="succeeded", finished_at=now))
    # Its threads end with it; what it has learnt of its own SQL is a fifth of a small run.
    with duckdb.connect() as raw:
        raw.register("rows", pa.table({"id": [1]}))
        raw.execute("CREATE TABLE t (id BIGINT PRIMARY KEY)")
        raw.execute("INSERT INTO t SELECT * FROM rows").fetchall()
        raw.sql("SELECT table_name FROM duckdb_tables() ORDER BY 1").to_arrow_table()


def _child(request: Mapping[str, Any]) -> int:
    files = (request["out"], request["err"])
    for number, path in enumerate(files, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    # The server's own streams still name what they were made for; these write into the files.
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", 1, "utf-8", "backslashreplace", closefd=False)  # noqa: SIM115
    if "environ" in request:
        os.chdir(request["cwd"])
        os.environ.clear()
        os.environ.update(request["environ"])
        time.tzset()
    else:
        _inject(request)
    code: int = importlib.import_module(request["command"]).main(request["arguments"])
    return code


def _inject(request: Mapping[str, Any]) -> None:
    injected = None
    if request["fault"] is not None:
        point, action = request["fault"]
        injected = fault.Fault(int(point), fault.Action(action))
    if request["clock_s"]:
        fault.move_clock(float(request["clock_s"]))
    fault.install(fault.Tap(pathlib.Path(request["points"]), injected))


def _read(path: pathlib.Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")


def serve() -> None:
    """Be the server: answer the requests on stdin until there are no more."""
    _Server(sys.stdout).serve(sys.stdin)
