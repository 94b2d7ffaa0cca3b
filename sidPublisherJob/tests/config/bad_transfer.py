"""Transfers that are wrong, each with the place and the words of its refusal."""

CONNECTIONS = """\
connections:
  lake: {type: files, url: lake/}
  serving: {type: duckdb, url: "duckdb:///serving.duckdb"}
"""
TRANSFER = (
    CONNECTIONS
    + """\
transfers:
  plane:
    source: {connection: lake, table: planes}
    target: {connection: serving, table: plane}
    key: [tailnum]
"""
)
SOURCE = (
    CONNECTIONS
    + """\
transfers:
  plane:
    target: {connection: serving, table: plane}
    source:
      connection: lake
"""
)

# name: (text, line, key, all of these fragments)
CASES: dict[str, tuple[str, int, str, list[str]]] = {
    # --- source and target
    "unknown connection": (
        TRANSFER.replace("connection: lake,", "connection: lak,"),
        6,
        "transfers.plane.source.connection",
        ["found no connection 'lak'", "did you mean `lake`?", "lake, serving"],
    ),
    "two things to read": (
        SOURCE + "      table: a\n      query: SELECT 1\n",
        7,
        "transfers.plane.source",
        ["found `table` and `query`", "expected exactly one"],
    ),
    "nothing to read": (
        SOURCE,
        7,
        "transfers.plane.source",
        ["found none of them", "`table: name`"],
    ),
    "path on a database": (
        SOURCE.replace("connection: lake", "connection: serving") + "      path: x.csv\n",
        9,
        "transfers.plane.source.path",
        ["connection of type duckdb", "on files only"],
    ),
    "unknown format": (
        SOURCE + "      table: a\n      format: parqet\n",
        10,
        "transfers.plane.source.format",
        ["expected one of parquet, csv, jsonl", "did you mean `parquet`?"],
    ),
    "unknown column type": (
        SOURCE + "      table: a\n      columns:\n        seats: integer\n",
        11,
        "transfers.plane.source.columns.seats",
        ["found 'integer'", "did you mean `int64`?"],
    ),
    "decimal out of bounds": (
        SOURCE + "      table: a\n      columns: {price: 'decimal(9,12)'}\n",
        10,
        "transfers.plane.source.columns.price",
        ["0 <= s <= p"],
    ),
    "two characters as delimiter": (
        SOURCE + "      table: a\n      csv: {delimiter: '\\t'}\n",
        10,
        "transfers.plane.source.csv.delimiter",
        ["expected one character", r'write "\t"'],
    ),
    "unknown encoding": (
        SOURCE + "      table: a\n      csv: {encoding: utf9}\n",
        10,
        "transfers.plane.source.csv.encoding",
        ["found 'utf9'", "utf8, latin1"],
    ),
    "null value not text": (
        SOURCE + "      table: a\n      csv: {null_values: [NA, no]}\n",
        10,
        "transfers.plane.source.csv.null_values[1]",
        ["found no, which YAML reads as false"],
    ),
    "number as table": (
        TRANSFER.replace("table: planes", "table: 2013"),
        6,
        "transfers.plane.source.table",
        ["found 2013 (a number), expected a text", "quotes"],
    ),
    "blank table": (
        TRANSFER.replace("table: planes", "table: ' '"),
        6,
        "transfers.plane.source.table",
        ["found an empty text"],
    ),
    # --- transfers
    "key not a list": (
        TRANSFER.replace("[tailnum]", "tailnum"),
        8,
        "transfers.plane.key",
        ["found 'tailnum', expected a list", "write [a, b]"],
    ),
    "key column twice": (
        TRANSFER.replace("[tailnum]", "[a, b, a]"),
        8,
        "transfers.plane.key[2]",
        ["found 'a' a second time"],
    ),
    "upsert without key": (
        TRANSFER.replace("    key: [tailnum]\n", "    delta: {cursor: day}\n"),
        5,
        "transfers.plane.key",
        ["upsert without a key", "add `key:", "replace_window"],
    ),
    "key omitted": (
        TRANSFER + "    omit: [year, tailnum]\n",
        9,
        "transfers.plane.omit",
        ["'tailnum'", "`key` needs", "remove it from `omit`"],
    ),
    "cursor omitted": (
        TRANSFER + "    omit: [day]\n    delta: {cursor: day, strategy: replace_window}\n",
        9,
        "transfers.plane.omit",
        ["'day'", "`delta.cursor` needs"],
    ),
    "unknown strategy": (
        TRANSFER + "    delta: {cursor: day, strategy: merge}\n",
        9,
        "transfers.plane.delta.strategy",
        ["expected one of upsert, replace_window"],
    ),
    "no cursor": (
        TRANSFER + "    delta: {strategy: upsert}\n",
        9,
        "transfers.plane.delta.cursor",
        ["found no `cursor`"],
    ),
    "index without columns": (
        TRANSFER + "    indexes: [{name: i, columns: []}]\n",
        9,
        "transfers.plane.indexes[0].columns",
        ["found an empty list, expected at least 1 item"],
    ),
    "two indexes of one name": (
        TRANSFER + "    indexes: [{name: i, columns: [a]}, {name: i, columns: [b]}]\n",
        9,
        "transfers.plane.indexes",
        ["two indexes with the name 'i'"],
    ),
    "unique not a truth value": (
        TRANSFER + "    indexes: [{name: i, columns: [a], unique: maybe}]\n",
        9,
        "transfers.plane.indexes[0].unique",
        ["found 'maybe', expected true or false"],
    ),
    "four cron fields": (
        TRANSFER + "    schedule: '17 4 * *'\n",
        9,
        "transfers.plane.schedule",
        ["five fields", "not 4", "every day at 04:17 UTC"],
    ),
    "cron minute": (
        TRANSFER + "    schedule: '60 4 * * *'\n",
        9,
        "transfers.plane.schedule",
        ["0 to 59 in the minute, not '60'"],
    ),
    "pipeline without class": (
        TRANSFER + "    pipeline: sid_dim_agent.agent\n",
        9,
        "transfers.plane.pipeline",
        ["expected module:Class"],
    ),
    "pipeline outside the packages": (
        TRANSFER + "    pipeline: os.path:Evil\n",
        9,
        "transfers.plane.pipeline",
        ["'os.path'", "sid_dim_agent", "add `packages: [os]`"],
    ),
    "pipeline with a similar package": (
        TRANSFER + "    pipeline: sid_dim_agent_evil.x:Evil\n",
        9,
        "transfers.plane.pipeline",
        ["one of the packages: sid_dim_agent"],
    ),
    "package not a name": ("packages: [my-package]\n", 1, "packages[0]", ["Python package"]),
    "unknown verify": (
        TRANSFER + "    verify: checksum\n",
        9,
        "transfers.plane.verify",
        ["expected one of fingerprint, count, off"],
    ),
    "verify true": (
        TRANSFER + "    verify: on\n",
        9,
        "transfers.plane.verify",
        ["found on, which YAML reads as true", "fingerprint, count, off"],
    ),
    "wait not a number": (
        TRANSFER + "    lock_wait_s: 1m\n",
        9,
        "transfers.plane.lock_wait_s",
        ["found '1m', expected a number"],
    ),
    "wait below zero": (
        TRANSFER + "    lock_wait_s: -1\n",
        9,
        "transfers.plane.lock_wait_s",
        ["found -1 (a number), expected 0 or more"],
    ),
    "wait without end": (
        TRANSFER + "    lock_wait_s: .inf\n",
        9,
        "transfers.plane.lock_wait_s",
        ["a finite number"],
    ),
    "wait a truth value": (
        TRANSFER + "    lock_wait_s: true\n",
        9,
        "transfers.plane.lock_wait_s",
        ["found true (a yes/no value), expected a number"],
    ),
    "batch of none": (
        TRANSFER + "    batch_rows: 0\n",
        9,
        "transfers.plane.batch_rows",
        ["expected 1 or more"],
    ),
    "batch too large": (
        TRANSFER + "    batch_rows: 1000001\n",
        9,
        "transfers.plane.batch_rows",
        ["found 1000001 (a number), expected 1000000 or less"],
    ),
    "half a row": (
        TRANSFER + "    batch_rows: 1.5\n",
        9,
        "transfers.plane.batch_rows",
        ["found 1.5 (a number), expected a whole number"],
    ),
    "wrong default": (
        "defaults:\n  on_empty: ignore\n" + TRANSFER,
        2,
        "defaults.on_empty",
        ["expected one of fail, allow"],
    ),
    "key that is no default": ("defaults: {key: [a]}\n", 1, "defaults.key", ["unknown key key"]),
    "name too long": (
        CONNECTIONS + f"transfers:\n  {'x' * 201}: {{}}\n",
        5,
        f'transfers."{"x" * 60}…"',
        ["201 characters, expected 1 to 200"],
    ),
    "empty name": ("transfers:\n  '': {}\n", 2, 'transfers.""', ["0 characters"]),
    "name with a line break": (
        'transfers:\n  "a\\nb": {}\n',
        2,
        r'transfers."a\nb"',
        ["invisible"],
    ),
    "transfers as a list": (
        "transfers:\n- name: x\n",
        1,
        "transfers",
        ["found a list, expected a mapping"],
    ),
}
