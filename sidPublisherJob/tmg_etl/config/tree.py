"""YAML text as a tree of plain values that know the line they were written on.

The composer here is iterative: the one of libyaml's binding recurses in C and a file of some
thousand brackets kills the process. Only the safe tags of YAML are known.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Iterator
from typing import Any, TypeAlias

import yaml

from tmg_etl.config import problem

Scalar: TypeAlias = str | int | float | bool | datetime.date | None

DEPTH_LIMIT = 40
"""Levels of nesting. The deepest setting lies on level 7; free-form `options` get the rest."""

SIZE_LIMIT = 200_000
"""Values after all aliases are followed, so that nested aliases cannot fill the memory."""

_TAG = "tag:yaml.org,2002:"
_PLAIN_TAGS = {_TAG + name for name in ("str", "int", "float", "bool", "null", "timestamp")}
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_HINTS = (
    (
        "cannot start any token",
        "indent with spaces, not tabs; put quotes around values that start with @ ` or %",
    ),
    (
        "mapping values are not allowed",
        "put quotes around a value that holds a colon, and check the indentation",
    ),
    ("alphabetic or numeric", "put quotes around a value that starts with * or &"),
    ("expected key", "check the indentation and the quotes on and above this line"),
    ("',' or", "close the bracket, and separate its items by commas"),
    ("end of stream", "close the quote or bracket that was opened above"),
    ("control characters", "remove the invisible character"),
)


@dataclasses.dataclass(frozen=True, slots=True)
class Node:
    """One value: a scalar, a mapping or a list of nodes.

    `line` is 1-based and is that of the key for the value of a mapping. `text` is how a scalar was
    written. `masked` is the value for print where it holds a secret, else None. `size` counts the
    values below, aliases followed.
    """

    line: int
    value: Scalar | dict[str, Node] | list[Node]
    text: str = ""
    masked: str | None = None
    size: int = 1

    def plain(self) -> Any:
        """Return the value without lines: scalars, dicts and lists."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value

    def walk(self, path: problem.Path = ()) -> Iterator[tuple[problem.Path, Node]]:
        """Yield this node and all below with their key paths, in written order."""
        yield path, self
        if isinstance(self.value, dict):
            for key, node in self.value.items():
                yield from node.walk((*path, key))
        elif isinstance(self.value, list):
            for index, node in enumerate(self.value):
                yield from node.walk((*path, index))

    def nearest(self, path: problem.Path) -> Node:
        """Return the node at `path`, or its deepest ancestor that was written."""
        node = self
        for part in path:
            below = node.value
            if isinstance(below, dict) and isinstance(part, str):
                child = below.get(part)
            elif isinstance(below, list) and isinstance(part, int):
                child = below[part] if part < len(below) else None
            else:
                child = None
            if child is None:
                break
            node = child
        return node


class InvalidError(Exception):
    """The text is not the YAML that a config may hold; carries the `problem`."""

    def __init__(self, found: problem.Problem) -> None:
        self.problem = found
        super().__init__(found.message)


