"""The wire: `LOAD DATA LOCAL` from memory instead of a file, and rows as plain bytes.

PyMySQL's `Connection` with two additions. It never opens a file, whatever a server asks for: a
hostile one may answer any statement with the request for any file.
"""

from __future__ import annotations

import contextlib
import secrets
import socket
import ssl
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import pymysql
from pymysql import connections, protocol

if TYPE_CHECKING:
    _Connection = connections.Connection[Any]
else:
    _Connection = connections.Connection  # generic in the annotations only

#: Bytes in one packet of an upload; 64 KiB to 1 MiB measured the same, 16 KiB slower.
UPLOAD_BYTES = 256 * 1024
#: Bytes that one system call reads; PyMySQL's own 8 KiB cost a call for every sixty rows.
_READ_BYTES = 256 * 1024
_LONGEST_PACKET = 0xFFFFFF
#: Bytes of a value's length, by the byte before it.
_LENGTH_BYTES = {0xFC: 2, 0xFD: 3, 0xFE: 8}
_SERVER_LOST = 2013
_HANDSHAKE_S = 30
#: Seconds of silence, seconds between probes, number of probes, until a peer counts as dead.
_KEEPALIVE = (60, 10, 6)


class _Result(connections.MySQLResult):
    """A result that answers a request for a file from memory."""

    connection: Any
    _read_ok_packet: Callable[[Any], None]

    def _read_load_local_packet(self, first_packet: Any) -> None:
        connection = self.connection
        requested = protocol.LoadLocalPacketWrapper(first_packet).filename
        try:
            refused = not connection.send_upload(requested)
        finally:
            if connection._sock is not None:  # else it broke on the way: that error is the one
                connection.write_packet(b"")  # the end of the "file"
        answer = connection._read_packet()
        if refused:
            raise pymysql.err.OperationalError(
                _SERVER_LOST, "the server asked for a file that was not offered; nothing was sent"
            )
        self._read_ok_packet(answer)


