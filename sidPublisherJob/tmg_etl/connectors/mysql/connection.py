"""The entry of the config: opens sources and targets, runs hand-written statements."""

from __future__ import annotations

import datetime
import re
import urllib.parse
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from tmg_etl import errors
from tmg_etl.connectors import base, sql
from tmg_etl.connectors.mysql import definition, source, target, tls
from tmg_etl.connectors.mysql import session as session_module
from tmg_etl.connectors.mysql import type as type_module

if TYPE_CHECKING:
    from tmg_etl.config import model

_DEFAULT_PORT = 3306
_TRUE = frozenset({"1", "true", "yes", "on"})


def _flag(text: str) -> bool:
    return text.lower() in _TRUE


#: Arguments of PyMySQL that a config may set, in `options` or in the URL's query.
_OPTIONS: dict[str, Callable[[str], Any]] = {
    "bind_address": str,
    "connect_timeout": int,
    "server_public_key": tls.public_key,
    "ssl_ca": str,
    "ssl_cert": str,
    "ssl_disabled": _flag,
    "ssl_key": str,
    "ssl_key_password": str,
    "ssl_verify_cert": _flag,
    "ssl_verify_identity": _flag,
    "unix_socket": str,
}
#: What stands in a statement; a name after a colon is a parameter only outside the rest.
_TOKEN = re.compile(
    r"""(?P<skip>'(?:[^'\\]|\\.|'')*'|"(?:[^"\\]|\\.|"")*"|`(?:[^`]|``)*`"""
    r"""|/\*.*?\*/|--\s[^\n]*|\#[^\n]*)"""
    r"""|(?<![:\w]):(?P<name>[A-Za-z_]\w*)|(?P<percent>%)""",
    re.DOTALL,
)


class MySQLConnection(base.Connection):
    """A MySQL or MariaDB server, and the database that tables are in."""

    def place(self) -> session_module.Place:
        """Return where the server is.

        Raises:
            errors.ConfigError: no database, or an option that is not known.
        """
        url = urllib.parse.urlsplit(self.spec.url)
        path = urllib.parse.unquote(url.path.removeprefix("/"))
        database = self.spec.schema_ or path
        if not database:
            raise errors.ConfigError(
                f"connection {self.name!r}: the url names no database",
                hint="write mysql://user:password@host/database",
            )
        options = dict(urllib.parse.parse_qsl(url.query)) | dict(self.spec.options)
        return session_module.Place(
            name=self.name,
            host=url.hostname or "localhost",
            port=url.port or _DEFAULT_PORT,
            user=urllib.parse.unquote(url.username or ""),
            password=urllib.parse.unquote(url.password or ""),
            database=database,
            options=self._checked(options),
        )

    def _checked(self, options: Mapping[str, str]) -> dict[str, Any]:
        checked = {}
        for name, text in options.items():
            if name == "charset":  # always utf8mb4
                continue
            if name not in _OPTIONS:
                raise errors.ConfigError(
                    f"connection {self.name!r}: unknown option {name!r}",
                    hint=f"known options: {', '.join(_OPTIONS)}",
                )
            try:
                checked[name] = _OPTIONS[name](str(text))
            except ValueError as failure:
                wanted = "RSA key in PEM" if name == "server_public_key" else "number"
                raise errors.ConfigError(
                    f"connection {self.name!r}: the option {name!r} is no {wanted}"
                ) from failure
        context = tls.context(checked, self.name)
        plain = {name: value for name, value in checked.items() if name not in tls.OPTIONS}
        return plain if context is None else {**plain, "ssl": context}

    def _open(self) -> session_module.Session:
        return session_module.Session(self.place(), lambda: self.stop)

    def open_source(self, spec: model.SourceSpec, execution_date: datetime.date) -> base.Source:
        """Open a table or query at a snapshot taken now."""
        query = spec.query and sql.fill_placeholder(spec.query, execution_date)
        session = self._open()
        try:
            return source.MySQLSource(session, spec.table, query)
        except BaseException:
            session.close()
            raise

    def open_target(self, table: str) -> base.Target:
        """Open a table, which may not exist yet."""
        definition.require_table(self.name, table)
        session = self._open()
        try:
            return target.MySQLTarget(session, table)
        except BaseException:
            session.close()
            raise

    def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> pa.Table:
        """Return the rows of a small query.

        A FLOAT column has the six digits that the server prints; write ``column + 0e0`` for all.
        """
        session = self._open()
        try:
            with session.cancelling(), session.translating():
                text, values = bound(sql, parameters)
                with session.connection.cursor() as cursor:
                    statement = cursor.mogrify(text, values)
                descriptors, rows = session.connection.raw_rows(statement)
            kinds = [type_module.kind_of(item) for item in descriptors]
            type_module.require_carried(kinds, str(session.place))
            columns = list(zip(*rows, strict=True)) or [()] * len(kinds)
            schema = pa.schema([kind.field.with_nullable(True) for kind in kinds])
            arrays = [self._array(kind, cells) for kind, cells in zip(kinds, columns, strict=True)]
            return pa.Table.from_arrays(arrays, schema=schema)
        finally:
            session.close()

    def _array(self, kind: type_module.Kind, cells: tuple[bytes | None, ...]) -> pa.Array:
        try:
            return _array(kind, cells)
        except (pa.ArrowInvalid, ValueError) as failure:
            raise errors.DataError(
                f"connection {self.name!r}: the column {kind.field.name!r} of a query holds what is"
                f" no {kind.field.type}: {failure}"
            ) from failure

    def execute(self, sql: str, parameters: Mapping[str, Any] | None = None) -> int:
        """Run one statement in a transaction of its own; return the rows it touched."""
        session = self._open()
        try:
            text, values = bound(sql, parameters)
            return session.run(text, values or ())
        finally:
            session.close()


def bound(sql: str, parameters: Mapping[str, Any] | None) -> tuple[str, dict[str, Any] | None]:
    """Return a statement with ``:name`` parameters, and its values, as PyMySQL takes them.

    Raises:
        errors.ConfigError: a parameter without a value.
    """
    if parameters is None:
        return sql, None

    def replaced(match: re.Match[str]) -> str:
        name = match["name"]
        if name is None:
            return match[0].replace("%", "%%")
        if name not in parameters:
            raise errors.ConfigError(f"the statement's parameter :{name} has no value")
        return f"%({name})s"

    return _TOKEN.sub(replaced, sql), {name: _value(item) for name, item in parameters.items()}


def _value(item: Any) -> Any:
    """Return an instant as the session's wall clock, which is UTC; PyMySQL drops the zone."""
    if isinstance(item, datetime.datetime) and item.tzinfo is not None:
        return item.astimezone(datetime.UTC).replace(tzinfo=None)
    return item


def _array(kind: type_module.Kind, cells: tuple[bytes | None, ...]) -> pa.Array:
    arrow = kind.field.type
    if pa.types.is_binary(arrow):
        return pa.array(cells, arrow)
    if kind.is_converted and not pa.types.is_uint16(arrow):  # BIT comes as bytes
        numbers = [None if cell is None else int.from_bytes(cell, "big") for cell in cells]
        return pa.array(numbers, pa.uint64()).cast(arrow)
    texts = pa.array([None if cell is None else cell.decode() for cell in cells], pa.string())
    if pa.types.is_time(arrow):
        clock = [None if cell is None else cell.decode() for cell in cells]
        return pa.array([item and datetime.time.fromisoformat(item) for item in clock], arrow)
    if pa.types.is_timestamp(arrow):
        return texts.cast(pa.timestamp("us")).cast(arrow)
    return texts.cast(arrow)
