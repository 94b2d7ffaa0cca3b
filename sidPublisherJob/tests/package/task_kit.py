"""Runs the real `invoke` in a copy of this checkout; other people's programs are stand-ins.

A stand-in is a small program on the PATH that writes down how it was called.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import pathlib
import subprocess
import sys
from collections.abc import Mapping

import yaml

from tests.package import image_kit

INVOKE = pathlib.Path(sys.prefix) / "bin" / "invoke"

RECORDER = """\
#!{python}
import json, os, sys
with open({log!r}, "a") as file:
    file.write(json.dumps([{name!r}, *sys.argv[1:]]) + "\\n")
{answer}
"""


# Each name is asked for in the same process: to start `invoke` takes longer than its answer.
_ASK = """
import contextlib, io, json, sys
from invoke.main import program
def ask(*words):
    with contextlib.redirect_stdout(io.StringIO()) as said:
        program.run(["invoke", *words], exit=False)
    return said.getvalue()
names = [line.split()[0] for line in ask("--list").splitlines() if line.startswith("  ")]
print(json.dumps({name: ask("--help", name) for name in names}))
"""


@functools.cache
def helps() -> dict[str, str]:
    """Return what `invoke --help` prints of each task that `invoke --list` names."""
    said = image_kit.call([sys.executable, "-c", _ASK], cwd=image_kit.ROOT)
    found: dict[str, str] = json.loads(said)
    return found


@dataclasses.dataclass(frozen=True)
class Checkout:
    """A copy of this repository, with a PATH of its own.

    Attributes:
        root: its folder.
        programs: the folder that is the PATH.
        log: what the stand-ins were called with.
    """

    root: pathlib.Path
    programs: pathlib.Path
    log: pathlib.Path

    @classmethod
    def make(cls, folder: pathlib.Path) -> Checkout:
        """Copy this repository and commit it; the PATH has git and nothing else."""
        made = cls(folder / "checkout", folder / "bin", folder / "log")
        made.root.mkdir()
        made.programs.mkdir()
        image_kit.copy_of_checkout(made.root)
        made.git("init", "--quiet")
        made.commit()
        made.keep("git")
        return made

    def git(self, *arguments: str) -> str:
        """Run git in the copy and return what it prints."""
        who = ["-c", "user.name=t", "-c", "user.email=t@example.com"]
        return image_kit.call(["git", "-C", str(self.root), *who, *arguments]).strip()

    def commit(self) -> str:
        """Commit all changes and return the commit."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message=change")
        return self.git("rev-parse", "HEAD")

    def keep(self, *names: str) -> None:
        """Put real programs on the PATH."""
        for name in names:
            (self.programs / name).symlink_to(image_kit.find(name))

    def fake(self, *names: str, answer: str = "") -> None:
        """Put stand-ins on the PATH, which run `answer`, Python code, after writing down."""
        for name in names:
            path = self.programs / name
            path.unlink(missing_ok=True)
            text = RECORDER.format(
                python=sys.executable, log=str(self.log), name=name, answer=answer
            )
            path.write_text(text)
            path.chmod(0o755)

    def calls(self) -> list[list[str]]:
        """Return how the stand-ins were called, and forget it."""
        if not self.log.exists():
            return []
        lines = self.log.read_text().splitlines()
        self.log.unlink()
        return [json.loads(line) for line in lines]

    def change_environments(self, change: Mapping[str, object], *names: str) -> None:
        """Overwrite keys of environments."""
        file = self.root / "gke_deploy" / "environments.yaml"
        places = yaml.safe_load(file.read_text())
        for name in names or places["environments"]:
            places["environments"][name] |= change
        file.write_text(yaml.safe_dump(places))

    def invoke(self, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Run `invoke` in the copy."""
        kept = {
            key: value for key, value in os.environ.items() if key.startswith(("COV", "STORAGE"))
        }
        return subprocess.run(
            [str(INVOKE), *arguments],
            cwd=self.root,
            env={"PATH": str(self.programs), "HOME": str(self.programs.parent), **kept, **env},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
