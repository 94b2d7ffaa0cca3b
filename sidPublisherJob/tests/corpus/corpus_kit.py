"""A workshop for one broken input: config, lake and target, the real command, what it left."""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import io
import json
import os
import pathlib
import shutil
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from tests.cli import process

HERE = pathlib.Path(__file__).parent
#: In the environment of every run and in its config; would be recognised in any output.
SECRET = "s3cr3t-W@rd%2F"
ROWS = [(1, 10, "old"), (2, 20, None)]
CONFIG = """\
connections:
  lake: {type: files, url: lake/}
  serving: {type: sqlite, url: "sqlite:///serving.db"}
  other: {type: postgres, url: "postgresql://u:${CORPUS_PASSWORD}@127.0.0.1:1/d"}
ledger: "sqlite:///ledger.db"
defaults: {lock_wait_s: 0.1}
transfers:
  dim:
    source: {connection: lake, table: rows}
    target: {connection: serving, table: t}
    key: [id]
"""


@dataclasses.dataclass(frozen=True)
class Case:
    """One broken input, and what must be said of it.

    Attributes:
        code: the exit code.
        says: fragments of the one line, in any order.
        arguments: of the command; CONFIG stands for the config's path.
        text: the whole config, instead of `CONFIG`.
        more: lines below the transfer `dim`.
        source: keys of its source, instead of `table: rows`.
        files: name in the lake → content: text, bytes, or what writes it.
        env: more environment variables.
        command: pipeline or tmg-etl.
    """

    code: int
    says: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ("20240310", "dim", "truncate", "CONFIG")
    text: str | bytes | None = None
    more: str = ""
    source: Mapping[str, Any] | None = None
    files: Mapping[str, str | bytes | Callable[[pathlib.Path], None]] = dataclasses.field(
        default_factory=dict
    )
    env: Mapping[str, str] = dataclasses.field(default_factory=dict)
    command: str = "pipeline"


#: Texts that are too long to write down; a case writes their names.
LARGE = {
    "LONG_NUMBER": "defaults: {batch_rows: " + "9" * 200_000 + "}\n",
    "LONG_KEY": "k" * 100_000 + ": 1\n",
    "LONG_NAME": "x" * 10_000,
    "DEEP_LIST": "packages: " + "[" * 100_000 + "]" * 100_000 + "\n",
    "DEEP_MAPPING": "{a: " * 50_000 + "1" + "}" * 50_000,
    "LAUGHS": "a0: &a0 [x, x]\n"
    + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 30)),
    "MERGES": "a0: &a0 {k: v}\n"
    + "".join(f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 99)}]}}\n" for n in range(1, 99)),
    "HUGE": "ledger: sqlite:///a\n" + "# nothing\n" * 500_000,
    "MANY_COLUMNS": "id,v,name," + ",".join(f"c{n}" for n in range(9997)) + "\n1,2" + "," * 9998,
    "MANY_NAMES": ",".join(["c"] * 10_000) + "\n",
    "MANY_KEYS": json.dumps({f"k{n}": n for n in range(10_000)}) + "\n",
    "LATE_KEY": '{"id": 1, "v": 2, "name": "x"}\n' * 10_001 + '{"id": 2, "late": 1}\n',
    "DEEP_JSON": '{"id": ' + "[" * 100_000 + "]" * 100_000 + "}\n",
    "TEN_THOUSAND_DIGITS": '{"id": ' + "1" * 10_000 + ', "v": 2, "name": "x"}\n',
    "LATE_TEXT": "id,v,name\n" + "".join(f"{n},1,{'x' * 90}\n" for n in range(60_000)) + "7,x,y\n",
}


def _bomb(head: bytes) -> bytes:
    """Return half a gigabyte of zeros behind `head`, in half a megabyte."""
    zeros = gzip.compress(b"0" * (1 << 24), 1)
    return gzip.compress(head) + zeros * 32


_GZIP = gzip.compress(b"id,v,name\n" + b"".join(b"%d,1,%d\n" % (n, n * n) for n in range(9999)))
_RESULT = io.BytesIO()
pq.write_table(pa.table({"id": [1], "v": [2], "name": ["x"]}), _RESULT)
FILES = {
    "PARQUET": _RESULT.getvalue(),
    "GZIP": _GZIP,
    "GZIP_CUT": _GZIP[:-100],
    "GZIP_SUM": _GZIP[:-8] + b"\0\0\0\0" + _GZIP[-4:],
    "GZIP_MIDDLE": _GZIP[:5000] + b"\xff" * 99 + _GZIP[5099:],
    "GZIP_TAIL": _GZIP + b"tail",
    "JSON_GZIP_CUT": gzip.compress(b'{"id": 1, "v": 2, "name": "x"}\n' * 9999)[:-50],
    "BOMB_LINE": _bomb(b""),
    "BOMB_QUOTE": _bomb(b'id,v,name\n1,2,"'),
}


