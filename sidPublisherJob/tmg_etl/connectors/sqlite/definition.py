"""Reading CREATE statements as SQLite keeps them: as the user wrote them."""

from __future__ import annotations

import re

_TOKEN = re.compile(
    r"""(?P<space>\s+|--[^\n]*|/\*.*?\*/)
      | (?P<text>'(?:[^']|'')*')
      | (?P<quoted>"(?:[^"]|"")*"|`(?:[^`]|``)*`|\[[^\]]*\])
      | (?P<word>[^\W\d][\w$]*)
      | (?P<other>.)""",
    re.VERBOSE | re.DOTALL,
)


def tokens(sql: str) -> list[tuple[str, str]]:
    """Return kind and text of every token, spaces and comments too."""
    return [(match.lastgroup or "", match[0]) for match in _TOKEN.finditer(sql)]


def unquoted(token: str) -> str:
    """Return the name that an identifier means."""
    if token[:1] in ('"', "`", "'"):
        return token[1:-1].replace(token[0] * 2, token[0])
    return token[1:-1] if token.startswith("[") else token


def body(sql: str) -> str:
    """Return what follows the name in a CREATE TABLE statement: columns, constraints, options."""
    seen = 0
    position = 0
    for kind, text in tokens(sql):
        position += len(text)
        if kind == "space":
            continue
        seen += 1
        # CREATE, TABLE, name: SQLite drops TEMP and IF NOT EXISTS when it stores the statement.
        if seen == 3:
            return sql[position:]
    raise ValueError(f"not a CREATE TABLE statement: {sql!r}")


def index_sql(sql: str, name: str, table: str) -> str:
    """Return a CREATE INDEX statement for another name and table.

    Args:
        sql: as SQLite keeps it.
        name: the index's new name, quoted.
        table: the new table, quoted.
    """
    found = tokens(sql)
    places = [place for place, (kind, _) in enumerate(found) if kind != "space"]
    words = [found[place][1].upper() for place in places]
    # CREATE [UNIQUE] INDEX name ON table
    start = words.index("INDEX")
    replaced = [text for _, text in found]
    replaced[places[start + 1]] = name
    replaced[places[start + 3]] = table
    return "".join(replaced)


def column_collations(sql: str) -> dict[str, str]:
    """Return the declared collations, by the column's name in lower case."""
    collations: dict[str, str] = {}
    for piece in _pieces(body(sql)):
        words = [(kind, text) for kind, text in piece if kind != "space"]
        for place, (kind, text) in enumerate(words):
            if kind == "word" and text.upper() == "COLLATE" and 0 < place < len(words) - 1:
                collations[unquoted(words[0][1]).lower()] = unquoted(words[place + 1][1])
    return collations


def refers_to_itself(sql: str, table: str) -> bool:
    """Return whether a constraint or generated column names its own table (``t.a > 0``)."""
    found = [(kind, text) for kind, text in tokens(body(sql)) if kind != "space"]
    return any(
        kind in ("word", "quoted")
        and unquoted(text).lower() == table.lower()
        and found[place + 1 : place + 2] == [("other", ".")]
        for place, (kind, text) in enumerate(found)
    )


def checks(sql: str) -> tuple[str, ...]:
    """Return the condition of each CHECK in a CREATE TABLE statement."""
    found = tokens(body(sql))
    conditions = []
    for place, (kind, text) in enumerate(found):
        if kind == "word" and text.upper() == "CHECK":
            depth, condition = 0, ""
            for _, piece in found[place + 1 :]:
                condition += piece
                depth += (piece == "(") - (piece == ")")
                if depth == 0 and piece == ")":
                    break
            conditions.append(condition.strip())
    return tuple(conditions)


def has_autoincrement(sql: str) -> bool:
    """Return whether a table counts its keys in ``sqlite_sequence``."""
    return any(kind == "word" and text.upper() == "AUTOINCREMENT" for kind, text in tokens(sql))


def index_columns(sql: str) -> list[str]:
    """Return the columns of a CREATE INDEX statement; empty when one is an expression."""
    found = [(kind, text) for kind, text in tokens(sql) if kind != "space"]
    start = found.index(("other", "("))
    columns = []
    for piece in _pieces("".join(f" {text}" for _, text in found[start:])):
        words = [(kind, text) for kind, text in piece if kind != "space"]
        rest = {text.upper() for _, text in words[1:]}
        if not words or words[0][0] not in ("word", "quoted") or rest - {"ASC", "DESC"}:
            return []
        columns.append(unquoted(words[0][1]))
    return columns


def _pieces(text: str) -> list[list[tuple[str, str]]]:
    """Return the column definitions and constraints between the outer parentheses."""
    pieces: list[list[tuple[str, str]]] = [[]]
    depth = 0
    for kind, part in tokens(text):
        if kind == "other" and part == "(":
            depth += 1
            if depth == 1:
                continue
        elif kind == "other" and part == ")":
            depth -= 1
            if depth == 0:
                break
        elif kind == "other" and part == "," and depth == 1:
            pieces.append([])
            continue
        # What is inside of inner parentheses (checks, defaults) is no part of the definition.
        if depth == 1:
            pieces[-1].append((kind, part))
    return pieces
