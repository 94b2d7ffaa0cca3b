"""An exclusive lock for stores without sessions: a record that its holder keeps changing.

A database ends a lock with the connection that holds it. A bucket or a warehouse behind HTTP knows
no connections, so the holder writes a record by compare-and-swap and renews it every few seconds.
Who waits watches the record by its own monotonic clock: one that did not change for `TTL_S` belongs
to a dead run and is taken over, by compare-and-swap as well. Clocks of different machines are never
compared, and moving the wall clock changes nothing.

A lease alone cannot keep a run that slept through its end from acting as if it still held it.
Therefore a publish asks `Lease.check` first, and the store refuses what comes later all the same:
see ``docs/decisions/0006-lease-and-fence.md``. No I/O here but through the register.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable
from typing import Protocol

from tmg_etl import errors
from tmg_etl import run as run_module
from tmg_etl.connectors import lock, waiting

#: Seconds without a change after which a holder is dead. Long enough for three renewals to fail in
#: a row (a slow server, a short network cut); short enough that the default `lock_wait_s` of 60 s
#: outlasts a run that was killed.
TTL_S = 30.0
#: Seconds from one renewal to the next.
BEAT_S = 8.0
_SHORTEST_POLL_S = 0.05
_LONGEST_POLL_S = 2.0

_logger = logging.getLogger("tmg_etl")


class HeldError(Exception):
    """`Register.create` found a record; for registers to raise, never seen by users."""


class LostError(Exception):
    """The record is not that of the token any more; for registers to raise."""


class Register(Protocol):
    """One record of a store that is only ever changed by compare-and-swap.

    A token stands for one version of the record, such as an object's generation or an etag. What
    else can go wrong is raised as `errors.TmgEtlError`.
    """

    def create(self, record: str) -> str:
        """Write the record if there is none; return its token.

        Raises:
            HeldError: there is one.
        """

    def read(self) -> tuple[str, str] | None:
        """Return the record and its token, or None when there is none."""

    def replace(self, record: str, token: str) -> str:
        """Overwrite the version `token`; return the new token. Never creates a record.

        Raises:
            LostError: the record is another version, or gone.
        """

    def remove(self, token: str) -> None:
        """Remove the version `token`.

        Raises:
            LostError: the record is another version, or gone.
        """


@dataclasses.dataclass(frozen=True)
class Record:
    """What a holder writes.

    Attributes:
        run_id: the run.
        host: name of its machine.
        pid: its process there.
        nonce: random; tells two leases of one run apart.
        counter: how often it was renewed, so that every renewal is a change.
        note: what the next holder must know if this one dies, such as a job under way.
    """

    run_id: str
    host: str
    pid: int
    nonce: str
    counter: int = 0
    note: str = ""

    @property
    def text(self) -> str:
        """Return the record as one line of JSON."""
        return json.dumps(dataclasses.asdict(self), separators=(",", ":"))

    @property
    def holder(self) -> str:
        """Return who it is, as messages say it."""
        return f"run {self.run_id} (process {self.pid} on {self.host})"

    @classmethod
    def parse(cls, text: str) -> Record | None:
        """Return the record of a text, or None when a run did not write it."""
        try:
            facts = json.loads(text)
            return cls(
                run_id=str(facts["run_id"]),
                host=str(facts["host"]),
                pid=int(facts["pid"]),
                nonce=str(facts["nonce"]),
                counter=int(facts["counter"]),
                note=str(facts["note"]),
            )
        except (ValueError, TypeError, KeyError):
            return None


class Lease(lock.Lock):
    """The lock of one target; used by one thread besides its own.

    Args:
        register: where the record is.
        subject: what is locked, as messages name it.
        ttl_s: see `TTL_S`; None takes it. Every run on one target must use the same.
        beat_s: see `BEAT_S`; None takes it.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        register: Register,
        subject: str,
        *,
        ttl_s: float | None = None,
        beat_s: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(subject)
        #: Record of the dead run that this lease was taken from; None when it was free.
        #: Its note is this lease's own until `settle`: who takes over from this run must know it.
        self.predecessor: Record | None = None
        self._register = register
        self._ttl_s = TTL_S if ttl_s is None else ttl_s
        self._beat_s = BEAT_S if beat_s is None else beat_s
        self._clock = clock
        # Guards what follows; the heart beats in a thread of its own.
        self._mutex = threading.RLock()
        self._record: Record | None = None
        self._token = ""
        self._is_lost = False
        self._ended = threading.Event()
        self._heart: threading.Thread | None = None

    def acquire(self, run_id: str, wait_s: float, stop: run_module.StopFlag | None = None) -> None:
        """Take the lease and begin to renew it.

        Args:
            run_id: written into the record, for those who wait.
            wait_s: seconds to wait for it; 0 tries once. A dead run is recognised only by those
                who wait longer than the lease's `ttl_s`.
            stop: ends the waiting when a signal asks to stop; None: nothing does.

        Raises:
            errors.LockBusyError: another holds it all that time; names it.
        """
        if self._record is not None:
            raise RuntimeError(f"{self.subject} is locked already by this run")
        record = Record(run_id, socket.gethostname(), os.getpid(), secrets.token_hex(8))
        watch = _Watch(self._ttl_s, self._clock)
        longest_s = min(_LONGEST_POLL_S, max(self._ttl_s / 4, _SHORTEST_POLL_S))
        wait = waiting.Wait(self.subject, wait_s, stop, longest_poll_s=longest_s, clock=self._clock)
        self.predecessor = None
        while (token := self._try(record, watch)) is None:
            wait.pause(lambda: watch.told)
        with self._mutex:
            self._record, self._token, self._is_lost = self._heir(record), token, False
        self._ended.clear()
        self._heart = threading.Thread(target=self._beat, name="tmg-etl-lease", daemon=True)
        self._heart.start()

    def check(self, note: str | None = None) -> None:
        """Ask the store whether this run still holds the lease, by renewing it.

        Args:
            note: kept in the record from now on, for the next holder should this one die; None
                leaves it as it is.

        Raises:
            errors.LockLostError: another run took it over, or it is not held at all.
        """
        with self._mutex:
            if self._record is not None and not self._is_lost:
                with contextlib.suppress(LostError):
                    self._renew(note)
                    return
            self._is_lost = True
        raise errors.LockLostError(
            f"the lock of {self.subject} is gone: this run did not renew it for {self._ttl_s:g} s"
            " and another took it over, or its record was removed",
            hint="nothing was published; run again",
        )

    def settle(self) -> None:
        """Forget the note: what it names has ended, or never began."""
        with self._mutex:
            if self._record is not None:
                self._record = dataclasses.replace(self._record, note="")

    def release(self) -> None:
        """Give the lease back; harmless when called again.

        With a note the record stays: what is noted may still be under way, and the next holder
        takes the lease over with it as from the dead. What the store says against a release is
        logged and not raised: the run's work is done, and the lease ends by itself.
        """
        self._ended.set()
        heart, self._heart = self._heart, None
        if heart is not None:
            heart.join(self._ttl_s)
        with self._mutex:
            record, self._record = self._record, None
            if record is None or self._is_lost:
                return
            if record.note:
                _logger.warning(
                    "%s: the lock ends by itself in %g s, because this may be under way: %s",
                    self.subject,
                    self._ttl_s,
                    record.note,
                )
                return
            try:
                self._remove(record)
            except LostError:
                _logger.warning("%s: the lock was lost before it was released", self.subject)
            except errors.TmgEtlError as error:
                _logger.warning(
                    "%s: the lock could not be released and ends by itself in %g s: %s",
                    self.subject,
                    self._ttl_s,
                    error,
                )

    # --- taking ---------------------------------------------------------------------------------

    def _try(self, record: Record, watch: _Watch) -> str | None:
        """Return the token if the lease could be taken now."""
        try:
            token = self._register.create(record.text)
        except HeldError:
            pass
        else:
            self.predecessor = None
            return token
        found = self._register.read()
        if found is None:
            return None
        text, token = found
        other = Record.parse(text)
        if other is not None and other.nonce == record.nonce:
            # Our own, from an attempt whose answer was lost.
            return token
        if not watch.is_dead(text, token, other):
            return None
        # Before it is asked: the answer may be lost.
        self.predecessor = other
        try:
            taken = self._register.replace(self._heir(record).text, token)
        except LostError:
            return None
        _logger.warning("%s: took the lock over from %s, which is dead", self.subject, watch.holder)
        return taken

    def _heir(self, record: Record) -> Record:
        """Return a record with the note that is taken over."""
        other = self.predecessor
        return record if other is None else dataclasses.replace(record, note=other.note)

    # --- holding --------------------------------------------------------------------------------

    def _beat(self) -> None:
        while not self._ended.wait(self._beat_s):
            try:
                with self._mutex:
                    if self._record is None:
                        return
                    self._renew()
            except LostError:
                self._is_lost = True
                _logger.warning("%s: the lock was lost", self.subject)
                return
            except Exception as error:  # noqa: BLE001 - a heart that stops gives the lock away
                # The next beat may get through; if none does, the publish will find out.
                text = errors.redact(errors.one_line(str(error)))
                _logger.warning("%s: the lock could not be renewed: %s", self.subject, text)

    def _renew(self, note: str | None = None) -> None:
        """Write the record anew; the mutex is held."""
        assert self._record is not None
        record = dataclasses.replace(
            self._record,
            counter=self._record.counter + 1,
            note=self._record.note if note is None else note,
        )
        # Kept even if it fails: a store may have written it and lost the answer.
        self._record = record
        try:
            self._token = self._register.replace(record.text, self._token)
        except LostError:
            self._token = self._register.replace(record.text, self._own_token(record))

    def _remove(self, record: Record) -> None:
        try:
            self._register.remove(self._token)
        except LostError:
            self._register.remove(self._own_token(record))

    def _own_token(self, record: Record) -> str:
        """Return the token of the record in the store if it is still ours.

        The answer to our last change may have been lost, and the store have made it.
        """
        found = self._register.read()
        other = Record.parse(found[0]) if found else None
        if found is None or other is None or other.nonce != record.nonce:
            raise LostError
        return found[1]


class _Watch:
    """How long a record has not changed, by this process's clock."""

    def __init__(self, ttl_s: float, clock: Callable[[], float]) -> None:
        self.holder = "an unknown run"
        self._ttl_s = ttl_s
        self._clock = clock
        self._token: str | None = None
        self._since = 0.0

    def is_dead(self, text: str, token: str, record: Record | None) -> bool:
        """Return whether the holder of a record that was just read is dead."""
        self.holder = record.holder if record else errors.shorten(errors.one_line(text), 80)
        now = self._clock()
        if token != self._token:
            self._token, self._since = token, now
        return now - self._since >= self._ttl_s

    @property
    def told(self) -> str:
        """Return the holder, and how a dead one is recognised."""
        return f"{self.holder}, which is dead if it gives no sign of life for {self._ttl_s:g} s"
