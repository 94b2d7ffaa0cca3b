"""The lease: exclusion, take-over of the dead, loss, lost answers; on a register in memory."""

import logging
import threading
import time
from collections.abc import Callable

import pytest

from tmg_etl import errors
from tmg_etl import run as run_module
from tmg_etl.connectors import lease


class Memory:
    """A register; `after` is called when a change was made, and may raise as a lost answer does."""

    def __init__(self) -> None:
        self.record: str | None = None
        self.version = 0
        self.changes: list[str] = []
        self.after: Callable[[str], None] = lambda change: None
        self._mutex = threading.Lock()

    def create(self, record: str) -> str:
        with self._mutex:
            if self.record is not None:
                raise lease.HeldError
            return self._set("create", record)

    def read(self) -> tuple[str, str] | None:
        with self._mutex:
            return None if self.record is None else (self.record, str(self.version))

    def replace(self, record: str, token: str) -> str:
        with self._mutex:
            self._require(token)
            return self._set("replace", record)

    def remove(self, token: str) -> None:
        with self._mutex:
            self._require(token)
            self._set("remove", None)

    def _require(self, token: str) -> None:
        if self.record is None or token != str(self.version):
            raise lease.LostError

    def _set(self, change: str, record: str | None) -> str:
        self.record, self.version = record, self.version + 1
        self.changes.append(change)
        self.after(change)
        return str(self.version)


class Clock:
    """Seconds that pass when a test says so, and a little at each look."""

    def __init__(self, step_s: float) -> None:
        self.now_s = 0.0
        self.step_s = step_s

    def __call__(self) -> float:
        self.now_s += self.step_s
        return self.now_s


@pytest.fixture
def register() -> Memory:
    return Memory()


def holding(register: Memory, beat_s: float = 0.05) -> lease.Lease:
    return lease.Lease(register, "the table t", ttl_s=0.4, beat_s=beat_s)


def silent(register: Memory) -> lease.Lease:
    """Return a lease whose heart does not beat within a test."""
    return holding(register, beat_s=3600)


def once(register: Memory, change: str, error: Exception) -> None:
    """Have the answer to the next change of that kind lost."""

    def after(made: str) -> None:
        if made == change:
            register.after = lambda change: None
            raise error

    register.after = after


def test_the_record_names_its_holder_and_goes_with_it(register: Memory) -> None:
    with silent(register).hold("run-a", 0):
        assert register.record is not None
        record = lease.Record.parse(register.record)
        assert record is not None
        assert record.run_id == "run-a"
        assert "run run-a (process " in record.holder
    assert register.record is None


def test_a_second_run_gives_up_and_names_the_first(register: Memory) -> None:
    with (
        holding(register).hold("run-a", 0),
        pytest.raises(errors.LockBusyError, match=r"the table t is locked by run run-a \(process"),
    ):
        silent(register).acquire("run-b", 0.2)
    with silent(register).hold("run-b", 0):
        pass


def test_a_living_holder_is_never_taken_over(register: Memory) -> None:
    with holding(register).hold("run-a", 0):
        with pytest.raises(errors.LockBusyError):
            silent(register).acquire("run-b", 1.2)
        assert register.changes.count("replace") > 10


def test_a_dead_holder_is_taken_over_with_its_note(register: Memory) -> None:
    dead = silent(register)
    dead.acquire("run-a", 0)
    dead.check(note="job 7")
    began = time.monotonic()
    heir = silent(register)
    with heir.hold("run-b", 5):
        assert time.monotonic() - began >= 0.4
        assert heir.predecessor is not None
        assert (heir.predecessor.run_id, heir.predecessor.note) == ("run-a", "job 7")
        # It wakes up: it must neither publish nor remove what is the other's now.
        with pytest.raises(errors.LockLostError, match="took it over"):
            dead.check()
        with pytest.raises(errors.LockLostError):
            dead.check()
        dead.release()
        heir.check()
        heir.settle()
    assert register.record is None


def test_an_heir_that_could_not_end_what_is_noted_passes_the_note_on(register: Memory) -> None:
    dead = silent(register)
    dead.acquire("run-a", 0)
    dead.check(note="job 7")
    with pytest.raises(errors.TemporaryError), silent(register).hold("run-b", 5):
        raise errors.TemporaryError("job 7 has not ended")
    killed = silent(register)
    killed.acquire("run-c", 5)
    killed.check()
    heir = silent(register)
    with heir.hold("run-d", 5):
        assert heir.predecessor is not None
        assert (heir.predecessor.run_id, heir.predecessor.note) == ("run-c", "job 7")
        heir.settle()
    assert register.record is None


def test_the_answer_to_a_take_over_may_be_lost(register: Memory) -> None:
    dead = silent(register)
    dead.acquire("run-a", 0)
    dead.check(note="job 7")
    # The client tries again and finds another version: its own.
    once(register, "replace", lease.LostError())
    heir = silent(register)
    with heir.hold("run-b", 5):
        assert heir.predecessor is not None
        assert (heir.predecessor.run_id, heir.predecessor.note) == ("run-a", "job 7")
        heir.settle()


