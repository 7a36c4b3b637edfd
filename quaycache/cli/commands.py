"""Commands, and groups of commands that are imported when they are called for."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from quaycache.cli.output import say
from quaycache.cli.parser import Options, Parser, UsageError


class Command(NamedTuple):
    """Something that can be done.

    Attributes:
        parser: of its options.
        run: does it; returns the exit code.
    """

    parser: Parser
    run: Callable[[Options], int]


class Group(NamedTuple):
    """Commands that share a first word.

    Attributes:
        name: ``quaycache``, or ``quaycache cache``.
        description: of all of them.
        commands: by name: a line about it, and where it is: a module and a function in it that
            returns the `Command` or `Group`.
        version: what ``--version`` prints; None if there is none.
    """

    name: str
    description: str
    commands: Mapping[str, tuple[str, str, str]]
    version: str | None = None

    def load(self, name: str) -> Command | Group:
        """One of the commands."""
        _, module, function = self.commands[name]
        make: Callable[[], Command | Group] = getattr(importlib.import_module(module), function)
        return make()

    def run(self, arguments: Sequence[str]) -> int:
        """Do what the arguments say; the exit code.

        Raises:
            UsageError: they say nothing that there is.
        """
        if not arguments:
            raise UsageError(self.name, "a command is missing")
        name, *rest = arguments
        if name in ("-h", "--help"):
            say(self.help())
            return 0
        if name == "--version" and self.version is not None:
            say(self.version)
            return 0
        if name not in self.commands:
            from difflib import get_close_matches  # only for who mistypes

            near = get_close_matches(name, self.commands, 1)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            kind = "option" if name.startswith("-") else "command"
            raise UsageError(self.name, f"there is no {kind} '{name}'{hint}")
        command = self.load(name)
        if isinstance(command, Group):
            return command.run(rest)
        return command.run(command.parser.parse(rest))

    def help(self) -> str:
        """What there is, for people."""
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
                f"'{self.name} COMMAND --help' says more.",
            ]
        )
