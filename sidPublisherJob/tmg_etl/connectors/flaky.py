"""A connection that stands before another one and fails where the config says, for tests.

Every call of a method of `base.Source` and `base.Target` is a point, every batch of a reading too,
and so are the moments right after them. A point is named after what is about to happen, how often
it has happened on this connection in this process, and, where it has happened already, ``after``:

==================  ================================================================================
point               moment
==================  ================================================================================
``load:2``          before the second batch is loaded
``load:2:after``    the second batch is in the database, and the run does not know it yet
``read:3``          before the third batch is read; after the last one comes the end of the rows
``lock``            before the lock is taken, the first time: ``lock`` and ``lock:1`` are the same
``unlock``          before it is given back
``transaction``     before a transaction begins
``commit``          before it is committed; ``commit:after`` is a COMMIT whose answer is lost
``rollback``        before it is rolled back
``end_reading``     as ``commit``, of another block: ``end_rehearsal``, …
``query``           of a hand-written pipeline; ``execute``, ``open_source``, ``open_target`` too
==================  ================================================================================

Batches are loaded one after the other, so that a run reaches its points in one order.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import datetime
import difflib
import functools
import inspect
import logging
import os
import pathlib
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import pyarrow as pa

from tmg_etl import errors
from tmg_etl import run as run_module
from tmg_etl.connectors import base

if TYPE_CHECKING:
    from tmg_etl.config import model

_Result = TypeVar("_Result")

_POLL_S = 0.05
#: What leaving a block is called, where it has a name of its own.
_ENDS = {"lock": "unlock", "transaction": "commit"}
_OF_CONNECTION = ("open_source", "open_target", "query", "execute")
#: Asked for numbers and names that are known already: nothing can fail there.
_NO_POINTS = ("lanes",)


class InjectedError(Exception):
    """What the action ``raise`` raises: an error that no code expects."""


def points() -> frozenset[str]:
    """Return the names of all points, without their numbers."""
    names = set(_OF_CONNECTION)
    for kind in (base.Source, base.Target):
        for name, method in _methods(kind).items():
            names.add(name)
            if _gives(method, "AbstractContextManager"):
                names.add(_end_of(name))
    return frozenset(names | {"rollback"})


class FlakyConnection(base.Connection):
    """See the module."""

    def __init__(self, spec: model.Connection, folder: pathlib.Path) -> None:
        super().__init__(spec, folder)
        facts: Any = spec
        record = None if facts.record is None else folder / facts.record
        self._of: str = facts.of
        self._points = _Points(spec.name, facts.faults, record, lambda: self.stop)

    @property
    def behind(self) -> base.Connection:
        """Return the connection that this one stands before."""
        return self.others[self._of]

    def open_source(  # noqa: D102 - as in Connection
        self, spec: model.SourceSpec, execution_date: datetime.date
    ) -> base.Source:
        with self._points.around("open_source"):
            found = self.behind.open_source(spec, execution_date)
        source: base.Source = _FLAKY_SOURCE(found, self._points)
        return source

    def open_target(self, table: str) -> base.Target:  # noqa: D102 - as in Connection
        with self._points.around("open_target"):
            found = self.behind.open_target(table)
        target: base.Target = _FLAKY_TARGET(found, self._points)
        return target

    def check(self, *, connect: bool) -> None:
        """Ask the connection behind it; no point is counted."""
        self.behind.check(connect=connect)

    def query(  # noqa: D102 - as in Connection
        self, sql: str, parameters: Mapping[str, Any] | None = None
    ) -> pa.Table:
        with self._points.around("query"):
            return self.behind.query(sql, parameters)

    def execute(  # noqa: D102 - as in Connection
        self, sql: str, parameters: Mapping[str, Any] | None = None
    ) -> int:
        with self._points.around("execute"):
            return self.behind.execute(sql, parameters)


class _Points:
    """Counts the points of one connection, writes them down, and acts at those of `faults`."""

    def __init__(
        self,
        connection: str,
        faults: Mapping[str, str],
        record: pathlib.Path | None,
        stop: Callable[[], run_module.StopFlag],
    ) -> None:
        self._connection = connection
        self._faults = {_numbered(connection, point): act for point, act in faults.items()}
        self._record = record
        self._stop = stop
        self._counts: collections.Counter[str] = collections.Counter()
        self._guard = threading.Lock()

    def before(self, name: str) -> int:
        """Be at the moment before something; return its number."""
        with self._guard:
            self._counts[name] += 1
            number = self._counts[name]
        self._be_at(name, f"{name}:{number}")
        return number

    def after(self, name: str, number: int) -> None:
        """Be at the moment after it."""
        self._be_at(name, f"{name}:{number}:after")

    @contextlib.contextmanager
    def around(self, name: str) -> Iterator[None]:
        """Have a point before a block that does one thing, and one after it."""
        number = self.before(name)
        yield
        self.after(name, number)

    def _be_at(self, name: str, point: str) -> None:
        if self._record is not None:
            with self._record.open("a", encoding="utf-8") as file:
                file.write(f"{point}\n")
        action = self._faults.get(point)
        if action is None:
            return
        where = f"connection {self._connection!r} at {point}"
        logging.getLogger("tmg_etl").warning("injected: %s at %s", action, where)
        match action:
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "cut" if name == "commit":
                raise errors.CommitUnknownError(f"{where}: the connection was cut, as declared")
            case "cut":
                raise errors.ConnectionLostError(f"{where}: the connection was cut, as declared")
            case "full":
                raise errors.StorageFullError(f"{where}: no space is left, as declared")
            case "hang":
                self._hang()
            case "freeze":
                threading.Event().wait()
            case _:
                raise InjectedError(f"{where}: raised, as declared")

    def _hang(self) -> None:
        """Wait as for a long statement, which connectors cancel when the run is stopped."""
        stop = self._stop()
        while not stop.is_set:
            time.sleep(_POLL_S)
        stop.check()


def _numbered(connection: str, point: str) -> str:
    """Return a point as the config has it with its number: ``load`` becomes ``load:1``."""
    name, *rest = point.split(":")
    known = points()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        raise errors.ConfigError(
            f"connection {connection!r}: there is no point {point!r}",
            hint=f"did you mean {near[0]!r}?" if near else f"points: {', '.join(sorted(known))}",
        )
    number = rest.pop(0) if rest and rest[0].isdigit() else "1"
    return ":".join([name, number, *rest])


class _Flaky:
    """What a flaky source and a flaky target have in common: another one, and points around it."""

    def __init__(self, inner: Any, points: _Points) -> None:
        self.inner = inner
        self._points = points

    def __getattr__(self, name: str) -> Any:
        """Return what only the other's own class has."""
        return getattr(self.inner, name)

    def _call(self, name: str, call: Callable[[], _Result]) -> _Result:
        if name != "close":
            with self._points.around(name):
                return call()
        try:
            number = self._points.before(name)
        except BaseException:
            # What fails to close has hung up all the same: nothing may stay open behind it.
            call()
            raise
        result = call()
        self._points.after(name, number)
        return result

    def _batches(self, name: str, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        with contextlib.ExitStack() as stack:
            close = getattr(batches, "close", None)
            if close is not None:
                stack.callback(close)
            while True:
                with self._points.around(name):
                    batch = next(batches, None)
                if batch is None:
                    return
                yield batch

    @contextlib.contextmanager
    def _block(
        self, name: str, block: contextlib.AbstractContextManager[_Result]
    ) -> Iterator[_Result]:
        number = self._points.before(name)
        end = _end_of(name)
        with block as held:
            # An error at any of these points leaves the block as an error of its body does.
            self._points.after(name, number)
            try:
                yield held
            except BaseException:
                self._points.before("rollback" if name == "transaction" else end)
                raise
            number = self._points.before(end)
        self._points.after(end, number)


def _end_of(block: str) -> str:
    return _ENDS.get(block, f"end_{block}")


def _methods(kind: type) -> dict[str, Callable[..., Any]]:
    """Return the methods of an interface whose calls are points, by name."""
    return {
        name: value
        for name, value in vars(kind).items()
        if inspect.isfunction(value) and not name.startswith("_") and name not in _NO_POINTS
    }


def _gives(method: Callable[..., Any], word: str) -> bool:
    """Return whether a method's annotation says that it returns something of that name."""
    return word in str(method.__annotations__.get("return"))


def _inner(value: Any) -> Any:
    """Return an argument with the other ones in place of flaky ones."""
    if isinstance(value, _Flaky):
        return value.inner
    if isinstance(value, base.Exchange):
        return dataclasses.replace(value, target=_inner(value.target))
    if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
        return type(value)(map(_inner, value))
    return value


def _delegated(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
    """Return a method that calls that of the other one, with points around it."""
    is_block = _gives(method, "AbstractContextManager")
    is_lazy = _gives(method, "Iterator")

    @functools.wraps(method, updated=())  # not that it is abstract
    def call(self: Any, *arguments: Any, **named: Any) -> Any:
        bound = functools.partial(
            getattr(self.inner, name),
            *map(_inner, arguments),
            **{key: _inner(value) for key, value in named.items()},
        )
        if is_block:
            return self._block(name, bound())
        if is_lazy:
            return self._batches(name, bound())
        found = self._call(name, bound)
        return type(self)(found, self._points) if isinstance(found, base.Target) else found

    return call


def _attribute(name: str) -> property:
    """Return a property that is that of the other one."""
    return property(lambda self: getattr(self.inner, name))


def _flaky(kind: type) -> Any:
    """Return the class of an interface's flaky ones, made from the interface itself.

    Written by hand it would miss the next method that has a default.
    """
    body: dict[str, Any] = {
        name: _delegated(name, method) for name, method in _methods(kind).items()
    }
    properties = [name for name, value in vars(kind).items() if isinstance(value, property)]
    body |= {name: _attribute(name) for name in (*properties, "capabilities", "table")}
    # More than one would reach the points in another order each time.
    body["lanes"] = lambda self, name: 1
    return type(f"Flaky{kind.__name__}", (_Flaky, kind), body)


_FLAKY_SOURCE = _flaky(base.Source)
_FLAKY_TARGET = _flaky(base.Target)