def test_a_note_outlives_a_release_until_it_is_settled(register: Memory) -> None:
    owner = silent(register)
    with owner.hold("run-a", 0):
        owner.check(note="job 7")
    heir = silent(register)
    with heir.hold("run-b", 5):
        assert heir.predecessor is not None
        assert heir.predecessor.note == "job 7"
        heir.check(note="job 8")
        heir.settle()
    assert register.record is None


def test_only_the_watchers_own_clock_counts(register: Memory) -> None:
    silent(register).acquire("run-a", 0)
    patient = lease.Lease(register, "t", ttl_s=30, beat_s=3600, clock=Clock(step_s=6))
    patient.acquire("run-b", 100)
    assert patient.predecessor is not None
    patient.release()
    silent(register).acquire("run-a", 0)
    hasty = lease.Lease(register, "t", ttl_s=30, beat_s=3600, clock=Clock(step_s=6))
    with pytest.raises(errors.LockBusyError, match="no sign of life for 30 s"):
        hasty.acquire("run-c", 20)


def test_a_record_that_no_run_wrote_is_waited_for_too(register: Memory) -> None:
    register.create("somebody's own text")
    with pytest.raises(errors.LockBusyError, match="somebody's own text"):
        silent(register).acquire("run-a", 0.1)
    heir = silent(register)
    with heir.hold("run-a", 5):
        assert heir.predecessor is None


def test_the_answer_to_a_creation_may_be_lost(register: Memory) -> None:
    # The client tries again and finds its own record.
    once(register, "create", lease.HeldError())
    owner = silent(register)
    with owner.hold("run-a", 0):
        owner.check()
    assert register.record is None


@pytest.mark.parametrize("change", ["replace", "remove"])
def test_the_answer_to_a_change_may_be_lost(register: Memory, change: str) -> None:
    owner = silent(register)
    with owner.hold("run-a", 0):
        once(register, change, errors.TemporaryError("connection reset"))
        if change == "replace":
            with pytest.raises(errors.TemporaryError, match="connection reset"):
                owner.check()
            owner.check()
    assert register.record is None


def test_a_renewal_that_fails_is_told_and_tried_again(
    register: Memory, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "tmg_etl")
    owner = holding(register)
    with owner.hold("run-a", 0):
        once(register, "replace", errors.TemporaryError("backend error"))
        seen = len(register.changes)
        while len(register.changes) < seen + 4:
            time.sleep(0.01)
        owner.check()
    assert "could not be renewed: backend error" in caplog.text


def test_a_renewal_that_fails_in_an_unknown_way_is_tried_again(register: Memory) -> None:
    owner = holding(register)
    with owner.hold("run-a", 0):
        once(register, "replace", ValueError("no JSON"))
        seen = len(register.changes)
        deadline = time.monotonic() + 5
        while len(register.changes) < seen + 4 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(register.changes) >= seen + 4
        owner.check()


def test_a_record_that_was_removed_is_a_lock_lost(register: Memory) -> None:
    owner = silent(register)
    with owner.hold("run-a", 0):
        register.record = None
        with pytest.raises(errors.LockLostError) as caught:
            owner.check()
    assert caught.value.exit_code == errors.EXIT_TEMPORARY


def test_a_lock_that_is_not_held_cannot_be_checked(register: Memory) -> None:
    with pytest.raises(errors.LockLostError):
        silent(register).check()


def test_what_is_said_against_a_release_is_logged(
    register: Memory, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "tmg_etl")
    owner = silent(register)
    owner.acquire("run-a", 0)
    once(register, "remove", errors.TemporaryError("backend error"))
    owner.release()
    owner.release()
    assert "ends by itself in 0.4 s: backend error" in caplog.text


def test_a_stop_ends_the_waiting(register: Memory) -> None:
    stop = run_module.StopFlag()
    with holding(register).hold("run-a", 0):
        threading.Timer(0.1, stop.set, [15]).start()
        with pytest.raises(errors.Stopped):
            silent(register).acquire("run-b", 30, stop)


def test_many_runs_go_one_after_the_other(register: Memory) -> None:
    inside: list[int] = []
    most = 0

    def work(number: int) -> None:
        nonlocal most
        with holding(register).hold(f"run-{number}", 30):
            inside.append(number)
            most = max(most, len(inside))
            time.sleep(0.01)
            inside.remove(number)

    threads = [threading.Thread(target=work, args=[number]) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
    assert register.changes.count("create") == 6


def test_a_run_does_not_lock_twice(register: Memory) -> None:
    owner = silent(register)
    with owner.hold("run-a", 0), pytest.raises(RuntimeError):
        owner.acquire("run-a", 0)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"run_id": 1}', "\0", '{"pid": "x"}'])
def test_other_texts_are_no_record(text: str) -> None:
    assert lease.Record.parse(text) is None


def test_a_record_survives_its_text() -> None:
    record = lease.Record("run", "host", 7, "abc", 3, "note 'with\" quotes\n")
    assert lease.Record.parse(record.text) == record
    assert "\n" not in record.text


def test_defaults() -> None:
    # The default lock_wait_s (60 s) must outlast a dead holder, and three beats may fail.
    assert lease.TTL_S == 30
    assert lease.BEAT_S * 3 < lease.TTL_S
