"""Commands, and groups that import each command when it is called."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from quaycache.cli.output import print_out
from quaycache.cli.parser import Options, Parser, UsageError


class Command(NamedTuple):
    """One command.

    Attributes:
        parser: The parser of its arguments.
        run: Runs the command and returns the exit code.
    """

    parser: Parser
    run: Callable[[Options], int]


class Group(NamedTuple):
    """Commands that share a first word.

    Attributes:
        name: The words before the command's own: ``quaycache``, or ``quaycache cache``.
        description: One sentence for the group's help.
        commands: Maps a command's name to its summary, and to the module and the function that
            makes its `Command` or `Group`.
        version: The text of ``--version``; None if the group does not have that option.
    """

    name: str
    description: str
    commands: Mapping[str, tuple[str, str, str]]
    version: str | None = None

    def load(self, name: str) -> Command | Group:
        """Import one of the commands and return it."""
        _, module, function = self.commands[name]
        make: Callable[[], Command | Group] = getattr(importlib.import_module(module), function)
        return make()

    def run(self, arguments: Sequence[str]) -> int:
        """Run the command that the arguments name; return the exit code.

        Raises:
            UsageError: If the arguments are invalid.
        """
        if not arguments:
            raise UsageError(self.name, "a command is missing")
        name, *rest = arguments
        if name in ("-h", "--help"):
            print_out(self.help())
            return 0
        if name == "--version" and self.version is not None:
            print_out(self.version)
            return 0
        if name not in self.commands:
            from difflib import get_close_matches  # needed only after a typing error

            near = get_close_matches(name, self.commands, 1)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            kind = "option" if name.startswith("-") else "command"
            raise UsageError(self.name, f"unknown {kind} '{name}'{hint}")
        command = self.load(name)
        if isinstance(command, Group):
            return command.run(rest)
        return command.run(command.parser.parse(rest))

    def help(self) -> str:
        """Return the text of ``--help``."""
        width = max(map(len, self.commands)) + 2
        lines = [f"  {name:<{width}}{line}" for name, (line, _, _) in self.commands.items()]
        options = ["  -h, --help   show this help"]
        if self.version is not None:
            options.append("  --version    show the version")
        return "\n".join(
            [
                f"usage: {self.name} COMMAND ...",
                "",
                self.description,
                "",
                "commands:",
                *lines,
                "",
                "options:",
                *options,
                "",
                f"Run '{self.name} COMMAND --help' for the options of a command.",
            ]
        )
