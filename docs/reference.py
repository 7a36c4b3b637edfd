"""Writes the reference pages from the code: `python docs/reference.py`.

A test compares the pages with what this would write, so nothing in them is out of date, and no
option and no public name is missing.
"""

from __future__ import annotations

import inspect
import re
from argparse import Action
from collections.abc import Callable, Iterator
from enum import Enum
from pathlib import Path
from typing import Any, Final

import quaycache
from quaycache.cli.app import COMMANDS
from quaycache.cli.commands import Command, Group
from quaycache.cli.parser import Parser

_HERE: Final = Path(__file__).parent
_SECTION: Final = re.compile(r"(Args|Attributes|Returns|Raises):$")
_ITEM: Final = re.compile(r"^- (\w+(?:, \w+)*): ")

_WIDTH: Final = 70

# For the fan-out, not for its callers.
_WITHIN: Final = {"bound", "known_answer", "known_answers", "claim", "begin_anew"}

_AREAS: Final = {
    "Asking": ("resolve", "resolve_quay_uri", "parse_query", "Query"),
    "Clients": ("QuayClient", "CachedQuayClient"),
    "Caches": ("DiskStore", "RedisStore", "Policy", "Mode"),
    "What comes back": (
        *("Resolution", "Image", "Failure", "Stats", "Usage", "Provenance"),
        *("TagAnswer", "Tag", "ListingPage", "Repository", "UNKNOWN"),
    ),
    "Events": ("Listener", "Event", "PageListed", "ChecksPlanned", "Checked"),
    "Errors": (
        *("QuaycacheError", "QueryError", "SettingsError", "MissingExtraError", "StoreError"),
        *("ResolveInterrupted", "QuayAPIError", "AuthenticationError", "PermissionDeniedError"),
        *("NotFoundError", "BadRequestError", "RateLimitedError", "ServerError"),
        *("UnexpectedStatusError", "MalformedResponseError", "TransportError", "NotStoredError"),
    ),
}


def commands() -> str:
    """The page of the command's options."""
    lines = [
        "# Commands",
        "",
        "Written by `python docs/reference.py` from the commands themselves.",
        "",
        "An option comes from the command line, else from the environment, else it has its",
        "default. An empty variable is none. Durations are `90`, `90s`, `5m`, `12h` or `7d`.",
        "",
    ]
    for command in _all(COMMANDS):
        lines += _command(command)
    return "\n".join(lines)


def library() -> str:
    """The page of the public names."""
    lines = [
        "# Library",
        "",
        "Written by `python docs/reference.py` from the docstrings. Everything here is imported",
        "from `quaycache`. Times are seconds UTC, durations seconds, sizes bytes. The library",
        "reads no `QUAYCACHE_` variable; those are the command's.",
        "",
    ]
    for area, names in _AREAS.items():
        lines += [f"## {area}", ""]
        for name in names:
            lines += _name(name)
    missing = set(quaycache.__all__) - {"__version__"} - {n for of in _AREAS.values() for n in of}
    if missing:
        raise ValueError(f"in no area: {', '.join(sorted(missing))}")
    return "\n".join(lines)


PAGES: Final[dict[str, Callable[[], str]]] = {"commands.md": commands, "library.md": library}


def _all(group: Group) -> Iterator[Command]:
    for name in group.commands:
        command = group.load(name)
        if isinstance(command, Group):
            yield from _all(command)
        else:
            yield command


def _command(command: Command) -> list[str]:
    parser = command.parser
    lines = [f"## {parser.prog}", "", *(parser.description or "").splitlines(), ""]
    lines += [f"    {_usage(parser)}", ""]
    lines += ["| option | environment | default | |", "|---|---|---|---|"]
    lines += [_option(parser, action) for action in parser._actions]
    if parser.epilog:
        lines += ["", "```", *parser.epilog.splitlines(), "```"]
    return [*lines, ""]


def _usage(parser: Parser) -> str:
    shown = {"?": "[{}]", "+": "{}..."}
    positional = [action for action in parser._actions if not action.option_strings]
    words = [shown.get(str(one.nargs), "{}").format(one.metavar) for one in positional]
    return " ".join([parser.prog, "[OPTION]...", *words])