def parse(text: str) -> Node | None:
    """Return the tree of the one document in `text`; None when there is none.

    Raises:
        InvalidError: a syntax error, a duplicate key, a key that is not text, an unknown tag, more
            than one document, too deep or too large.
    """
    try:
        return _Composer().compose(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise InvalidError(_syntax(line, error.problem or error.context or "")) from None
    except yaml.reader.ReaderError as error:
        # The position counts bytes with libyaml and characters without it.
        line = text.encode()[: error.position].count(b"\n") + 1
        raise InvalidError(_syntax(line, str(error.reason))) from None


def _syntax(line: int, reason: str) -> problem.Problem:
    hint = next(
        (hint for part, hint in _HINTS if part in reason), "check the indentation and quotes"
    )
    return problem.Problem(line, (), f"found text that is not YAML ({reason})", hint)


def _fail(line: int, path: problem.Path, message: str, hint: str | None = None) -> InvalidError:
    return InvalidError(problem.Problem(line, path, message, hint))


@dataclasses.dataclass(slots=True)
class _Open:
    """A mapping or list whose end was not met yet."""

    line: int
    is_mapping: bool
    anchor: str | None
    path: problem.Path
    items: dict[str, Node] = dataclasses.field(default_factory=dict)
    listed: list[Node] = dataclasses.field(default_factory=list)
    merged: list[Node] = dataclasses.field(default_factory=list)
    key: str | None = None
    is_merge: bool = False
    key_line: int = 0


class _Composer:
    """Builds nodes from parse events with its own stack."""

    def __init__(self) -> None:
        self._stack: list[_Open] = []
        self._anchors: dict[str, Node] = {}
        self._root: Node | None = None
        self._documents = 0
        self._count = 0
        self._resolver: Any = yaml.resolver.Resolver()
        self._constructor = yaml.constructor.SafeConstructor()

    def compose(self, text: str) -> Node | None:
        for event in yaml.parse(text, Loader=_Loader):
            line = event.start_mark.line + 1 if event.start_mark else 1
            match event:
                case yaml.DocumentStartEvent():
                    self._documents += 1
                    if self._documents > 1:
                        raise _fail(
                            line, (), "found a second document (---), expected one", "remove it"
                        )
                case yaml.MappingStartEvent() | yaml.SequenceStartEvent():
                    self._open(event, line)
                case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                    self._close()
                case yaml.ScalarEvent():
                    self._scalar(event, line)
                case yaml.AliasEvent():
                    self._alias(event.anchor, line)
        return self._root

    def _path(self) -> problem.Path:
        if not self._stack:
            return ()
        top = self._stack[-1]
        if not top.is_mapping:
            return (*top.path, len(top.listed))
        return (*top.path, top.key) if top.key is not None else top.path

    def _expects_key(self) -> bool:
        return bool(self._stack) and self._stack[-1].is_mapping and self._stack[-1].key is None

    def _open(self, event: Any, line: int) -> None:
        is_mapping = isinstance(event, yaml.MappingStartEvent)
        if self._expects_key():
            raise _fail(
                line,
                self._path(),
                "found a list or mapping as a key, expected a name",
                "put quotes around a value that starts with { or [",
            )
        if event.tag not in (None, "!", _TAG + ("map" if is_mapping else "seq")):
            raise self._bad_tag(event.tag, line)
        if len(self._stack) >= DEPTH_LIMIT:
            raise _fail(
                line,
                self._path()[:1],
                f"found more than {DEPTH_LIMIT} levels of nesting",
                "write it flatter",
            )
        path = self._path()
        if self._stack and self._stack[-1].is_mapping:
            line = self._stack[-1].key_line
        self._stack.append(_Open(line, is_mapping, event.anchor, path))

    def _close(self) -> None:
        done = self._stack.pop()
        value: dict[str, Node] | list[Node] = done.listed
        if done.is_mapping:
            inherited: dict[str, Node] = {}
            for source in done.merged:
                assert isinstance(source.value, dict)
                for key, node in source.value.items():
                    inherited.setdefault(key, node)
            value = {**inherited, **done.items}
        children = value.values() if isinstance(value, dict) else value
        node = Node(done.line, value, size=1 + sum(child.size for child in children))
        self._add(node, done.anchor)

    def _scalar(self, event: Any, line: int) -> None:
        tag = event.tag
        if tag in (None, "!"):
            tag = self._resolver.resolve(yaml.ScalarNode, event.value, event.implicit)
        if self._expects_key():
            self._key(event.value, tag, line)
            return
        if tag == _TAG + "value":  # a lone "="
            tag = _TAG + "str"
        if tag not in _PLAIN_TAGS:
            raise self._bad_tag(tag, line)
        try:
            value = self._constructor.construct_object(yaml.ScalarNode(tag, event.value))
        except (ValueError, ArithmeticError, LookupError, yaml.YAMLError):
            raise _fail(
                line,
                self._path(),
                f"found {problem.describe(event.value)}, "
                f"which is not a valid {tag.removeprefix(_TAG)}",
                "put quotes around it",
            ) from None
        if self._stack and self._stack[-1].is_mapping:
            line = self._stack[-1].key_line
        self._add(
            Node(line, value, text=event.value, size=1 + len(event.value) // 64), event.anchor
        )

    def _key(self, text: str, tag: str, line: int) -> None:
        top = self._stack[-1]
        top.key_line = line
        if tag == _TAG + "merge":
            top.key, top.is_merge = "<<", True
            return
        path = (*top.path, text)
        if tag != _TAG + "str":
            kind = tag.removeprefix(_TAG)
            raise _fail(
                line,
                path,
                f"found the key {problem.render_key(text)}, which YAML reads as {kind}, "
                "expected a name",
                f'put quotes around it: "{text}":',
            )
        if text in top.items:
            raise _fail(
                line,
                path,
                f"found the key {problem.render_key(text)} a second time "
                f"(first on line {top.items[text].line}), expected it once",
                "remove one of them",
            )
        top.key = text

    def _alias(self, anchor: str | None, line: int) -> None:
        if self._expects_key():
            raise _fail(
                line,
                self._path(),
                "found an alias (*) as a key, expected a name",
                "put quotes around it",
            )
        node = self._anchors.get(anchor or "")
        if node is None:
            # The name is not printed: an unquoted password may start with a star.
            raise _fail(
                line,
                self._path(),
                "found an alias (*) without its anchor (&) above",
                "put quotes around a value that starts with *",
            )
        self._add(node, None)

    def _add(self, node: Node, anchor: str | None) -> None:
        self._count += 1
        if max(node.size, self._count) > SIZE_LIMIT:
            raise _fail(
                node.line,
                self._path(),
                f"found more than {SIZE_LIMIT} values, aliases followed",
                "use fewer of them",
            )
        if anchor is not None:
            self._anchors[anchor] = node
        if not self._stack:
            self._root = node
            return
        top = self._stack[-1]
        if not top.is_mapping:
            top.listed.append(node)
        elif top.is_merge:
            top.merged.extend(self._merge_sources(node))
            top.is_merge, top.key = False, None
        else:
            assert top.key is not None
            top.items[top.key] = node
            top.key = None

    def _merge_sources(self, node: Node) -> list[Node]:
        sources = node.value if isinstance(node.value, list) else [node]
        if not all(isinstance(source.value, dict) for source in sources):
            raise _fail(
                node.line,
                self._path(),
                "found a merge (<<) of something else than mappings",
                "write <<: *name, where &name marks a mapping",
            )
        return list(sources)

    def _bad_tag(self, tag: str, line: int) -> InvalidError:
        shown = problem.describe(tag.replace(_TAG, "!!"))
        return _fail(
            line, self._path(), f"found the YAML tag {shown}, expected plain YAML", "remove the tag"
        )
