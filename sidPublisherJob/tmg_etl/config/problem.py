"""One thing that is wrong in a config file, and the words for it."""

from __future__ import annotations

import dataclasses
import datetime
import difflib
import json
import re
from collections.abc import Iterable, Sequence

from tmg_etl import errors

Path = tuple[str | int, ...]

_PLAIN_KEY = re.compile(r"[\w-]+")
_SHOWN = 60  # characters of a found value: enough to recognise it, short enough for one line
_LISTED = 16  # allowed keys or names that are listed; above that the list hides the message


@dataclasses.dataclass(frozen=True, slots=True)
class Problem:
    """One fault: its line (1-based), its key path, what was found against what was expected.

    `denied` tells a file that may not be read (exit code 77) from a wrong value (78).
    """

    line: int
    path: Path
    message: str
    hint: str | None = None
    denied: bool = False

    def to_error(self, file: str, *, more: int = 0) -> errors.TmgEtlError:
        """Return the error to raise; `more` is the number of further problems in the file."""
        kind = errors.AccessError if self.denied else errors.ConfigError
        hint = self.hint
        if more:
            rest = f"{more} more problem{'s' if more > 1 else ''} in this file"
            hint = f"{hint} ({rest})" if hint else rest
        key = render_path(self.path)
        where = f"{file}:{self.line}:{key}" if key else f"{file}:{self.line}"
        return kind(self.message, hint=hint, where=where)


def render_path(path: Path) -> str:
    """Return a key path as ``transfers.dim_plane.key[0]``; unusual keys are quoted."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += ("." if text else "") + render_key(part)
    return text


def render_key(key: str) -> str:
    """Return one key, quoted and cut when it is not a plain word."""
    if _PLAIN_KEY.fullmatch(key) and len(key) <= _SHOWN:
        return key
    return json.dumps(key if len(key) <= _SHOWN else key[:_SHOWN] + "…", ensure_ascii=False)


def describe(value: object) -> str:
    """Return what was found, in the words of a YAML author; never longer than a line."""
    match value:
        case None:
            return "nothing (null)"
        case bool():
            return f"{str(value).lower()} (a yes/no value)"
        case int() | float():
            return f"{_cut(str(value))} (a number)"
        case datetime.date():
            return f"{value.isoformat()} (a date)"
        case str():
            return errors.shorten(value, _SHOWN) if value else "an empty text"
        case []:
            return "an empty list"
        case dict():
            return "a mapping (key: value)"
        case _:
            return "a list"


def suggest(word: str, known: Iterable[str]) -> str | None:
    """Return the name in `known` that `word` was probably meant to be; None when none is near."""
    names = list(known)
    folded = {name.casefold(): name for name in reversed(names)}
    near = difflib.get_close_matches(word.casefold(), list(folded), n=1, cutoff=0.6)
    return folded[near[0]] if near else None


def help_for(word: str, known: Sequence[str], what: str) -> str:
    """Return ``did you mean `x`? keys here: a, b`` for a name that is not among `known`."""
    near = suggest(word, known)
    parts = [f"did you mean `{near}`?"] if near else []
    if known and len(known) <= _LISTED:
        parts.append(f"{what}: {', '.join(render_key(name) for name in known)}")
    elif known and not near:
        shown = ", ".join(render_key(name) for name in list(known)[:_LISTED])
        parts.append(f"{what}: {shown} and {len(known) - _LISTED} more")
    elif not known:
        parts.append(f"{what}: none")
    return " ".join(parts)


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
