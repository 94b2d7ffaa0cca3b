"""Builds the image without a daemon or a registry, and runs commands in it as a pod would.

The base is a Debian made by debootstrap instead of the one that the Dockerfile names; everything
else is what users build. Base and layers are kept in `.cache/image`: a second run is quick.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from tmg_etl.launch import image

ROOT = pathlib.Path(__file__).parents[3]
CACHE = ROOT / ".cache" / "image"
SUITE = "bookworm"
PACKAGES = "python3,python3-venv,ca-certificates"
CERTIFICATES = pathlib.Path("/etc/ssl/certs")
UID = 65532
ATTEMPTS = 3

# Runs as the first process of its own namespaces, like a container's: the root is read-only, and
# only /tmp, here the folder $2, may be written to. $3 is shown read-only at /srv.
ENTER = """
set -eu
# In a chroot, / is no mount and cannot be made private.
mount --make-rprivate / 2>/dev/null || true
mount --bind "$1" "$1"
mount --make-private "$1"
cd "$1"
mount --bind "$2" tmp
mount --bind "$3" srv
mount -o remount,bind,ro srv
mount -t proc proc proc
mount --bind /dev dev
mount -o remount,bind,ro "$1"
shift 3
exec env -i "$@"
"""

# In the image, which has no shell and no `env` that could change the folder.
INSIDE = "import os, sys; os.chdir(sys.argv[1]); os.execvp(sys.argv[2], sys.argv[2:])"


# Storage makes / private, which only works where / is a mount: in a plain chroot it is none, and
# becomes one in a namespace of its own.
IN_CHROOT = """
set -eu
mkdir -p "$0"
mount --rbind / "$0"
exec chroot "$0" "$@"
"""


def root_is_mount() -> bool:
    """Tell whether / is a mount, as on a machine and in a container, or a chroot's folder."""
    lines = pathlib.Path("/proc/self/mountinfo").read_text().splitlines()
    return any(line.split()[4] == "/" for line in lines)


def find(program: str) -> str:
    """Return a program's path; a missing one fails the tests instead of skipping them."""
    found = shutil.which(program, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
    assert found, (
        f"{program} is not installed: the image is built for real. "
        "Install it with `script/bootstrap --system`"
    )
    return found


def as_root(program: str, *arguments: object) -> list[str]:
    prefix = [] if os.geteuid() == 0 else ["sudo", "-n", "-E"]
    return [*prefix, find(program), *map(str, arguments)]


def call(command: Sequence[str], **options: Any) -> str:
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, **options
    )
    assert done.returncode == 0, (
        f"{command[0]} ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-4000:]}"
    )
    return done.stdout


