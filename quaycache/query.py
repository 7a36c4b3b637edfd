"""``quay://NAMESPACE/PATTERN:TAG[?since=WHEN][&token=TOKEN]`` <-> `Query`."""

from __future__ import annotations

import datetime
import fnmatch
import re
from collections.abc import Iterable
from typing import Any, NamedTuple

from quaycache._lazy import lazy_pattern
from quaycache.errors import QueryError, SettingsError
from quaycache.model import MAX_SECONDS
from quaycache.names import is_namespace, is_repository, is_tag, printable

SCHEME = "quay://"
DEFAULT_PATTERN = "*"
DEFAULT_TAG = "latest"
MAX_TOKEN_LENGTH = 8192

# The year 1: `datetime` cannot show an earlier moment.
_MIN_SECONDS = -62_135_596_800

# `?` is a wildcard too; it starts the options only if a key and `=` follow.
_OPTIONS = lazy_pattern(r"\?(?=[A-Za-z][A-Za-z0-9_-]*=)")
_WILDCARD = lazy_pattern(r"[*?\[]")
_PATTERN = lazy_pattern(r"[a-z0-9._/*?!\[\]-]+", re.ASCII)
_DATE = lazy_pattern(r"\d{4}-\d\d-\d\d", re.ASCII)
_TIME = lazy_pattern(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)
# Text after this may be a secret, wherever it occurs.
_TOKEN_OPTION = lazy_pattern(r"token\s*=", re.IGNORECASE)
_TOKEN = lazy_pattern(r"[\x21-\x7e]+", re.ASCII)


class _QueryFields(NamedTuple):
    namespace: str
    pattern: str
    tag: str
    since: int | None
    token: str | None


class Query(_QueryFields):
    """A query: which repositories of `namespace` that match `pattern` carry `tag`?

    Attributes:
        namespace: The namespace of the repositories.
        pattern: A glob as in `fnmatch.fnmatchcase`; ``*`` also matches ``/``.
        tag: The name of the tag, exact and case-sensitive.
        since: Seconds UTC; only tags set to their digest at this time or later count.
        token: An OAuth application token. ``str()`` and ``repr()`` of a query never show it.

    Raises:
        QueryError: If an argument is invalid. The message names it.
    """

    __slots__ = ()

    def __new__(  # noqa: D102 - see the class
        cls,
        namespace: str,
        pattern: str = DEFAULT_PATTERN,
        tag: str = DEFAULT_TAG,
        since: int | None = None,
        token: str | None = None,
    ) -> Query:
        query = super().__new__(cls, namespace, pattern, tag, since, token)
        query._check()
        return query

    def _check(self) -> None:
        for name in ("namespace", "pattern", "tag"):
            if not isinstance(value := getattr(self, name), str):
                raise QueryError(f"{name} must be a str, not {type(value).__name__}")
        if self.since is not None:
            _check_since(self.since)
        if self.token is not None:
            _check_token(self.token)
        if not self.namespace:
            raise QueryError("the namespace is missing")
        if not is_namespace(self.namespace):
            raise QueryError(
                f"invalid namespace '{printable(self.namespace, 60)}':"
                " use letters, digits, '.', '_', '-'"
            )
        if not _PATTERN.fullmatch(self.pattern):
            raise QueryError(
                f"invalid repository pattern '{printable(self.pattern, 60)}': use lower-case"
                " letters, digits, '.', '_', '-', '/' and the wildcards '*', '?', '[...]'"
            )
        if self.repository is not None and not is_repository(self.repository):
            raise QueryError(f"invalid repository name '{printable(self.pattern, 60)}'")
        if not is_tag(self.tag):
            raise QueryError(
                f"invalid tag '{printable(self.tag, 60)}': use up to 128 letters, digits, '.', '_'"
                " and '-', but neither '.' nor '-' first"
            )

    @property
    def repository(self) -> str | None:
        """The only repository that matches, or None if the pattern has a wildcard."""
        return None if _WILDCARD.search(self.pattern) else self.pattern

    def matching(self, repositories: Iterable[str]) -> list[str]:
        """Return the names that the pattern matches, of repositories within the namespace."""
        return fnmatch.filter(repositories, self.pattern)

    def _replace(self, **changes: Any) -> Query:
        return Query(**{**self._asdict(), **changes})

    def __repr__(self) -> str:
        return f"<Query {self}{'' if self.token is None else ' with a token'}>"

    def __str__(self) -> str:
        """Return the URI that parses to this query, without the token."""
        since = "" if self.since is None else f"?since={_format_time(self.since)}"
        return f"{SCHEME}{self.namespace}/{self.pattern}:{self.tag}{since}"


def _check_since(since: object) -> None:
    if not isinstance(since, int) or isinstance(since, bool):
        raise QueryError(f"since must be an int of seconds UTC, not {type(since).__name__}")
    if not _MIN_SECONDS <= since <= MAX_SECONDS:
        raise QueryError("since must be a date in the years 1 to 9999")


def _check_token(token: object) -> None:
    if not isinstance(token, str):
        raise QueryError(f"token must be a str, not {type(token).__name__}")
    try:
        parse_token(token)
    except SettingsError as error:
        raise QueryError(str(error)) from None