def _option(parser: Parser, action: Action) -> str:
    about = (action.help or "").replace("%%", "%")
    setting = parser.settings.get(action.dest)
    variable, default = "", ""
    if setting is not None and setting.flag in action.option_strings:
        variable = f"`{setting.variable}`" if setting.variable else ""
        takes_value = action.nargs is None
        default = f"`{setting.default}`" if setting.default is not None and takes_value else ""
        about = about.rpartition(" [")[0] or about if variable or default else about
    if action.option_strings:
        metavar = f" {action.metavar}" if action.metavar else ""
        shown = ", ".join(f"`{flag}{metavar}`" for flag in action.option_strings)
    else:
        shown = f"`{action.metavar}`"
    return (
        "| "
        + " | ".join((shown, variable, default, about.replace("|", r"\|").replace("*", r"\*")))
        + " |"
    )


def _name(name: str) -> list[str]:
    value = getattr(quaycache, name)
    lines = [f"### {name}", ""]
    documented = inspect.isclass(value) or inspect.isfunction(value)
    if not documented:
        return [*lines, *_plain(name, value), ""]
    if (signature := _signature(value)) is not None:
        lines += ["```python", f"{name}{signature}", "```", ""]
    lines += _prose(inspect.getdoc(value) or "")
    if inspect.isclass(value) and issubclass(value, Enum):
        lines += [f"- `{member.name}`" for member in value]
    elif inspect.isclass(value):
        for method, function in _methods(value):
            lines += [f"#### {name}.{method}", ""]
            if not isinstance(function, property):
                lines += ["```python", f"{method}{_signature(function)}", "```", ""]
            lines += _prose(inspect.getdoc(function) or "")
    return [*lines, ""] if lines[-1] else lines


def _plain(name: str, value: object) -> list[str]:
    """A name that is neither a class nor a function."""
    if name == "Event":
        return ["Any of " + ", ".join(f"`{one.__name__}`" for one in value.__args__) + "."]  # type: ignore[attr-defined]  # a union
    return ["What `last_modified` is where the listing does not say it. It proves nothing."]


def _methods(value: type) -> Iterator[tuple[str, Any]]:
    for name, member in vars(value).items():
        described = inspect.getdoc(member) or ""
        of_a_store = described.startswith("As `Store.")
        if name.startswith("_") or name in _WITHIN or not described or of_a_store:
            continue
        if inspect.isfunction(member) or isinstance(member, property):
            yield name, member


def _signature(value: Any) -> str | None:
    """Arguments as they are written, one a line if they are many; None of an error or an enum."""
    of_class = inspect.isclass(value)
    if of_class and (
        issubclass(value, BaseException | Enum) or getattr(value, "_is_protocol", False)
    ):
        return None
    signature = inspect.signature(value)
    parameters = [p for p in signature.parameters.values() if p.name != "self"]
    texts = [_parameter(parameter) for parameter in parameters]
    for at, parameter in enumerate(parameters):
        if parameter.kind is parameter.KEYWORD_ONLY:
            texts.insert(at, "*")
            break
    returns = "" if of_class else f" -> {_annotation(signature.return_annotation)}"
    on_one_line = f"({', '.join(texts)}){returns}"
    if len(on_one_line) <= _WIDTH:
        return on_one_line
    return "(\n" + "".join(f"    {text},\n" for text in texts) + f"){returns}"


def _parameter(parameter: inspect.Parameter) -> str:
    text = f"{parameter.name}: {_annotation(parameter.annotation)}"
    if parameter.default is parameter.empty:
        return text
    if isinstance(parameter.default, Enum):
        return f"{text} = {parameter.default}"
    if isinstance(parameter.default, tuple):
        return f"{text} = {type(parameter.default).__name__}()"
    return f"{text} = {parameter.default!r}"


def _annotation(annotation: Any) -> str:
    """As it is written: the sources postpone their evaluation."""
    return annotation if isinstance(annotation, str) else str(annotation.__forward_arg__)


def _prose(docstring: str) -> list[str]:
    """A docstring as Markdown: its sections are lists."""
    lines: list[str] = []
    in_section = False
    for line in docstring.replace("``", "`").splitlines():
        section = _SECTION.match(line)
        if section is not None:
            lines += [f"**{section[1]}**", ""]
            in_section = True
        elif in_section and line.startswith(" " * 8):
            lines.append(f"  {line.strip()}")
        elif in_section and line:
            lines.append(_ITEM.sub(r"- `\1`: ", f"- {line.strip()}"))
        else:
            lines.append(line)
    return [*lines, ""]


if __name__ == "__main__":
    for page, write in PAGES.items():
        (_HERE / page).write_text(write())
