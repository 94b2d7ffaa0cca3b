"""One database server of a test session: its process, its port and its temporary folder."""

import abc
import contextlib
import fcntl
import functools
import os
import pathlib
import pwd
import random
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Self
from urllib import parse

HOST = "127.0.0.1"
_START_TIMEOUT_S = 90
_STOP_TIMEOUT_S = 60
# Below the range that Linux hands to outgoing connections: while a server restarts, no client
# connection of another test can take its port.
_PORTS = range(20_000, 32_000)
# The path of a Unix socket may have 107 bytes; what a server appends to its folder must still fit.
_LONGEST_ROOT = 60
_MEMINFO = pathlib.Path("/proc/meminfo")
#: Beside an installed environment lies what `script/bootstrap` unpacked, and what is kept of it.
_ENVIRONMENT = pathlib.Path(sys.prefix)
#: Several servers and what tests load into them fit into this.
_MEMORY_BYTES = 6 * 2**30


class ServerError(RuntimeError):
    """A test server is not installed, did not start or did not stop."""


class Server(abc.ABC):
    """What the test servers have in common: one process, one port, one temporary folder.

    Args:
        durable: False (default) switches off flushing to disk, which tests do not need and which
            makes them several times slower, and keeps the data in memory where there is room for
            it. True keeps the server's production settings, for tests
            that kill it and look at what survived.
    """

    user: ClassVar[str]
    _scheme: ClassVar[str]
    #: Who runs the server where the tests are run by root; None: root.
    _system_user: ClassVar[str | None]
    _stop_signal: ClassVar[signal.Signals]

    def __init__(self, *, durable: bool = False) -> None:
        self.password = f"p@ss/{secrets.token_hex(8)}"
        self.port = 0
        self._durable = durable
        self._is_suspended = False
        self._folder: pathlib.Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._watcher: subprocess.Popen[bytes] | None = None

    @abc.abstractmethod
    def connect(self, database: str | None = None) -> Any:
        """Open a DBAPI connection as administrator, with autocommit on.

        Args:
            database: None connects without choosing one (PostgreSQL: to `postgres`).
        """

    @abc.abstractmethod
    def create_database(self, name: str) -> str:
        """Create an empty database and return its URL."""

    @abc.abstractmethod
    def drop_database(self, name: str) -> None:
        """Drop a database if it exists, also while clients are connected to it."""

    @abc.abstractmethod
    def _initialise(self) -> None:
        """Create the data directory."""

    @abc.abstractmethod
    def _command(self) -> Sequence[str | os.PathLike[str]]:
        """Build the command line of the server process."""

    @property
    def folder(self) -> pathlib.Path:
        """Temporary folder with the data, the Unix socket and `server.log`.

        Raises:
            ServerError: The server has not been started, or was closed.
        """
        if self._folder is None:
            raise ServerError(f"{type(self).__name__} has no data yet: call start() first")
        return self._folder

    def _make_data(self, made_by: pathlib.Path, make: Callable[[], None]) -> None:
        """Have a new server's folder `data`; from the second server on, it is copied.

        To make one takes seconds. The first is kept in the environment that runs the tests, where
        that can be written to.

        Args:
            made_by: the program that the data belongs to; another one has data of its own.
            make: makes it.
        """
        data, places = self.folder / "data", _ENVIRONMENT / "server-data"
        state = made_by.stat()
        kept = places / f"{type(self).__name__}-{state.st_mtime_ns:x}-{state.st_size:x}"
        try:
            places.mkdir(exist_ok=True)
            lock = (places / f"{kept.name}.lock").open("a")
        except OSError:
            make()
            return
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not kept.exists():
                make()
                partial = kept.with_suffix(".partial")
                shutil.rmtree(partial, ignore_errors=True)
                _copy(data, partial)
                partial.rename(kept)
                return
        _copy(kept, data)

    def url(
        self, database: str = "", *, user: str | None = None, password: str | None = None
    ) -> str:
        """Build a URL as SQLAlchemy writes it, without naming a driver.

        Args:
            database: Name of the database; empty leaves it out.
            user: None means the administrator.
            password: None means the administrator's.
        """
        user = parse.quote(user or self.user, safe="")
        password = parse.quote(self.password if password is None else password, safe="")
        return f"{self._scheme}://{user}:{password}@{HOST}:{self.port}/{database}"

    def start(self) -> None:
        """Start the server and wait until it answers; the first call creates its data.

        Raises:
            ServerError: The binaries are missing, or the server stopped or did not answer in time.
        """
        if self._process is not None:
            return
        if self._folder is None:
            self._folder = _make_folder(self._system_user, durable=self._durable)
            self.port = free_port()
            try:
                self._initialise()
            except BaseException:
                self.close()
                raise
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                # Ctrl-C on the tests must reach the tests only: they stop the server in order.
                start_new_session=True,
                **self._identity(),
            )
        self._watcher = _watch(self._process.pid, self._stop_signal, self.folder)
        self._wait_until_ready()

    def stop(self) -> None:
        """Stop the server in order and keep its data: `start()` brings it back on the same port."""
        self._end(self._stop_signal)

    def kill(self) -> None:
        """Stop the server as a lost node would (SIGKILL) and keep its data."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Stop the server in order and start it again with the same data and port."""
        self.stop()
        self.start()

    def suspend(self) -> None:
        """Have the server answer nothing any more (SIGSTOP), as behind a network that is gone.

        Connections stay open, and new ones are accepted by the kernel. `resume` ends it.
        """
        self._is_suspended = True
        self._signal_all(signal.SIGSTOP)

    def resume(self) -> None:
        """Have a suspended server go on where it was; harmless for any other."""
        if self._is_suspended:
            self._is_suspended = False
            self._signal_all(signal.SIGCONT)

    def close(self) -> None:
        """Stop the server and remove its folder; it can be started afresh afterwards."""
        try:
            self.stop()
        finally:
            if self._folder is not None:
                shutil.rmtree(self._folder, ignore_errors=True)
                self._folder = None

    def __enter__(self) -> Self:
        """Start the server."""
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Stop the server and remove its data."""
        self.close()

    def _identity(self) -> dict[str, Any]:
        """Popen arguments that run a server program: most servers refuse to run as root."""
        environment = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(self.folder)}
        environment["LC_ALL"] = "C.UTF-8"
        if os.geteuid() != 0 or self._system_user is None:
            return {"env": environment}
        account = _account(self._system_user)
        return {
            "env": environment,
            "user": account.pw_uid,
            "group": account.pw_gid,
            "extra_groups": [],
        }

    def _run(self, *command: str | os.PathLike[str]) -> None:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=self.folder,
            check=False,
            **self._identity(),
        )
        if done.returncode:
            name = pathlib.Path(command[0]).name
            output = done.stdout.decode(errors="replace").strip()
            raise ServerError(f"{name} failed with exit code {done.returncode}:\n{output}")

    def _wait_until_ready(self) -> None:
        process = self._process
        assert process is not None
        deadline = time.monotonic() + _START_TIMEOUT_S
        while True:
            try:
                self.connect().close()
            except Exception as exc:  # noqa: BLE001 - the driver's errors; it is not imported here
                if process.poll() is not None or time.monotonic() > deadline:
                    problem = (
                        f"did not answer within {_START_TIMEOUT_S} s ({exc})"
                        if process.returncode is None
                        else f"stopped with exit code {process.returncode}"
                    )
                    log = (self.folder / "server.log").read_text(errors="replace")
                    self.kill()
                    raise ServerError(
                        f"{type(self).__name__} {problem}; its log ends:\n{log[-3000:]}"
                    ) from None
                time.sleep(0.05)
            else:
                return

    def _signal_all(self, number: signal.Signals) -> None:
        """Send a signal to the server's process and its children, which have groups of their own.

        The parent goes first: what it is asked for next, no child of it does.
        """
        if self._process is None:
            return
        parent = self._process.pid
        os.kill(parent, number)
        for pid in _children(parent):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def _end(self, how: signal.Signals) -> None:
        self.resume()
        process, self._process = self._process, None
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            watcher.kill()
            watcher.communicate()
        if process is None:
            return
        process.send_signal(how)
        try:
            process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise ServerError(
                f"{type(self).__name__} did not stop within {_STOP_TIMEOUT_S} s of {how.name}"
            ) from None


@functools.cache
def find(program: str, package: str) -> pathlib.Path:
    """Find a server's program, also where Debian hides it from the PATH; the newest version wins.

    Args:
        program: Name of the program.
        package: Debian package to name when it is missing.

    Raises:
        ServerError: It is not installed.
    """
    versions = sorted(
        pathlib.Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: p.parent.name, reverse=True
    )
    places = [
        str(_ENVIRONMENT / "mysql"),
        os.environ.get("PATH", os.defpath),
        *map(str, versions),
        "/usr/sbin",
        "/usr/local/sbin",
    ]
    found = shutil.which(program, path=os.pathsep.join(places))
    if found is None:
        raise ServerError(
            f"{program} is not installed: the tests need a real server. "
            f"Install it with `script/bootstrap --system` (Debian package {package})"
        )
    return pathlib.Path(found)


def _children(parent: int) -> list[int]:
    """Return the ids of the child processes of a process."""
    found = []
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # The name, in parentheses, may hold anything.
            _, _, facts = stat.read_text().rpartition(")")
            if int(facts.split()[1]) == parent:
                found.append(int(stat.parent.name))
    return found


def _account(name: str) -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        raise ServerError(
            f"the servers refuse to run as root and the system user {name} does not exist: "
            "install the server's package, or run the tests as another user"
        ) from None


def memory(needed_bytes: int = _MEMORY_BYTES) -> pathlib.Path | None:
    """Return a folder in memory with room, for what is written often and need not last; or None.

    A flush to a disk that others use takes longer than most statements of a test.
    """
    folder = pathlib.Path("/dev/shm")  # noqa: S108 - a place for folders of unguessable names
    try:
        room = os.statvfs(folder)
        free = re.search(r"^MemAvailable:\s*(\d+) kB$", _MEMINFO.read_text(), re.M)
    except OSError:
        return None
    is_usable = os.access(folder, os.W_OK) and not room.f_flag & os.ST_NOEXEC
    bytes_free = min(room.f_bavail * room.f_frsize, int(free[1]) * 1024 if free else 0)
    return folder if is_usable and bytes_free >= needed_bytes else None


def _copy(folder: pathlib.Path, to: pathlib.Path) -> None:
    """Copy a folder with the owners of its files."""
    subprocess.run(["/bin/cp", "-a", folder, to], check=True)


def _make_folder(system_user: str | None, *, durable: bool) -> pathlib.Path:
    """Create a private folder that the server's own user can reach and write."""
    root = (None if durable else memory()) or pathlib.Path(tempfile.gettempdir())
    is_reachable = all(p.stat().st_mode & 0o001 for p in (root, *root.parents))
    if len(str(root)) > _LONGEST_ROOT or (os.geteuid() == 0 and not is_reachable):
        root = pathlib.Path("/tmp")  # noqa: S108 - mkdtemp makes the name unguessable
    folder = pathlib.Path(tempfile.mkdtemp(prefix="tmg-server-", dir=root))
    if os.geteuid() == 0 and system_user is not None:
        account = _account(system_user)
        os.chown(folder, account.pw_uid, account.pw_gid)
    return folder


def free_port() -> int:
    """Return a port that nothing listens on, outside of the range that clients get theirs from."""
    for port in random.sample(_PORTS, 100):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((HOST, port))
            return port
    raise ServerError(f"no free port between {_PORTS.start} and {_PORTS.stop} on {HOST}")


def _watch(pid: int, stop_signal: signal.Signals, folder: pathlib.Path) -> subprocess.Popen[bytes]:
    """Start a shell that ends the server and removes its data when this process dies.

    Tests that are killed (a CI timeout, `kill -9`) run no cleanup. The shell reads from a pipe
    whose other end only this process holds, so that it wakes up however this process ends.
    """
    # A server that was cut off in the middle of a load may not stop by itself (MariaDB was seen
    # spinning for half an hour), so that patience ends after 20 s.
    script = (
        'read -r _; kill -s "$2" "$1"; n=0; '
        'while kill -0 "$1" && [ "$n" -lt 200 ]; do sleep 0.1; n=$((n + 1)); done 2>/dev/null; '
        'kill -KILL "$1"; rm -rf "$3"'
    )
    name = stop_signal.name.removeprefix("SIG")
    return subprocess.Popen(
        ["/bin/sh", "-c", script, "watch", str(pid), name, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
