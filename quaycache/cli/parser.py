"""Options of a command, from the command line, the environment or a default, in this order.

Built on argparse: a third-party parser takes longer to import than a fresh run takes.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, NoReturn

from quaycache.errors import QuaycacheError, SettingsError
from quaycache.names import printable

_MAX_DIGITS = 9

_BOOLEANS = {
    **dict.fromkeys(("1", "true", "yes", "on"), True),
    **dict.fromkeys(("0", "false", "no", "off"), False),
}


class UsageError(QuaycacheError):
    """The command line is invalid.

    Attributes:
        command: The command whose ``--help`` describes the correct form.
    """

    def __init__(self, command: str, message: str) -> None:
        super().__init__(message)
        self.command = command


class Setting(NamedTuple):
    """An option whose value can also come from the environment or a default.

    Attributes:
        flag: The long form of the option.
        variable: The environment variable; None if the environment is not read.
        default: The default, as written on the command line; None if the option has none.
        convert: Converts text to the value, or raises `SettingsError`.
    """

    flag: str
    variable: str | None
    default: str | None
    convert: Callable[[str], Any]


class Options(argparse.Namespace):
    """The values of a command's options, by the names of their long forms.

    Attributes:
        on_command_line: The names of the options that the command line sets.
    """

    on_command_line: frozenset[str]


class Parser(argparse.ArgumentParser):
    """Parser of the arguments after a command's name."""

    def __init__(self, command: str, description: str, epilog: str | None = None) -> None:
        super().__init__(
            prog=command,
            description=description,
            epilog=epilog,
            allow_abbrev=False,
            formatter_class=_HelpFormatter,
        )
        self.settings: dict[str, Setting] = {}

    def error(self, message: str) -> NoReturn:
        """Raise `UsageError`."""
        raise UsageError(self.prog, message)

    def add_option(
        self,
        *names: str,
        convert: Callable[[str], Any] = str,
        default: str | None = None,
        metavar: str,
        about: str,
        environment: bool = True,
    ) -> None:
        """Add an option with a value."""
        setting = self._setting(names, convert, default, environment=environment)
        self.add_argument(
            *names, dest=_name(setting), metavar=metavar, help=_described(about, setting)
        )

    def add_flag(self, *names: str, about: str, environment: bool = True) -> None:
        """Add an option without a value: True if it is given, else False."""
        setting = self._setting(names, to_boolean, "no", environment=environment)
        described = _described(about, setting._replace(default=None))
        self.add_argument(
            *names, dest=_name(setting), action="store_const", const="yes", help=described
        )

    def add_switch(self, name: str, about: str) -> None:
        """Add ``--x`` and ``--no-x``; the value is None if neither is given."""
        setting = self._setting((name,), to_boolean, None, environment=True)
        no = f"--no-{name.removeprefix('--')}"
        described = _described(about, setting)
        both = self.add_mutually_exclusive_group()
        both.add_argument(
            name, dest=_name(setting), action="store_const", const="yes", help=described
        )
        both.add_argument(
            no, dest=_name(setting), action="store_const", const="no", help=f"Turn off {name}."
        )

    def add_counter(self, *names: str, about: str) -> None:
        """Add an option whose value is the number of times it is given."""
        setting = self._setting(names, integer(0, 9), "0", environment=True)
        described = _described(about, setting._replace(default=None))
        self.add_argument(*names, dest=_name(setting), action="count", help=described)

    def parse(self, arguments: Sequence[str]) -> Options:
        """Parse the arguments and return the options.

        Raises:
            UsageError: If an option is invalid. The message names where it was set.
        """
        options = self.parse_intermixed_args(arguments, Options())
        given = [name for name in self.settings if getattr(options, name) is not None]
        options.on_command_line = frozenset(given)
        for name, setting in self.settings.items():
            setattr(options, name, self._value(setting, getattr(options, name)))
        return options

    def _value(self, setting: Setting, text: object) -> Any:
        source = setting.flag
        if text is None and setting.variable is not None and os.environ.get(setting.variable):
            source, text = setting.variable, os.environ[setting.variable]
        if text is None:
            text = setting.default
        if text is None:
            return None
        try:
            return setting.convert(str(text))
        except SettingsError as error:
            self.error(f"{source}: {error}")

    def _setting(
        self,
        names: tuple[str, ...],
        convert: Callable[[str], Any],
        default: str | None,
        *,
        environment: bool,
    ) -> Setting:
        flag = names[-1]
        variable = f"QUAYCACHE_{flag.removeprefix('--').upper().replace('-', '_')}"
        setting = Setting(flag, variable if environment else None, default, convert)
        self.settings[_name(setting)] = setting
        return setting


def integer(low: int, high: int) -> Callable[[str], int]:
    """Return a converter of whole numbers between two bounds, both of them allowed."""

    def convert(text: str) -> int:
        # Python refuses to convert thousands of digits.
        is_number = text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS
        if not is_number or not low <= int(text) <= high:
            raise SettingsError(f"invalid number '{printable(text, 40)}': write {low} to {high}")
        return int(text)

    return convert


def one_of(*choices: str) -> Callable[[str], str]:
    """Return a converter that accepts only the given words."""

    def convert(text: str) -> str:
        if text not in choices:
            raise SettingsError(f"invalid value '{text}': use one of {', '.join(choices)}")
        return text

    return convert


def to_boolean(text: str) -> bool:
    """Convert "yes" or "no", in any of their common spellings.

    Raises:
        SettingsError: If *text* is neither.
    """
    if text.lower() not in _BOOLEANS:
        raise SettingsError(f"invalid value '{text}': use yes or no")
    return _BOOLEANS[text.lower()]


_MAX_WIDTH = 100


class _HelpFormatter(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog: str) -> None:
        # argparse makes a formatter for each option, and would import shutil for the width.
        super().__init__(prog, max_help_position=30, width=_width())


def _width() -> int:
    columns = os.environ.get("COLUMNS", "")
    if columns.isascii() and columns.isdigit() and int(columns[:4]) > 0:
        return min(_MAX_WIDTH, int(columns[:4]))
    try:
        return min(_MAX_WIDTH, os.get_terminal_size().columns - 2)
    except (OSError, ValueError):  # stdout is closed or not a terminal
        return _MAX_WIDTH


def _name(setting: Setting) -> str:
    return setting.flag.removeprefix("--").replace("-", "_")


def _described(text: str, setting: Setting) -> str:
    notes = []
    if setting.default is not None:
        notes.append(f"default: {setting.default}")
    if setting.variable is not None:
        notes.append(setting.variable)
    described = f"{text} [{'; '.join(notes)}]" if notes else text
    return described.replace("%", "%%")