def parse_query(uri: str) -> Query:
    """Parse a ``quay://`` URI.

    The default pattern is ``*``, the default tag ``latest``. The options are ``since`` and
    ``token``. Their values are percent-decoded; a plus sign stays a plus sign.

    Raises:
        QueryError: If the URI is invalid. The message names the part, and never holds the token.
    """
    if not uri.startswith(SCHEME):
        raise QueryError(f"not a quay:// URI: '{_shown(uri)}'; write quay://NAMESPACE/GLOB:TAG")
    options_at = _OPTIONS.search(uri)
    place = uri[len(SCHEME) : options_at.start() if options_at else None]
    options = _parse_options(uri[options_at.end() :], uri) if options_at else {}

    def invalid(what: str) -> QueryError:
        return QueryError(f"{what} (in '{_shown(uri)}')")

    namespace, _, rest = place.partition("/")
    pattern, colon, tag = rest.rpartition(":") if ":" in rest else (rest, "", "")
    if "&" in place or _TOKEN_OPTION.search(place):
        raise invalid("options start with '?' and are separated by '&'")
    if "@" in place:
        raise invalid("a URI names a tag, not a digest or a user: invalid '@'")
    if ":" in namespace:
        raise invalid(f"the repository pattern is missing: write {SCHEME}NAMESPACE/GLOB:TAG")
    if colon and not tag:
        raise invalid("the tag after ':' is empty")
    if colon and not pattern:
        raise invalid("the repository pattern before ':' is empty; '*' means every repository")
    try:
        return Query(
            namespace,
            pattern or DEFAULT_PATTERN,
            tag or DEFAULT_TAG,
            parse_since(options["since"]) if "since" in options else None,
            options.get("token"),
        )
    except (QueryError, SettingsError) as error:
        raise invalid(str(error)) from None


def parse_since(text: str) -> int:
    """Return the seconds UTC of a date (its midnight, UTC) or an RFC 3339 time, rounded up.

    Raises:
        SettingsError: If *text* is neither.
    """
    try:
        if _DATE.fullmatch(text):
            return midnight(datetime.date.fromisoformat(text))
        if match := _TIME.fullmatch(text):
            date, time, fraction, offset = match.groups()
            offset = "+0000" if offset in "Zz" else offset.replace(":", "")
            moment = datetime.datetime.strptime(f"{date}T{time}{offset}", "%Y-%m-%dT%H:%M:%S%z")
            return int(moment.timestamp()) + (float(fraction or 0) > 0)
    except (ValueError, OverflowError):
        pass
    raise SettingsError(
        f"invalid date '{printable(text, 60)}': write 2026-03-01 or 2026-03-01T12:00:00Z"
    )


def midnight(day: datetime.date) -> int:
    """Return the seconds UTC at which *day* begins, UTC."""
    moment = datetime.datetime(day.year, day.month, day.day, tzinfo=datetime.timezone.utc)
    return int(moment.timestamp())


def parse_token(text: str) -> str:
    """Return *text* if it can be sent as a bearer token.

    Raises:
        SettingsError: If *text* is empty, too long, or has a character that a header cannot carry.
            The message does not hold it.
    """
    if not text:
        raise SettingsError("the token is empty")
    if len(text) > MAX_TOKEN_LENGTH:
        raise SettingsError(f"the token is longer than {MAX_TOKEN_LENGTH} characters")
    if not _TOKEN.fullmatch(text):
        raise SettingsError(
            "the token contains white space, a control character or a non-ASCII character"
        )
    return text


def _parse_options(text: str, uri: str) -> dict[str, str]:
    from urllib.parse import unquote  # costly to import, and most URIs have no options

    options: dict[str, str] = {}
    for part in text.split("&"):
        key, equals, value = part.partition("=")
        if key not in ("since", "token") or not equals:
            # This may be the rest of a token that was not percent-encoded: show only a plain key.
            name = f"'{key}' " if re.fullmatch(r"[a-z_-]{1,20}", key) and equals else ""
            raise QueryError(f"unknown option {name}(in '{_shown(uri)}'): use 'since=' or 'token='")
        if key in options:
            raise QueryError(f"duplicate option '{key}' (in '{_shown(uri)}')")
        options[key] = unquote(value)
        if key == "since" and _TOKEN_OPTION.search(options[key]):
            raise QueryError(f"options are separated by '&' (in '{_shown(uri)}')")
    return options


def _format_time(seconds: int) -> str:
    moment = datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)
    if seconds % 86400 == 0:
        return moment.date().isoformat()
    return moment.replace(tzinfo=None).isoformat() + "Z"


def _shown(uri: str) -> str:
    """Return the URI for a message, without its options: one of them may be the token."""
    place = re.split(r"[?&](?=[A-Za-z][A-Za-z0-9_-]*=)", uri, maxsplit=1)[0]
    place = _TOKEN_OPTION.split(place, maxsplit=1)[0]
    return printable(re.sub(r"//[^/@]*@(?!sha\d+:)", "//", place))
