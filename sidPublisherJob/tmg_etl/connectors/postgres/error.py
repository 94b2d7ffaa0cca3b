"""psycopg's exceptions to the product's errors, by SQLSTATE; the one place where this is decided.

Source: https://www.postgresql.org/docs/current/errcodes-appendix.html
"""

from __future__ import annotations

import re

import psycopg

from tmg_etl import errors

_RETRY = "run it again later"

#: Code, or class of two characters, to the error and what to do next. The longer match wins.
_BY_CODE: dict[str, tuple[type[errors.TmgEtlError], str | None]] = {
    "08": (errors.ConnectionLostError, _RETRY),
    "57P01": (errors.ConnectionLostError, _RETRY),
    "57P02": (errors.ConnectionLostError, _RETRY),
    "57P03": (errors.ConnectionLostError, _RETRY),
    "57P05": (errors.ConnectionLostError, _RETRY),
    "57014": (errors.TemporaryError, "somebody cancelled the statement; run it again"),
    "25P03": (errors.ConnectionLostError, _RETRY),
    "25P04": (errors.ConnectionLostError, _RETRY),
    "40": (errors.TemporaryError, _RETRY),
    "55P03": (errors.TemporaryError, "somebody else holds a lock on it; run it again later"),
    "55006": (errors.TemporaryError, _RETRY),
    "53": (errors.TemporaryError, _RETRY),
    "53100": (errors.StorageFullError, "make room on the server"),
    "53400": (errors.StorageFullError, "raise the limit on the server"),
    "58030": (errors.TemporaryError, "the server cannot use its disk; look at its log"),
    "28": (errors.AccessError, "check user and password of the connection's url"),
    "42501": (errors.AccessError, "have the privilege granted"),
    "25006": (errors.AccessError, "the server or user is read-only: publish to the primary"),
    "0A": (errors.ConfigError, None),
    "3D": (errors.ConfigError, "check the database of the connection's url"),
    "3F": (errors.ConfigError, "check `schema` of the connection"),
    "42": (errors.ConfigError, None),
    "54011": (errors.ConfigError, None),
    "54": (errors.DataError, None),
    "22": (errors.DataError, None),
    "23": (errors.DataError, None),
    "44": (errors.DataError, None),
    "P0": (errors.DataError, "a function of the database raised this"),
    "2BP01": (errors.ConfigError, None),
}

CONSTRAINTS = {
    "23502": errors.Constraint.NOT_NULL,
    "23503": errors.Constraint.FOREIGN_KEY,
    "23001": errors.Constraint.REFERENCED,
    "23505": errors.Constraint.UNIQUE,
    "23P01": errors.Constraint.UNIQUE,
    "23514": errors.Constraint.CHECK,
}

# libpq hands over no SQLSTATE for a refused connection, only the server's text, which may be
# translated; what these do not find is told by whether a password was asked for.
_NO_DATABASE = re.compile(r'database ".*" does not exist')
_REFUSED = re.compile(
    r"password authentication failed|no password supplied|no pg_hba\.conf entry"
    r"|authentication failed|role \".*\" (does not exist|is not permitted)"
    r"|permission denied for database"
)
#: What libpq itself objects to: certificates, and values of options.
_UNTRUSTED = re.compile(
    r"certificate verify failed|does not match host name|server does not support SSL"
    r"|root certificate file|certificate file|private key file|could not (read|load) .*certificate"
)
_OPTION = re.compile(r"^connection is bad: invalid .* value")
_BUSY = re.compile(
    r"too many (clients|connections)|connection slots|starting up|shutting down|recovery mode"
)


#: Statements for which event triggers are asked, one of them or several.
_DEFINING = re.compile(r"(?:^|;)\s*(?:CREATE|ALTER|DROP|COMMENT|GRANT|REVOKE)\b", re.IGNORECASE)
_WRITING = re.compile(r"\s*(?:INSERT|UPDATE|MERGE|DELETE|COPY|COMMIT)\b", re.IGNORECASE)


def translate(error: psycopg.Error, place: str, statement: str = "") -> errors.TmgEtlError | None:
    """Return the error that a user understands, or None for a fault of this program.

    Args:
        error: what psycopg raised on an open connection.
        place: connection and user, to begin the message with.
        statement: which of ours failed; empty where that is not known.
    """
    code = error.sqlstate
    if code is None:
        if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
            return errors.ConnectionLostError(f"{place}: {_first_line(error)}", hint=_RETRY)
        return None
    rule = CONSTRAINTS.get(code)
    if code.startswith("P0") and _DEFINING.search(statement):
        return errors.EventTriggerError(place, primary(error))
    if code.startswith("P0") and _WRITING.match(statement):
        rule = errors.Constraint.TRIGGER
    if rule is not None:
        return errors.ConstraintError(place, rule, primary(error))
    found = _BY_CODE.get(code) or _BY_CODE.get(code[:2])
    if found is None:
        return None
    kind, hint = found
    return kind(f"{place}: {primary(error)}", hint=hint)


def translate_connect(error: psycopg.Error, place: str) -> errors.TmgEtlError:
    """Return the error for a connection that could not be opened."""
    text = f"{place}: {_first_line(error)}"
    if isinstance(error, psycopg.ProgrammingError):
        return errors.ConfigError(text, hint="check `url` and `options` of the connection")
    if _NO_DATABASE.search(text):
        return errors.ConfigError(text, hint="check the database of the connection's url")
    if _UNTRUSTED.search(text):
        return errors.ConfigError(
            text, hint="check `host` and `options` (sslmode, sslrootcert): docs/security.md"
        )
    if _OPTION.search(_first_line(error)):
        return errors.ConfigError(text, hint="check `options` of the connection")
    if _BUSY.search(text):
        return errors.ConnectionLostError(text, hint=_RETRY)
    pgconn = error.pgconn
    asked = pgconn is not None and (pgconn.used_password or pgconn.needs_password)
    if _REFUSED.search(text) or asked:
        return errors.AccessError(text, hint="check user and password of the connection's url")
    return errors.ConnectionLostError(text, hint="check that the server runs and can be reached")


def primary(error: psycopg.Error) -> str:
    """Return the server's message and detail, as one text."""
    message = error.diag.message_primary or _first_line(error)
    detail = error.diag.message_detail
    return f"{message} ({detail})" if detail else message


def _first_line(error: psycopg.Error) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
