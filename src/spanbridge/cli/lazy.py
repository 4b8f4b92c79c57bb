# SPDX-License-Identifier: Apache-2.0
"""A group of commands whose modules are imported when they are called."""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import click

_LINE: Final = 75


@dataclass(frozen=True, slots=True)
class LazyCommand:
    """
    Where a command lives.

    Attributes:
        module: Dotted name of the module.
        attribute: Name of the click command in it.
        summary: The line in the group's help, so that help imports nothing.
    """

    module: str
    attribute: str
    summary: str


class LazyGroup(click.Group):
    """
    A group that knows some commands by name and imports the one that is called.

    Args:
        lazy: Commands by the name typed; help lists them with those that were added to the
            group, by name.
    """

    def __init__(self, *args: Any, lazy: Mapping[str, LazyCommand], **kwargs: Any) -> None:  # noqa: ANN401  # click's own signature
        super().__init__(*args, **kwargs)
        self._lazy = lazy

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name the commands in the order of help."""
        return sorted([*super().list_commands(ctx), *self._lazy])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module of ``cmd_name``."""
        entry = self._lazy.get(cmd_name)
        if entry is None:
            return super().get_command(ctx, cmd_name)
        command = getattr(importlib.import_module(entry.module), entry.attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"{entry.module}.{entry.attribute} is not a click command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        known = [(name, self.commands[name]) for name in super().list_commands(ctx)]
        rows = [(name, command.get_short_help_str(limit=_LINE)) for name, command in known]
        rows += [(name, entry.summary) for name, entry in self._lazy.items()]
        with formatter.section("Commands"):
            formatter.write_dl(sorted(rows))