def persistently(work: Callable[[], object]) -> None:
    """Try again what a mirror or registry may refuse for a moment."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            work()
        except AssertionError:
            if attempt == ATTEMPTS:
                raise
            time.sleep(5 * attempt)
        else:
            return


class Builder:
    """buildah with storage of its own in the cache."""

    def __init__(self, cache: pathlib.Path = CACHE) -> None:
        self.cache = cache
        self.storage = cache / "storage"
        self.temporary = cache / "tmp"
        self.temporary.mkdir(parents=True, exist_ok=True)
        # Not in the cache: the run root must not outlive a restart of the machine.
        key = hashlib.sha256(str(cache).encode()).hexdigest()[:12]
        self.runroot = pathlib.Path(tempfile.gettempdir()) / f"tmg-image-{key}"

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """One build at a time, also with several test processes."""
        with (self.cache / "lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def command(self, *arguments: object) -> list[str]:
        """Return the command line of a call of buildah."""
        storage = ["--root", self.storage, "--runroot", self.runroot]
        if root_is_mount():
            return as_root("buildah", *storage, *arguments)
        inner = [IN_CHROOT, self.temporary / "root", find("buildah"), *storage, *arguments]
        return as_root("unshare", "--mount", "--propagation=unchanged", "sh", "-c", *inner)

    def buildah(self, *arguments: object) -> str:
        return call(self.command(*arguments), env={**os.environ, "TMPDIR": str(self.temporary)})

    def base(self) -> str:
        """Return the name of the base image, made now if it is not there."""
        key = hashlib.sha256(f"{SUITE} {PACKAGES}".encode()).hexdigest()[:12]
        name = f"localhost/sid-test-base:{key}"
        known = json.loads(self.buildah("images", "--json") or "[]") or []
        if any(name in (image.get("names") or []) for image in known):
            return name
        folder = pathlib.Path(tempfile.mkdtemp(prefix="base-", dir=self.temporary))
        try:
            persistently(lambda: self._debootstrap(folder / "root"))
            container = self.buildah("from", "scratch").strip()
            self.buildah("add", "--quiet", container, folder / "root.tar", "/")
            path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
            self.buildah("config", "--env", path, container)
            self.buildah("commit", "--quiet", "--rm", container, name)
        finally:
            call(as_root("rm", "-rf", folder))
        return name

    def _debootstrap(self, root: pathlib.Path) -> None:
        call(as_root("rm", "-rf", root))
        options = ["--foreign", "--variant=minbase", f"--include={PACKAGES}", SUITE, root]
        call(as_root("debootstrap", *options))
        # Thousands of small files, and a crash would only mean to begin again: no fsync for each.
        setting = f"echo force-unsafe-io > {root}/etc/dpkg/dpkg.cfg.d/unsafe-io"
        call(as_root("sh", "-c", setting))
        call(as_root("chroot", root, "/debootstrap/debootstrap", "--second-stage"))
        out = ["./dev/*", "./proc/*", "./sys/*", "./var/cache/apt/*", "./var/lib/apt/lists/*"]
        out += ["./etc/dpkg/dpkg.cfg.d/unsafe-io", "./debootstrap"]
        excludes = [f"--exclude={pattern}" for pattern in out]
        call(as_root("tar", "-C", root, *excludes, "--numeric-owner", "-cf", f"{root}.tar", "."))

    def build(self, context: pathlib.Path, tag: str, facts: dict[str, str], *more: str) -> None:
        """Build the Dockerfile in `context` by the command that users build it by."""
        options = ["--isolation=chroot", *more]
        if CERTIFICATES.is_dir():
            options.append(f"--volume={CERTIFICATES}:{CERTIFICATES}:ro")
        made = image.build_command("buildah", context, tag, facts, options)
        (context / image.ID_FILE).parent.mkdir(exist_ok=True)
        persistently(lambda: self.buildah(*made[1:]))

    def mount(self, tag: str) -> tuple[str, pathlib.Path]:
        """Return a new container of an image and the folder its files are in."""
        container = self.buildah("from", "--pull-never", tag).strip()
        if root_is_mount():
            return container, pathlib.Path(self.buildah("mount", container).strip())
        # A mount would be seen in buildah's own namespace only.
        folder = self.temporary / container
        folder.mkdir()
        copy = ["sh", "-c", 'cp -a "$("$@")/." "$0"', str(folder)]
        *start, binary, root, where, runroot, there = self.command()
        call([*start, *copy, binary, root, where, runroot, there, "mount", container])
        return container, folder

    def remove(self, container: str) -> None:
        """Remove a container and what `mount` copied of it."""
        self.buildah("rm", container)
        call(as_root("rm", "-rf", self.temporary / container))


@dataclasses.dataclass(frozen=True)
class Image:
    """A built image.

    Attributes:
        builder: holds it.
        tag: its name there.
        root: its files.
        config: entry point, variables, user, labels, as the OCI image specification names them.
        history: one entry for each step that made it.
    """

    builder: Builder
    tag: str
    root: pathlib.Path
    config: dict[str, Any]
    history: list[dict[str, Any]]

    def files(self) -> Iterator[pathlib.Path]:
        """Yield every file and folder, seen from the image's root."""
        for folder, names, files in os.walk(self.root):
            for name in (*names, *files):
                yield pathlib.Path("/") / pathlib.Path(folder, name).relative_to(self.root)

    def start(
        self,
        *arguments: object,
        tmp: pathlib.Path,
        config: pathlib.Path,
        entrypoint: Sequence[str] | None = None,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.Popen[str]:
        """Start the entry point with `arguments` as the first process of a read-only container.

        Args:
            arguments: after the entry point.
            tmp: the folder that is the container's /tmp.
            config: the folder that is the container's /srv, read-only.
            entrypoint: another one than the image's.
            env: variables beside the image's own.
        """
        os.chown(tmp, UID, UID)
        pairs = [*self.config["Env"], *(f"{key}={value}" for key, value in (env or {}).items())]
        workdir = self.config["WorkingDir"]
        command = [*(entrypoint or self.config["Entrypoint"]), *map(str, arguments)]
        chroot = [find("chroot"), f"--userspec={UID}:{UID}", "--groups=", str(self.root)]
        inside = [*pairs, *chroot, "python", "-c", INSIDE, workdir, *command]
        namespaces = ["--mount", "--propagation=unchanged", "--pid", "--fork", "--kill-child"]
        unshare = as_root("unshare", *namespaces)
        return subprocess.Popen(
            [*unshare, "sh", "-c", ENTER, "enter", self.root, tmp, config, *inside],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run the entry point to its end."""
        with self.start(*arguments, **options) as process:
            out, err = process.communicate(timeout=120)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def first_process(outer: subprocess.Popen[str]) -> int:
    """Return the id, seen from outside, of the process that is number 1 inside."""
    children = pathlib.Path(f"/proc/{outer.pid}/task/{outer.pid}/children").read_text().split()
    return int(children[0])


def terminate(outer: subprocess.Popen[str]) -> None:
    """Send SIGTERM as a container runtime does: to the first process only."""
    os.kill(first_process(outer), signal.SIGTERM)


def copy_of_checkout(target: pathlib.Path) -> None:
    """Copy what git would know of this checkout, its uncommitted changes included."""
    listed = call(["git", "-C", str(ROOT), "ls-files", "-co", "--exclude-standard", "-z"])
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
