"""A terminal for tests: runs a command on a pseudo-terminal and shows what its screen holds."""

import dataclasses
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time

COLUMNS, LINES = 110, 40

_TOKEN = re.compile(r"\x1b\[(?P<argument>[?0-9;]*)(?P<kind>[A-Za-z])|(?P<char>.)", re.DOTALL)


class Screen:
    """What a terminal shows after text was written to it; refuses sequences it does not know."""

    def __init__(self) -> None:
        self._rows: list[list[str]] = [[]]
        self._row = self._column = 0
        self.is_cursor_shown = True

    @property
    def lines(self) -> list[str]:
        return ["".join(row).rstrip() for row in self._rows]

    def feed(self, text: str) -> None:
        for token in _TOKEN.finditer(text):
            if token["char"] is not None:
                self._put(token["char"])
            else:
                self._control(token["kind"], token["argument"])

    def _put(self, char: str) -> None:
        if char == "\r":
            self._column = 0
        elif char == "\n":
            self._row += 1
            if self._row == len(self._rows):
                self._rows.append([])
        else:
            assert char.isprintable(), repr(char)
            row = self._rows[self._row]
            row.extend(" " * (self._column + 1 - len(row)))
            row[self._column] = char
            self._column += 1

    def _control(self, kind: str, argument: str) -> None:
        match kind, argument:
            case "A", _:
                self._row -= int(argument or 1)
            case "K", "2":
                self._rows[self._row] = []
            case "h", "?25":
                self.is_cursor_shown = True
            case "l", "?25":
                self.is_cursor_shown = False
            case "m", _:
                pass
            case _:
                raise AssertionError(f"unknown control sequence {argument}{kind}")


@dataclasses.dataclass
class Seen:
    """What a command did on its terminal.

    Attributes:
        exit_code: of the process.
        raw: everything written to stderr.
        screen: what the terminal showed at the end.
        stdout: what was written to stdout, a pipe.
        frames: the screen's text after every chunk that was read.
    """

    exit_code: int
    raw: str
    screen: Screen
    stdout: str
    frames: list[str]


def run(
    command: list[str], *, env: dict[str, str], columns: int = COLUMNS, timeout_s: float = 60
) -> Seen:
    """Run `command` with stderr on a terminal and stdout on a pipe."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, columns, 0, 0))
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=slave, env=env
    )
    os.close(slave)
    screen, chunks, frames = Screen(), [], []
    deadline = time.monotonic() + timeout_s
    pending = ""
    while time.monotonic() < deadline:
        ready, _, _ = select.select([master], [], [], 0.2)
        if not ready:
            continue
        try:
            data = os.read(master, 65536)
        except OSError:  # Linux reports the end of a pseudo-terminal as an I/O error
            break
        if not data:
            break
        chunks.append(data)
        # A sequence may be cut by the end of a chunk: it waits for the rest.
        text = pending + data.decode(errors="replace")
        cut = re.search(r"\x1b(?:\[[?0-9;]*)?\Z", text)
        pending = text[cut.start() :] if cut else ""
        screen.feed(text[: cut.start()] if cut else text)
        frames.append("\n".join(screen.lines))
    assert process.stdout is not None
    stdout = process.stdout.read().decode()
    process.stdout.close()
    code = process.wait(timeout=10)
    os.close(master)
    return Seen(code, b"".join(chunks).decode(errors="replace"), screen, stdout, frames)
