"""Rules for single values of a config, as validators of the models.

A rule leaves values of another type alone: the model's type says what is wrong with them. What it
refuses it reports by `fault`, whose words the loader prints as they are.
"""

from __future__ import annotations

import io
import re
import unicodedata
import urllib.parse
from typing import Any

import pydantic_core

from tmg_etl.config import column, cron, problem

COLUMN_TYPES = f"Types: {', '.join(column.NAMES)}, decimal(p,s)."

_SCHEMES = {
    "duckdb": ("duckdb",),
    "sqlite": ("sqlite",),
    "postgres": ("postgresql", "postgres"),
    "mysql": ("mysql", "mariadb"),
}
_EXAMPLES = {
    "duckdb": "duckdb:///file.duckdb",
    "sqlite": "sqlite:///file.db",
    "postgres": "postgresql://user@host/database",
    "mysql": "mysql://user@host/database",
}
_URL = re.compile(r"([A-Za-z][A-Za-z0-9_]*)(\+[A-Za-z0-9_]+)?://")
_PIPELINE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)
_PACKAGE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)
_POINT = re.compile(r"[a-z_]+(:[1-9][0-9]{0,8})?(:after)?")
_NAME_LENGTH = 200
#: Control characters, and halves of surrogate pairs.
_UNSEEN = ("Cc", "Cs")


def fault(message: str, hint: str, *, at: problem.Path = ()) -> pydantic_core.PydanticCustomError:
    """Return the error to raise from a validator.

    Args:
        message: what was found against what was expected; must not hold a secret.
        hint: what to do.
        at: key path below the value that is validated.
    """
    facts = {"message": message, "hint": hint, "at": at}
    return pydantic_core.PydanticCustomError("fault", "{message}; {hint}", facts)


def name(value: Any) -> Any:
    """Refuse a text without any visible character."""
    if isinstance(value, str) and not value.strip():
        raise fault("found an empty text, expected a name", "write it or remove the key")
    return value


def target_table(value: Any) -> Any:
    """Refuse control characters, which no log shows, and names of this program's own tables."""
    if isinstance(value, str):
        if any(unicodedata.category(char) in _UNSEEN for char in value):
            raise fault("found a name with invisible characters", "choose another name")
        if value.lower().startswith("_tmg_"):
            message = f"found {problem.describe(value)}: _tmg_ begins tables that runs remove"
            raise fault(message, "choose another name")
    return value


def not_bool(value: Any) -> Any:
    """Refuse true and false where a number is meant; pydantic would read them as 1 and 0."""
    if isinstance(value, bool):
        raise fault(f"found {problem.describe(value)}, expected a number", "write a number")
    return value


_DURATION = re.compile(r"([0-9]{1,6})\s*([smhd])")
_UNIT_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def duration(value: Any) -> Any:
    """Return a duration without spaces, such as ``24h``; refuse what is none."""
    if value is None:
        return None
    match = _DURATION.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None or int(match[1]) == 0:
        raise fault(
            f"found {problem.describe(value)}, expected a duration such as 24h",
            "write a number above 0 and s, m, h or d",
        )
    return f"{int(match[1])}{match[2]}"


def seconds(text: str) -> int:
    """Return the seconds of what `duration` returned."""
    return int(text[:-1]) * _UNIT_S[text[-1]]


def off(value: Any) -> Any:
    """Return ``off`` for false: YAML reads the plain word `off` as false."""
    return "off" if value is False else value


def empty(value: Any) -> Any:
    """Return an empty mapping for a section whose entries are all commented out."""
    return {} if value is None else value


def distinct(value: Any) -> Any:
    """Refuse a name that a list holds twice."""
    if isinstance(value, list):
        for index, item in enumerate(value):
            if isinstance(item, str) and item in value[:index]:
                message = f"found {problem.describe(item)} a second time, expected different names"
                raise fault(message, "remove one", at=(index,))
    return value


def named(value: Any) -> Any:
    """Refuse names of connections and transfers that no command line or table could hold."""
    for key in value if isinstance(value, dict) else ():
        _require_name(key, at=(key,))
    return empty(value)


def group(value: Any) -> Any:
    """Refuse a name of a group that no transfer could have: it stands where theirs do."""
    if isinstance(value, str):
        _require_name(value, at=())
    return value


def _require_name(key: object, at: problem.Path) -> None:
    if not isinstance(key, str) or not 1 <= len(key) <= _NAME_LENGTH:
        message = f"found a name of {len(str(key))} characters, expected 1 to {_NAME_LENGTH}"
        raise fault(message, "choose another name", at=at)
    if not key.isprintable() or key != key.strip():
        message = "found a name with invisible characters or outer spaces, expected visible ones"
        raise fault(message, "choose another name", at=at)


def character(value: Any) -> Any:
    """Refuse a text that is not one character."""
    if isinstance(value, str) and len(value) != 1:
        hint = r'for a tab write "\t"' if value.startswith("\\") else "write one character"
        raise fault(f"found {problem.describe(value)}, expected one character", hint)
    return value


def encoding(value: Any) -> Any:
    """Refuse an encoding that Python does not know, and codecs that give no text, as base64."""
    if isinstance(value, str):
        try:
            io.TextIOWrapper(io.BytesIO(), value)
        except (LookupError, ValueError):
            message = f"found {problem.describe(value)}, expected a character encoding"
            raise fault(message, "for example utf8, latin1, cp1252") from None
    return value


