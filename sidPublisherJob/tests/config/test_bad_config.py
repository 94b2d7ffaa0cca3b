"""Every way to get a config wrong ends with one line: place, found, expected, what to do."""

import pytest

from tmg_etl import errors

CONNECTIONS = """\
connections:
  lake: {type: files, url: lake/}
  serving: {type: duckdb, url: "duckdb:///serving.duckdb"}
"""
SERVING = "connections:\n  serving:\n    "
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
    # --- YAML
    "empty": ("", 1, "", ["is empty", "connections:"]),
    "comment only": ("# nothing\n", 1, "", ["is empty"]),
    "null": ("~\n", 1, "", ["is empty"]),
    "list at the top": ("- a\n- b\n", 1, "", ["found a list at the top", "expected a mapping"]),
    "text at the top": ("hello\n", 1, "", ["found 'hello'", "expected a mapping"]),
    "tab": ("connections:\n\tlake: 1\n", 2, "", ["not YAML", "spaces, not tabs"]),
    "colon in value": ("ledger: a: b\n", 1, "", ["not YAML", "quotes around a value"]),
    "unclosed quote": ('ledger: "sqlite\n', 2, "", ["not YAML", "close the quote"]),
    "unclosed bracket": ("packages: [a\n", 2, "", ["not YAML", "bracket"]),
    "bad indentation": ("defaults:\n  verify: off\n on_empty: fail\n", 3, "", ["indentation"]),
    "control character": ("ledger: a\x01\n", 1, "", ["not YAML", "invisible character"]),
    "duplicate key": (
        CONNECTIONS + "  lake: {type: files, url: x}\n",
        4,
        "connections.lake",
        ["`lake` a second time".replace("`", ""), "first on line 2", "remove one"],
    ),
    "two documents": ("ledger: a\n---\nledger: b\n", 2, "", ["second document"]),
    "python tag": ("ledger: !!python/name:os.system x\n", 1, "ledger", ["YAML tag", "plain YAML"]),
    "own tag": ("defaults: !mine {}\n", 1, "defaults", ["'!mine'", "remove the tag"]),
    "number as key": ("transfers:\n  2013: {}\n", 2, "transfers.2013", ["reads as int", '"2013":']),
    "no as key": ("connections:\n  no: {}\n", 2, "connections.no", ["reads as bool", '"no":']),
    "list as key": ("connections:\n  [a]: {}\n", 2, "connections", ["as a key", "quotes"]),
    "alias as key": (
        "defaults: &a {}\ntransfers:\n  *a : {}\n",
        3,
        "transfers",
        ["found an alias (*) as a key"],
    ),
    "unknown alias": ("ledger: *ledger\n", 1, "ledger", ["without its anchor", "starts with *"]),
    "star unquoted": ("transfers:\n  a:\n    schedule: * * * * *\n", 3, "", ["starts with * or &"]),
    "merge of a text": ("defaults:\n  <<: fast\n", 2, 'defaults."<<"', ["merge (<<)", "&name"]),
    "impossible date": ("ledger: 2013-99-99\n", 1, "ledger", ["not a valid timestamp", "quotes"]),
    "too deep": ("packages: " + "[" * 90 + "]" * 90, 1, "packages", ["more than 40 levels"]),
    # --- keys
    "unknown top key": (
        "conections: {}\n",
        1,
        "conections",
        ["did you mean `connections`?", "ledger"],
    ),
    "unknown transfer key": (
        TRANSFER + "    write: x\n",
        9,
        "transfers.plane.write",
        ["unknown key write"],
    ),
    "mistyped transfer key": (
        TRANSFER + "    indices: []\n",
        9,
        "transfers.plane.indices",
        ["did you mean `indexes`?"],
    ),
    "name is no key": (TRANSFER + "    name: x\n", 9, "transfers.plane.name", ["unknown key name"]),
    "python spelling is no key": (
        TRANSFER + "    schema_: evolve\n",
        9,
        "transfers.plane.schema_",
        ["did you mean `schema`?"],
    ),
    "unknown delta key": (
        TRANSFER + "    delta: {cursr: day}\n",
        9,
        "transfers.plane.delta.cursr",
        ["did you mean `cursor`?", "keys here: cursor, order_by, strategy, deleted"],
    ),
    "unknown index key": (
        TRANSFER + "    indexes:\n    - {name: i, column: [a]}\n",
        10,
        "transfers.plane.indexes[0].column",
        ["did you mean `columns`?"],
    ),
    "unknown connection key": (
        SERVING + "type: files\n    url: x\n    uri: x\n",
        5,
        "connections.serving.uri",
        ["did you mean `url`?", "keys here: type, url"],
    ),
    "key of another type": (
        SERVING + "type: files\n    url: x\n    options: {}\n",
        5,
        "connections.serving.options",
        ["unknown key options"],
    ),
    "missing source": (
        CONNECTIONS + "transfers:\n  plane:\n    target: {connection: serving, table: p}\n",
        5,
        "transfers.plane.source",
        ["found no `source`", "add `source: …`"],
    ),
    "empty transfer": (
        CONNECTIONS + "transfers:\n  plane:\n",
        5,
        "transfers.plane",
        ["found nothing (null), expected a mapping"],
    ),
    # --- connections
    "no type": (SERVING + "url: x\n", 2, "connections.serving.type", ["found no `type`"]),
    "wrong type": (
        SERVING + "type: postgresql\n    url: x\n",
        3,
        "connections.serving.type",
        ["found 'postgresql'", "expected one of files, duckdb", "did you mean `postgres`?"],
    ),
    "no url": (SERVING + "type: mysql\n", 2, "connections.serving.url", ["found no `url`"]),
    "url of another system": (
        SERVING + "type: mysql\n    url: postgresql://u:geheim@h/d\n",
        4,
        "connections.serving.url",
        ["postgresql:// url for type mysql", "expected mysql://", "`type: postgres`"],
    ),
    "url without scheme": (
        SERVING + "type: duckdb\n    url: demo.duckdb\n",
        4,
        "connections.serving.url",
        ["not a URL", "write duckdb:///file.duckdb"],
    ),
    "url with a bad port": (
        SERVING + "type: mysql\n    url: mysql://u:geheim@h:33o6/d\n",
        4,
        "connections.serving.url",
        ["host and port cannot be read", "percent-encoded"],
    ),
    "files in a database": (
        SERVING + "type: files\n    url: mysql://u:geheim@h/d\n",
        4,
        "connections.serving.url",
        ["found a mysql:// url", "expected a folder"],
    ),
    "empty folder": (
        SERVING + "type: files\n    url: ''\n",
        4,
        "connections.serving.url",
        ["`url: .`"],
    ),
    "bigquery without dataset": (
        SERVING + "type: bigquery\n    project: p\n",
        2,
        "connections.serving.dataset",
        ["found no `dataset`"],
    ),
    "option not text": (
        SERVING + "type: mysql\n    url: mysql://h/d\n    options: {ssl: yes}\n",
        5,
        "connections.serving.options.ssl",
        ["found yes, which YAML reads as true", "quotes"],
    ),
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
    # --- ledger, environments
    "ledger without scheme": (
        "ledger: runs.db\n",
        1,
        "ledger",
        ["not a URL", "sqlite:///ledger.db"],
    ),
    "environments as a list": (
        "environments: [prod]\n",
        1,
        "environments",
        ["a mapping of environments"],
    ),
    "environment as a text": ("environments:\n  prod: x\n", 2, "environments.prod", ["keys here"]),
    "unknown key in an environment": (
        "environments:\n  prod:\n    conections: {}\n",
        3,
        "environments.prod.conections",
        ["did you mean `connections`?"],
    ),
    # --- references
    "unset variable": (
        SERVING + "type: mysql\n    url: mysql://${DB_USER}@h/d\n",
        4,
        "connections.serving.url",
        ["the variable DB_USER unset", "export DB_USER=…", "${DB_USER:-default}"],
    ),
    "unclosed reference": ("ledger: ${LEDGER\n", 1, "ledger", ["without its closing }", "$$"]),
    "no reference": ("ledger: ${1A}\n", 1, "ledger", ["is no reference", "${secret:NAME}"]),
    "secret outside the folder": (
        "ledger: ${secret:../passwd}\n",
        1,
        "ledger",
        ["is no reference"],
    ),
}


@pytest.mark.parametrize(("text", "line", "key", "fragments"), CASES.values(), ids=CASES)
def test_bad_config_is_one_line_with_place_and_advice(load, text, line, key, fragments):
    with pytest.raises(errors.ConfigError) as caught:
        load(text)
    message = str(caught.value)
    assert caught.value.exit_code == 78
    assert caught.value.where == (f"config.yaml:{line}:{key}" if key else f"config.yaml:{line}")
    for fragment in fragments:
        assert fragment in message
    assert "\n" not in message
    assert "geheim" not in message


def test_there_are_enough_ways():
    assert len(CASES) >= 40


def test_further_problems_are_counted(load):
    with pytest.raises(errors.ConfigError, match=r"2 more problems in this file"):
        load(TRANSFER + "    a: 1\n    b: 2\n    c: 3\n")


def test_unknown_environment_lists_all(load):
    with pytest.raises(errors.ConfigError) as caught:
        load("environments: {prod: {}, dev: {}}\n", env="prdo")
    assert str(caught.value) == (
        "config.yaml:1:environments: found no environment 'prdo'; "
        "did you mean `prod`? environments in this file: dev, local, prod"
    )
