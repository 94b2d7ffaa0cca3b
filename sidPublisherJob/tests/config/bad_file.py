"""Files that are wrong outside of a transfer, each with the place and the words of its refusal."""

from tests.config.bad_transfer import CONNECTIONS, TRANSFER
from tmg_etl import connectors

SERVING = "connections:\n  serving:\n    "

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
    "type without a connector": (
        SERVING + "type: sqlalchemy\n    url: firebird://u:geheim@h/d\n",
        3,
        "connections.serving.type",
        ["found 'sqlalchemy'", f"expected one of {', '.join(connectors.connection_types())};"],
    ),
    "no url": (SERVING + "type: mysql\n", 2, "connections.serving.url", ["found no `url`"]),
    "url of another system": (
        SERVING + "type: mysql\n    url: postgresql://u:geheim@h/d\n",
        4,
        "connections.serving.url",
        ["postgresql:// url for type mysql", "expected mysql://", "`type: postgres`"],
    ),
    "url of a system without a connector": (
        SERVING + "type: postgres\n    url: firebird://u:geheim@h/d\n",
        4,
        "connections.serving.url",
        [
            "firebird:// url for type postgres",
            "urls are duckdb://, sqlite://, postgresql://, mysql://",
        ],
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
    # --- flaky connections
    "flaky before nothing": (
        CONNECTIONS + "  shaky: {type: flaky, of: servin}\n",
        4,
        "connections.shaky.of",
        ["found no connection 'servin'", "did you mean `serving`?"],
    ),
    "flaky before flaky": (
        CONNECTIONS + "  a: {type: flaky, of: lake}\n  b: {type: flaky, of: a}\n",
        5,
        "connections.b.of",
        ["the flaky connection 'a'", "in one place"],
    ),
    "unknown fault": (
        CONNECTIONS + "  a: {type: flaky, of: lake, faults: {read: explode}}\n",
        4,
        "connections.a.faults.read",
        ["'explode'", "expected one of raise, cut, full, hang, freeze, kill"],
    ),
    "fault at no point": (
        CONNECTIONS + "  a: {type: flaky, of: lake, faults: {'read 2': cut}}\n",
        4,
        'connections.a.faults."read 2"',
        ["a point such as load:2:after"],
    ),
}