def csv_characters(delimiter: str, quote: str | None, escape: str | None) -> None:
    """Refuse characters of which a reader of CSV cannot tell what they mean."""
    taken: dict[str, str] = {}
    for key, value in (("delimiter", delimiter), ("quote", quote), ("escape", escape)):
        if value is None:
            continue
        if value in "\r\n\0":
            message = f"found {problem.describe(value)}, which ends a line or a text"
            raise fault(message, "write a visible character", at=(key,))
        if value in taken:
            message = f"found {problem.describe(value)}, which is the {taken[value]} already"
            hint = "leave `escape` out: a doubled quote is one" if key == "escape" else "change one"
            raise fault(message, hint, at=(key,))
        if not value.isascii():
            message = f"found {problem.describe(value)}, expected a character of ASCII"
            raise fault(message, "write the file with another one", at=(key,))
        taken[value] = key


def column_type(value: Any) -> Any:
    """Return a column type in its normal spelling."""
    if not isinstance(value, str):
        return value
    try:
        return column.normalise(value)
    except ValueError as error:
        word = value.strip().lower()
        near = column.ALIASES.get(word) or problem.suggest(word, column.NAMES)
        hint = f"did you mean `{near}`?" if near else "choose one of them"
        raise fault(f"found {problem.describe(value)}, expected {error}", hint) from None


def schedule(value: Any) -> Any:
    """Refuse what a Kubernetes CronJob would refuse."""
    if isinstance(value, str):
        try:
            cron.check(value)
        except ValueError as error:
            hint = 'for example "17 4 * * *" is every day at 04:17 UTC'
            raise fault(f"found {problem.describe(value)}, expected {error}", hint) from None
    return value


def fault_points(value: Any) -> Any:
    """Refuse keys that are not the name of a point of a flaky connection."""
    for key in value if isinstance(value, dict) else ():
        if isinstance(key, str) and not _POINT.fullmatch(key):
            message = f"found {problem.describe(key)}, expected a point such as load:2:after"
            hint = "write a method of a source or target, and which call of it"
            raise fault(message, hint, at=(key,))
    return empty(value)


def pipeline(value: Any) -> Any:
    """Refuse what is not ``module:Class``."""
    if isinstance(value, str) and not _PIPELINE.fullmatch(value):
        message = f"found {problem.describe(value)}, expected module:Class"
        raise fault(message, "for example sid_dim_agent.agent:AgentPipeline")
    return value


def package(value: Any) -> Any:
    """Refuse what is not the dotted name of a package."""
    if isinstance(value, str) and not _PACKAGE.fullmatch(value):
        message = f"found {problem.describe(value)}, expected the name of a Python package"
        raise fault(message, "for example sid_dim_agent")
    return value


def folder(value: Any) -> Any:
    """Refuse a files URL that is empty or names a database."""
    if not isinstance(value, str):
        return value
    if not value.strip():
        raise fault(
            "found an empty text, expected a folder", "write `url: .` for the config's folder"
        )
    match = re.match(r"([A-Za-z][\w+.-]*)://", value)
    if match and match[1].lower() not in ("file", "gs", "s3"):
        message = f"found a {match[1]}:// url, expected a folder, file://, gs:// or s3://"
        raise fault(message, "name the folder that holds the files")
    return value


def ledger(value: Any) -> Any:
    """Refuse a ledger that is not a SQLAlchemy URL."""
    if isinstance(value, str):
        _check_url(value, "sqlite:///ledger.db or postgresql://user@host/database")
    return value


def database_url(kind: str, url: str) -> None:
    """Refuse a URL that does not fit the connection type `kind`.

    The URL itself is never shown: what cannot be parsed cannot be masked.
    """
    scheme, driver = _check_url(url, _EXAMPLES[kind], at=("url",))
    allowed = _SCHEMES[kind]
    if scheme not in allowed:
        owner = next((name for name, schemes in _SCHEMES.items() if scheme in schemes), None)
        known = ", ".join(f"{schemes[0]}://" for schemes in _SCHEMES.values())
        hint = f"write `type: {owner}`" if owner else f"name another database: urls are {known}"
        message = f"found a {scheme}:// url for type {kind}, expected {allowed[0]}://"
        raise fault(message, f"correct the url or {hint}", at=("url",))
    if driver:
        message = f"found the driver {driver} in a url for type {kind}, expected {scheme}://"
        raise fault(message, f"remove `{driver}`: each type has one driver", at=("url",))


def _check_url(url: str, example: str, *, at: problem.Path = ()) -> tuple[str, str]:
    """Return the scheme in lower case, and the driver with its plus sign; empty without one."""
    match = _URL.match(url)
    if not match:
        raise fault(
            "found a text that is not a URL, expected scheme://…", f"write {example}", at=at
        )
    try:
        # Raises for a port that is no number and for brackets that do not match.
        _ = urllib.parse.urlsplit(url).port
    except ValueError:
        message = "found a URL whose host and port cannot be read, expected host:port"
        hint = "a password with @ : / ? or # must be percent-encoded, or stand in a ${VARIABLE}"
        raise fault(message, hint, at=at) from None
    return match[1].lower(), match[2] or ""