def table(name: str) -> dict[str, Case]:
    """Return the cases of one YAML table.

    A case has the attributes of `Case`. `latin1: …` writes each character as one byte, and `says`
    may be a single text.
    """
    cases = {}
    for title, facts in yaml.safe_load((HERE / name).read_text(encoding="utf-8")).items():
        if "latin1" in facts:
            facts["text"] = facts.pop("latin1").encode("latin-1")
        for key, value in facts.get("files", {}).items():
            if isinstance(value, dict):
                facts["files"][key] = value["latin1"].encode("latin-1")
            elif value in FILES or value in LARGE:
                facts["files"][key] = FILES[value] if value in FILES else LARGE[value]
            else:
                facts["files"][key] = value.replace("THOUSAND_DIGITS", "1" * 1000)
        if isinstance(facts.get("text"), str):
            facts["text"] = LARGE.get(facts["text"], facts["text"])
        says = facts.pop("says")
        facts["says"] = tuple([says] if isinstance(says, str) else says)
        if "arguments" in facts:
            facts["arguments"] = tuple(LARGE.get(part, part) for part in facts["arguments"])
        cases[title] = Case(**facts)
    return cases


class Workshop:
    """A folder with a config, a lake, a ledger and a target of two rows.

    Args:
        folder: empty.
        ledger: copied into it.
    """

    def __init__(self, folder: pathlib.Path, ledger: pathlib.Path) -> None:
        self.folder = folder
        self.config = folder / "config.yaml"
        self.lake = folder / "lake"
        self.target = folder / "serving.db"
        self.lake.mkdir()
        shutil.copy(ledger, folder)
        with contextlib.closing(sqlite3.connect(self.target)) as raw, raw:
            raw.execute(
                "CREATE TABLE t (id integer NOT NULL PRIMARY KEY, v smallint, name varchar(20))"
            )
            raw.executemany("INSERT INTO t VALUES (?, ?, ?)", ROWS)

    def fill(self, case: Case) -> None:
        """Write the config and the lake of a case."""
        text = CONFIG if case.text is None else case.text
        if isinstance(text, str):
            if case.source is not None:
                source = json.dumps({"connection": "lake", **case.source})
                text = text.replace("{connection: lake, table: rows}", source)
            text = (text + "".join(f"    {line}\n" for line in case.more.splitlines())).encode()
        self.config.write_bytes(text)
        for name, content in case.files.items():
            path = self.lake / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if callable(content):
                content(path)
            else:
                path.write_bytes(content.encode() if isinstance(content, str) else content)

    def state(self) -> tuple[list[Any], list[str]]:
        """Return everything in the target, and the names of all files."""
        with contextlib.closing(sqlite3.connect(self.target)) as raw:
            tables = raw.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall()
            rows = raw.execute("SELECT * FROM t ORDER BY id").fetchall()
        paths = self.folder.rglob("*")
        return [*tables, *rows], sorted(str(path.relative_to(self.folder)) for path in paths)


def check(case: Case, done: process.Done, before: object, workshop: Workshop) -> str:
    """Hold a run to everything that a refusal promises; return its line."""
    everything = done.out + done.err
    assert done.code == case.code, everything
    assert "Traceback" not in everything
    message = only_error(done)
    plain = message.replace(f"{workshop.folder}/", "")
    for fragment in case.says:
        assert fragment in plain, message
    assert len(message) < 1200, "a line that nobody reads to its end"
    assert message.isprintable()
    ledger = (workshop.folder / "ledger.db").read_bytes()
    assert SECRET not in everything
    assert SECRET.encode() not in ledger
    assert workshop.state() == before
    return message


def only_error(done: process.Done) -> str:
    """Return the one line of error, which is the last; log lines may come before it."""
    lines = done.err.splitlines()
    if not lines[-1].startswith("{"):  # before logging is set up
        (line,) = lines
        return line
    entries = [json.loads(line) for line in lines]
    (message,) = [e["message"] for e in entries if e["severity"] in ("ERROR", "CRITICAL")]
    assert message == entries[-1]["message"]
    return str(message)


def environ(case: Case) -> dict[str, str]:
    """Return the variables that every case has, and its own."""
    return {"CORPUS_PASSWORD": SECRET, "TMPDIR": os.environ.get("TMPDIR", "/tmp"), **case.env}


def arguments(case: Case, workshop: Workshop) -> Sequence[str]:
    """Return the command's arguments."""
    return [part.replace("CONFIG", str(workshop.config)) for part in case.arguments]
