"""Key files: from the environment's bucket into `keyscredentials/`, never further."""

from __future__ import annotations

import os
import pathlib

from tmg_etl import errors
from tmg_etl.launch import bucket, environment

FOLDER = pathlib.Path("keyscredentials")
LIST = FOLDER / "download_list.txt"

_RESERVED = frozenset({"download_list.txt", "README.md", ".gitignore"})


def names(root: pathlib.Path) -> list[str]:
    """Return the names of the key files that the list asks for.

    Args:
        root: folder of the repository.

    Raises:
        errors.ConfigError: a line is not the plain name of a file, or names one of ours.
    """
    path = root / LIST
    if not path.is_file():
        return []
    found: list[str] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        name = line.strip()
        if not name or name.startswith("#"):
            continue
        if pathlib.PurePosixPath(name).name != name or name in _RESERVED or "\\" in name:
            raise errors.ConfigError(
                f"found {errors.shorten(name)}, expected the name of a key file",
                where=f"{path}:{number}",
                hint="one name for each line, without a folder",
            )
        if name not in found:
            found.append(name)
    return found


def download(
    root: pathlib.Path, env: str | None = None, *, dry_run: bool = False
) -> list[pathlib.Path]:
    """Fetch the key files of an environment, readable by their owner alone.

    All are fetched before the first is put in its place.

    Args:
        root: folder of the repository.
        env: name of the environment; None means ``local``.
        dry_run: print what would be fetched only.

    Returns:
        The files, in the list's order; none when the list names none.

    Raises:
        errors.ConfigError: the environment has no bucket of keys, the list is wrong, or a key is
            not there.
        errors.AccessError: a key may not be read.
    """
    wanted = names(root)
    if not wanted:
        return []
    source = environment.select(root, env).buckets.keys
    if source is None:
        raise errors.ConfigError(
            f"the environment {env or 'local'} has no bucket of keys",
            where=str(environment.FILE),
            hint="add `buckets: {keys: gs://…}`, or choose another by --env",
        )
    if dry_run:
        for name in wanted:
            bucket.say(f"{source}/{name}", str(FOLDER / name))
        return []
    fetched = {name: bucket.read(f"{source}/{name}") for name in wanted}
    return [_write(root / FOLDER / name, data) for name, data in fetched.items()]


def _write(path: pathlib.Path, data: bytes) -> pathlib.Path:
    """Write a file that nobody else could read at any time."""
    fresh = path.with_name(f".{path.name}.part")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    fresh.replace(path)
    return path
