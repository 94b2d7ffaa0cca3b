"""Groups of subcommands that are imported when called, and name the closest one."""

from __future__ import annotations

import dataclasses
import difflib
import importlib
from collections.abc import Mapping
from typing import Any

import click

from tmg_etl import errors
from tmg_etl.cli import output


@dataclasses.dataclass(frozen=True)
class Entry:
    """A subcommand: where it is (``module:attribute``), and its line in the help."""

    path: str
    text: str


class LazyGroup(click.Group):
    """A group whose help needs none of its subcommands; alone, it prints its help.

    Args:
        entries: subcommands by name, in the order of the help.
    """

    def __init__(self, *args: Any, entries: Mapping[str, Entry], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Otherwise click raises the help text as a usage error.
        self.no_args_is_help = False
        self._entries = entries

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Print the help where nothing was asked for."""
        if not args:
            output.write(ctx.get_help())
            ctx.exit()
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the help."""
        return list(self._entries)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the subcommand of that name, None if there is none."""
        if cmd_name not in self._entries:
            return None
        module_name, _, attribute = self._entries[cmd_name].path.partition(":")
        found: click.Command = getattr(importlib.import_module(module_name), attribute)
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the subcommand.

        Raises:
            errors.UsageError: there is none of that name.
        """
        word, known = args[0], list(self._entries)
        if word not in known and not word.startswith("-"):
            near = difflib.get_close_matches(word, known, n=1)
            raise errors.UsageError(
                f"found the unknown command {errors.shorten(word, 40)}, "
                f"expected one of {', '.join(known)}",
                hint=f"did you mean {near[0]}?" if near else None,
            )
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of subcommands."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.text) for name, entry in self._entries.items()])
