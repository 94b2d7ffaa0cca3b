"""Server and client error numbers as this product's errors. No I/O here.

By number and never by text, which depends on the server's language.

Source: https://mariadb.com/kb/en/mariadb-error-codes/ and
https://dev.mysql.com/doc/mysql-errors/8.4/en/server-error-reference.html
"""

from __future__ import annotations

import re
import ssl

import pymysql

from tmg_etl import errors

DUPLICATE_ENTRY = 1062
INTERRUPTED = 1317
DEADLOCK = 1213
_TLS_ONLY = 3159
_KEY_REQUIRED = 3750
LOCK_WAIT_TIMEOUT = 1205
REFERENCED = frozenset({1217, 1451, 3730})
#: `LOAD DATA LOCAL` is switched off: by the server, by the server (MySQL 8), by an old server.
LOCAL_INFILE_OFF = frozenset({1148, 3948, 4166})

#: Credentials, privileges, a read-only server.
_ACCESS = frozenset(
    {1044, 1045, 1095, 1130, 1131, 1132, 1133, 1142, 1143, 1227, 1251, 1290, 1370, 1410, 1524, 1698}
    | {1792, 1820, 1836, 1862, 1873, 3118, _TLS_ONLY, 4151}
)
#: A disk, a tablespace or a quota is full.
_STORAGE = frozenset({1021, 1114, 1878, 3675})
_DISK_FULL = re.compile(r"(?:errno|errcode): 28\b", re.IGNORECASE)
#: The connection is gone or cannot be made.
_LOST = frozenset(
    {0, 1053, 1077, 1079, 1152, 1158, 1159, 1160, 1161, 1184, 1927, 2002, 2003, 2006, 2013, 2014}
    | {2055, 4031}
)
#: Locks, limits and snapshots that may be free the next time.
_BUSY = frozenset({1040, 1129, 1180, 1203, 1205, 1206, 1213, 1226, 1412, 1613, 1614, 1637, 3024})
_BUSY_TOO = frozenset({1317, 1969, 3058, 3170, 3572, 4024})
#: A name, a statement or a table definition that does not fit.
_CONFIG = frozenset(
    {1046, 1049, 1050, 1051, 1052, 1054, 1055, 1056, 1059, 1060, 1061, 1064, 1066, 1067}
    | {1068, 1069, 1070, 1071, 1072, 1074, 1091, 1101, 1102, 1103, 1104, 1109, 1113, 1115}
    | {1117, 1118, 1128, 1136, 1146, 1166, 1170, 1171, 1176, 1193, 1231, 1235, 1273, 1286}
    | {1288, 1304, 1305, 1327, 1347, 1348, 1356, 1471, 1582, 1906, 2005, 3105, 3780, 4006}
    | {_KEY_REQUIRED}
)
#: A value that breaks its column, a constraint or a computation.
_DATA = frozenset(
    {1048, 1062, 1138, 1216, 1217, 1242, 1264, 1265, 1292, 1300, 1301, 1364, 1365, 1366, 1367, 1406}
    | {1411, 1425, 1441, 1451, 1452, 1526, 1557, 1586, 1690, 1739, 1748, 3140, 3141, 3819, 4025}
    | {1153, 3730, 4079}
)

#: SIGNAL, in a trigger of the table that is written, or in a function of a query.
_SIGNALS = frozenset({1643, 1644})
CONSTRAINTS = {
    **dict.fromkeys((1048, 1364), errors.Constraint.NOT_NULL),
    **dict.fromkeys((1216, 1452), errors.Constraint.FOREIGN_KEY),
    **dict.fromkeys((1217, 1451), errors.Constraint.REFERENCED),
    **dict.fromkeys((3819, 4025), errors.Constraint.CHECK),
    **dict.fromkeys(_SIGNALS, errors.Constraint.TRIGGER),
}

#: What Python's TLS objects to; the driver wraps it as a server that cannot be reached.
_UNTRUSTED = re.compile(r"CERTIFICATE_VERIFY_FAILED\]|SSL: WRONG_VERSION_NUMBER\]")
_ROW = re.compile(r" at row (\d+)\Z")
_ENTRY = re.compile(r"Duplicate entry '(?P<entry>.*)' for key '(?P<index>.*)'\Z", re.DOTALL)


def number_of(error: BaseException) -> int:
    """Return the number of a driver error; 0 when it has none."""
    number = error.args[0] if error.args else 0
    return number if isinstance(number, int) else 0


def text_of(error: BaseException) -> str:
    """Return the message of a driver error."""
    return str(error.args[1]) if len(error.args) > 1 else str(error)


def entry_of(message: str) -> tuple[str, str]:
    """Return the values, joined by ``-``, and the index of a "Duplicate entry" message."""
    match = _ENTRY.search(message)
    if match is None:
        return message, ""
    # MySQL 8 writes table.index.
    return match["entry"], match["index"].rpartition(".")[2]


def translated(error: Exception, place: str, table: str | None = None) -> errors.TmgEtlError:
    """Return the error of this product that stands for one of the driver.

    Args:
        error: what PyMySQL raised.
        place: the connection, as messages name it.
        table: the table that was written; None for other statements.
    """
    number, text = number_of(error), text_of(error)
    if number == DUPLICATE_ENTRY:
        entry, index = entry_of(text)
        kind = errors.DuplicateKeyError if index in ("", "PRIMARY") else errors.UniqueError
        return kind(table or place, {index or "key": entry})
    if number in CONSTRAINTS and (table is not None or number not in _SIGNALS):
        return errors.ConstraintError(table or place, CONSTRAINTS[number], text)
    text = _ROW.sub(r" at row \1 of the statement's", text)
    message = f"{place}: {text} (error {number})" if number else f"{place}: {text}"
    if _UNTRUSTED.search(text) or isinstance(error, ssl.SSLError):
        return errors.ConfigError(
            f"{place}: {_UNTRUSTED.split(text)[-1].strip() or text}",
            hint="check the host and `options` (ssl_ca, ssl_verify_identity): docs/security.md",
        )
    if number in _STORAGE or _DISK_FULL.search(text):
        return errors.StorageFullError(message, hint="the target is unchanged; free space")
    if number in _ACCESS:
        return errors.AccessError(message, hint=_access_hint(number))
    if number in _LOST or isinstance(error, (pymysql.err.InterfaceError, OSError)):
        return errors.ConnectionLostError(message, hint="the run can be repeated as it is")
    if number in _BUSY or number in _BUSY_TOO:
        return errors.TemporaryError(message, hint="the run can be repeated as it is")
    if number in _DATA or number in _SIGNALS:
        return errors.DataError(message)
    if number in _CONFIG:
        grant = "let the user set it by itself: GRANT SESSION_VARIABLES_ADMIN"
        return errors.ConfigError(message, hint=grant if number == _KEY_REQUIRED else None)
    if "cryptography" in text:
        return errors.ConfigError(
            f"{place}: the server asks for a password encrypted by its public key",
            hint="connect by TLS (`options: {ssl_ca: …}`) or install the package `cryptography`",
        )
    return errors.TmgEtlError(message)


def _access_hint(number: int) -> str:
    if number in {1044, 1142, 1143, 1227, 1370}:
        return "grant the privilege to this user"
    if number in {1290, 1792, 1836}:
        return "the server takes no writes: connect to its primary"
    if number == _TLS_ONLY:
        return "leave out `ssl_disabled`: docs/security.md"
    return "correct user, password or the hosts that the user may come from"
