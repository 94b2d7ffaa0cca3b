"""Sessions that load one table side by side.

One session keeps one core of the server busy. A second one, over the rows that follow, took a
third off the time of a load on two cores; they seldom meet, because the rows come in order.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from tmg_etl import errors
from tmg_etl.connectors.mysql import session as session_module

#: More were not faster where the client has one core to encode with.
LIMIT = 2


class Lanes:
    """The main session, and others that are opened when it is busy.

    Args:
        main: the first lane; it stays open.
    """

    def __init__(self, main: session_module.Session) -> None:
        self._main = main
        self._free = [main]
        self._others: list[session_module.Session] = []
        self._limit = LIMIT
        self._opening = 0
        self._busy = 0
        self._is_exclusive = False
        self._alone: int | None = None
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def one(self, *, only_main: bool = False) -> Iterator[session_module.Session]:
        """Hold a lane for the length of a block.

        Args:
            only_main: wait for the main session, for tables that are soon loaded.
        """
        session = self._take(only_main=only_main)
        try:
            yield session
        finally:
            with self._changed:
                self._busy -= 1
                # The main one is taken first.
                self._free.insert(len(self._free) if session is self._main else 0, session)
                self._changed.notify_all()

    def _take(self, *, only_main: bool) -> session_module.Session:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._is_ready(only_main))
                self._busy += 1
                if self._has_free(only_main):
                    return self._free.pop()
                self._opening += 1
            opened = self._open()
            if opened is not None:
                return opened

    def _is_ready(self, only_main: bool) -> bool:
        is_there = self._has_free(only_main) or self._can_open(only_main)
        return is_there and not self._is_exclusive

    def _has_free(self, only_main: bool) -> bool:
        return self._main in self._free if only_main else bool(self._free)

    def _can_open(self, only_main: bool) -> bool:
        return not only_main and 1 + len(self._others) + self._opening < self._limit

    def _open(self) -> session_module.Session | None:
        """Return another session, or None where the server gives no more: the lanes do then."""
        session = None
        try:
            with contextlib.suppress(errors.TemporaryError):
                session = self._main.sibling()
            return session
        finally:
            with self._changed:
                self._opening -= 1
                if session is None:
                    self._busy -= 1
                    self._limit = 1 + len(self._others)
                else:
                    self._others.append(session)
                self._changed.notify_all()

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Wait, holding a lane, until no other one is busy, and let none begin in the block.

        Who is alone already goes on.
        """
        if self._alone == threading.get_ident():
            yield
            return
        with self._changed:
            # Others that want the same are not waited for.
            self._busy -= 1
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._busy and not self._is_exclusive)
            self._is_exclusive, self._alone = True, threading.get_ident()
        try:
            yield
        finally:
            with self._changed:
                self._is_exclusive, self._alone = False, None
                self._busy += 1
                self._changed.notify_all()

    def close(self) -> None:
        """Hang up all but the main session; the lanes can be used again."""
        with self._changed:
            others, self._others = self._others, []
            self._free = [self._main]
        for session in others:
            session.close()
