"""Follows the logs of a Job's pods until they have ended; reconnects, repeats nothing."""

from __future__ import annotations

import datetime
import math
import threading
import time
from collections.abc import Callable, Iterable

from tmg_etl import errors
from tmg_etl.launch import cluster, manifest

_MARGIN_S = 5  # our clock and the node's differ; what comes twice is dropped
_LOST_LIMIT = 10  # tries for a log that cannot be had, before it is given up


class Follower:
    """Prints the lines of all pods of a Job as they come.

    Args:
        place: the cluster.
        say: called with each line, by several threads, one at a time.
        pause_s: seconds before a stream that ended is opened again.
    """

    def __init__(
        self, place: cluster.Cluster, say: Callable[[str], None], *, pause_s: float = 1.0
    ) -> None:
        self._place = place
        self._say = say
        self._pause_s = pause_s
        self._lock = threading.Lock()
        self._threads: dict[str, threading.Thread] = {}
        self._ended: dict[str, threading.Event] = {}

    def update(self, pods: Iterable[cluster.Object], *, is_many: bool = False) -> None:
        """Follow pods that have started since the last call, and note those that have ended.

        Args:
            pods: all pods of the Job.
            is_many: write the pod's name before each line.
        """
        for pod in pods:
            name = pod["metadata"]["name"]
            running, terminated = _state(pod)
            if name not in self._threads and (running or terminated):
                prefix = f"[{name}] " if is_many else ""
                self._ended[name] = threading.Event()
                thread = threading.Thread(
                    target=self._follow, args=(name, prefix), name=f"log {name}", daemon=True
                )
                self._threads[name] = thread
                thread.start()
            if terminated and name in self._ended:
                self._ended[name].set()

    def close(self, timeout_s: float = 10.0) -> None:
        """Wait for the last lines of pods that have ended; leave the others."""
        for event in self._ended.values():
            event.set()
        until = time.monotonic() + timeout_s
        for thread in self._threads.values():
            thread.join(max(0.0, until - time.monotonic()))

    def _follow(self, pod: str, prefix: str) -> None:
        seen = _Seen()
        lost = 0
        while True:
            is_last = self._ended[pod].is_set()
            try:
                for line in self._place.log(pod, manifest.CONTAINER, seen.since_s()):
                    lost = 0
                    text = seen.take(line)
                    if text is not None:
                        with self._lock:
                            self._say(prefix + text)
            except cluster.NotFoundError:
                return
            except errors.TmgEtlError as error:
                lost += 1
                if lost > _LOST_LIMIT or isinstance(error, errors.AccessError):
                    with self._lock:
                        self._say(f"{prefix}(the log cannot be followed: {error})")
                    return
                is_last = False
            # Asked once more after the end: a stream may break off before its last line.
            if is_last:
                return
            self._ended[pod].wait(self._pause_s)


class _Seen:
    """What was printed, so that a stream that is opened again goes on after it."""

    def __init__(self) -> None:
        self._last = ""
        self._count = 0  # lines printed with exactly that timestamp
        self._skip = 0
        self._at: datetime.datetime | None = None

    def since_s(self) -> int | None:
        """Return how far back to ask; begins a new stream."""
        self._skip = self._count
        if self._at is None:
            return None
        age = datetime.datetime.now(datetime.UTC) - self._at
        return max(1, math.ceil(age.total_seconds()) + _MARGIN_S)

    def take(self, line: str) -> str | None:
        """Return the line without its timestamp; None if it was printed before."""
        stamp, _, text = line.partition(" ")
        key, at = _instant(stamp)
        if at is None:
            return line
        if key < self._last:
            return None
        if key == self._last and self._skip > 0:
            self._skip -= 1
            return None
        if key != self._last:
            self._last, self._count, self._skip = key, 0, 0
        self._count, self._at = self._count + 1, at
        return text


def _instant(stamp: str) -> tuple[str, datetime.datetime | None]:
    """Return a timestamp as text that sorts (nine digits of a second), and as an instant."""
    head, _, fraction = stamp.removesuffix("Z").partition(".")
    try:
        at = datetime.datetime.strptime(head, "%Y-%m-%dT%H:%M:%S").replace(tzinfo=datetime.UTC)
    except ValueError:
        return "", None
    return f"{head}.{fraction:0<9}", at


def _state(pod: cluster.Object) -> tuple[bool, bool]:
    for state in pod.get("status", {}).get("containerStatuses") or []:
        if state["name"] == manifest.CONTAINER:
            found = state.get("state", {})
            return "running" in found, "terminated" in found
    return False, False