class StreamConnection(_Connection):
    """A server connection that uploads from memory and can yield rows as bytes."""

    # What the published annotations of PyMySQL leave out.
    server_version: str
    server_thread_id: tuple[int]
    _result: Any
    _sock: Any
    _force_close: Callable[[], None]

    def __init__(self, **settings: Any) -> None:
        #: Whether rows of `packets` are still to come.
        self.is_busy = False
        self._token: bytes | None = None
        self._payload = memoryview(b"")
        super().__init__(
            **{"read_timeout": _HANDSHAKE_S, "write_timeout": _HANDSHAKE_S, **settings},
            local_infile=True,
        )

    def connect(self, sock: Any = None) -> None:
        """Connect, then wait for long statements as long as the peer is alive."""
        super().connect(sock)
        self._read_timeout = self._write_timeout = None
        # Nothing is buffered between a finished answer and the next command.
        self._rfile = self._sock.makefile("rb", buffering=_READ_BYTES)
        if self._sock.family != socket.AF_UNIX:
            idle, interval, count = _KEEPALIVE
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, idle)
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, interval)
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, count)

    @property
    def warnings(self) -> int:
        """Return the number of warnings of the last statement."""
        return int(self._result.warning_count)

    def upload(self, statement: str, payload: bytes | memoryview) -> tuple[int, int]:
        """Execute a `LOAD DATA LOCAL` whose file is `payload`.

        Args:
            statement: with ``{file}`` where the name of the file stands, already quoted.
            payload: the rows.

        Returns:
            The rows that the server took, and the number of its warnings.
        """
        token = f"tmg_etl:{secrets.token_hex(8)}"
        self._token, self._payload = token.encode(), memoryview(payload)
        try:
            self.query(statement.replace("{file}", f"'{token}'", 1))
            return int(self._result.affected_rows), self.warnings
        finally:
            self._token, self._payload = None, memoryview(b"")

    def send_upload(self, requested: bytes) -> bool:
        """Send what `upload` offered; return False, with nothing sent, for any other name."""
        token, payload = self._token, self._payload
        self._token = None  # one statement, one answer
        if token is None or requested != token:
            return False
        size = min(UPLOAD_BYTES, self.max_allowed_packet - 1)
        for start in range(0, len(payload), size):
            self.write_packet(payload[start : start + size])
        return True

    def _create_ssl_ctx(self, sslp: Any) -> ssl.SSLContext:
        """Return what encrypts; where nothing was asked for, nothing is verified by it either.

        The driver would read the system's authorities all the same, 20 ms for each connection.
        """
        if sslp:
            made: ssl.SSLContext = super()._create_ssl_ctx(sslp)  # type: ignore[misc]
            return made
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context

    def _read_query_result(self, unbuffered: bool = False) -> int:
        self._result = None
        result = _Result(self)
        if unbuffered:
            result.init_unbuffered_query()
        else:
            result.read()
        self._result = result
        if result.server_status is not None:
            self.server_status = result.server_status
        return int(result.affected_rows or 0)

    def raw_rows(self, statement: str) -> tuple[Sequence[Any], Sequence[tuple[bytes | None, ...]]]:
        """Return the field descriptors and all rows of a small query, values undecoded."""
        decoders, use_unicode = self.decoders, self.use_unicode
        self.decoders, self.use_unicode = {}, False
        try:
            self.query(statement)
        finally:
            self.decoders, self.use_unicode = decoders, use_unicode
        return getattr(self._result, "fields", []), self._result.rows or ()

    def packets(self, statement: str, rows: int, size: int) -> Iterator[list[bytes]]:
        """Yield the rows of a query as the packets that they came in; see `only_cells` and `cells`.

        A tight loop over the socket's buffer: PyMySQL's own cursor costs five times as much for
        each row. The connection is busy until the last list.

        Args:
            statement: the query.
            rows: a list has at most so many rows,
            size: and ends after that many bytes.
        """
        self.query(statement, unbuffered=True)
        # Else its `__del__` would wait for the rest of the rows, or for a socket that is gone.
        self._result.unbuffered_active, self._result.connection = False, None
        self.is_busy = True
        packets: list[bytes] = []
        bytes_left = size
        while (packet := self._next_row()) is not None:
            packets.append(packet)
            bytes_left -= len(packet)
            if len(packets) >= rows or bytes_left < 0:
                yield packets
                packets, bytes_left = [], size
        if packets:
            yield packets

    def drain(self) -> None:
        """Read what is left of a query that was killed."""
        with contextlib.suppress(pymysql.err.MySQLError):
            while self.is_busy and self._next_row() is not None:
                pass

    def _next_row(self) -> bytes | None:
        """Return the packet of the next row, or None after the last."""
        header = self._rfile.read(4)
        if len(header) < 4:
            raise self._lost()
        length = header[0] | header[1] << 8 | header[2] << 16
        packet: bytes = self._rfile.read(length)
        if length == _LONGEST_PACKET or len(packet) < length:
            packet = self._continued(packet, length)
        first = packet[0]
        if first < 0xFE:
            return packet
        if first == 0xFF:
            self.is_busy = False
            protocol.MysqlPacket(packet, self.encoding).raise_for_error()
        if len(packet) < 9:
            self.is_busy = False
            return None
        return packet

    def _continued(self, packet: bytes, size: int) -> bytes:
        """Return a packet with the parts that follow it: one part holds at most 16 MiB - 1."""
        parts = [packet]
        while True:
            if len(parts[-1]) < size:
                raise self._lost()
            if size < _LONGEST_PACKET:
                return b"".join(parts)
            header = self._rfile.read(4)
            if len(header) < 4:
                raise self._lost()
            size = int.from_bytes(header[:3], "little")
            parts.append(self._rfile.read(size))

    def _lost(self) -> pymysql.err.OperationalError:
        self.is_busy = False
        self._force_close()
        return pymysql.err.OperationalError(_SERVER_LOST, "Lost connection during query")


def only_cells(packets: Sequence[bytes]) -> list[bytes | None]:
    """Return the value of each row of a query with one column; None is null."""
    return [packet[1:] if packet[0] < 0xFB else _cell(packet, packet[0]) for packet in packets]


def _cell(packet: bytes, first: int) -> bytes | None:
    return None if first == 0xFB else packet[_LENGTH_BYTES[first] + 1 :]


def cells(packet: bytes) -> list[bytes | None]:
    """Return the values of one row; None is null."""
    found: list[bytes | None] = []
    place = 0
    while place < len(packet):
        first = packet[place]
        place += 1
        if first == 0xFB:
            found.append(None)
            continue
        length = first
        if first > 0xFB:
            width = _LENGTH_BYTES[first]
            length = int.from_bytes(packet[place : place + width], "little")
            place += width
        found.append(packet[place : place + length])
        place += length
    return found
