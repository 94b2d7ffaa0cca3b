"""MySQL's own JSON: the server writes documents as is foretold, which the proof rests on."""

from __future__ import annotations

import random

import pyarrow as pa

from tests.connectors import mysql_kit, test_mysql_float
from tmg_etl.connectors import base
from tmg_etl.transfer import conversion, document, encode

MARKS = ["a", "B", "é", "\U0001f680", "\\n", "\\u0000", "\\u001f", '\\"', "\\\\", "\\/", "\u2028"]
MARKS += ["\x7f", "\\ud83d\\ude80", "[", "}", "\\b", " ", "ß", "\\t", "\ufffd", "%s", "'"]
ODD = ["-0", "-0.0", "0.0", "0e5", "1E+2", "1e-7", "1.0", "1e15", "1.5e300", str(2**64 - 1)]
ODD += [str(-(2**63)), str(2**63), "1" + "0" * 25, "1" + "0" * 15]


class Writer:
    """Random documents in every form that JSON allows."""

    def __init__(self) -> None:
        self._rng = random.Random(5)
        self._doubles = test_mysql_float.doubles(20_000)

    def number(self) -> str:
        double = self._rng.choice(self._doubles)
        forms = [repr(double), repr(double).upper(), str(self._rng.randint(-1000, 1000))]
        forms += [f"{self._rng.uniform(-1e5, 1e5):.3f}", self._rng.choice(ODD)]
        return self._rng.choice(forms)

    def text(self) -> str:
        return f'"{"".join(self._rng.choices(MARKS, k=self._rng.randrange(6)))}"'

    def document(self, depth: int) -> str:
        blank = self._rng.choice(["", "", " ", "\n\t"])
        parts = range(self._rng.randrange(5))
        match self._rng.randrange(8 if depth else 4):
            case 0 | 1:
                return self.number()
            case 2:
                return self.text()
            case 3:
                return self._rng.choice(["true", "false", "null"])
            case 4 | 5:
                # By what they mean, else one could be there twice.
                keys = {document.canonical(self.text()): None for _ in parts}
                members = [f"{blank}{key}{blank}:{self.document(depth - 1)}" for key in keys]
                return "{" + ",".join(members) + blank + "}"
        return "[" + ",".join(f"{blank}{self.document(depth - 1)}{blank}" for _ in parts) + "]"


def test_the_server_writes_documents_as_foretold(mysql_url: str) -> None:
    """Over random ones, loaded as they are sent; a changed one is found."""
    writer = Writer()
    documents: list[str | None] = [writer.document(5) for _ in range(5000)]
    documents.append(None)
    mysql_kit.run_sql(mysql_url, "CREATE TABLE t (id int PRIMARY KEY, c json)")
    with mysql_kit.opened(mysql_url) as target:
        described = target.describe()
        assert described is not None
        able = target.capabilities
        fields = described.schema
        assert base.is_json(fields.field("c"))
        converter = conversion.Converter("t", fields, frozenset(), ("id",), able)
        given = pa.record_batch(
            [pa.array(range(len(documents)), pa.int32()), pa.array(documents)], ["id", "c"]
        )
        sent = converter.convert(given)
        mysql_kit.send(target, "t", sent, ["id"])
        encoder = encode.Encoder(fields, able.text, hashes=True)
        encoder.add(sent)

        def found() -> base.Fingerprint:
            return target.fingerprint("t", ["id", "c"], base.Selection(), hashes=True)

        assert found() == encoder.fingerprint
        # What the server itself makes of the text that was given.
        with mysql_kit.raw(mysql_url) as connection, connection.cursor() as cursor:
            cursor.execute("CREATE TABLE u (id int PRIMARY KEY, c json)")
            rows = list(enumerate(documents))
            cursor.executemany("INSERT INTO u VALUES (%s, %s)", rows)
            cursor.execute(
                "SELECT COUNT(*) FROM t JOIN u USING (id)"
                " WHERE NOT CAST(t.c AS BINARY) <=> CAST(u.c AS BINARY)"
            )
            assert cursor.fetchone() == (0,)
            for changed in ("'1'", "'null'", "'[1.0]'", '\'{"a": "\\\\u0000"}\''):
                cursor.execute(f"UPDATE t SET c = {changed} WHERE id = 7")
                assert found() != encoder.fingerprint
                cursor.execute("UPDATE t JOIN u USING (id) SET t.c = u.c WHERE id = 7")
                assert found() == encoder.fingerprint
