"""``quay://NAMESPACE/PATTERN:TAG[?since=WHEN][&token=TOKEN]`` <-> `Query`."""

from __future__ import annotations

import datetime
import fnmatch
import re
from collections.abc import Iterable
from typing import Any, NamedTuple

from quaycache.errors import QueryError, SettingsError
from quaycache.lazy_pattern import lazy_pattern
from quaycache.model import MAX_SECONDS
from quaycache.names import is_namespace, is_repository, is_tag, printable

SCHEME = "quay://"
DEFAULT_PATTERN = "*"
DEFAULT_TAG = "latest"
MAX_TOKEN_LENGTH = 8192

# The year 1: `datetime` cannot show an earlier moment.
_MIN_SECONDS = -62_135_596_800

# `?` is a wildcard too: options begin where a key and a `=` follow it.
_OPTIONS = lazy_pattern(r"\?(?=[A-Za-z][A-Za-z0-9_-]*=)")
_WILDCARD = lazy_pattern(r"[*?\[]")
_PATTERN = lazy_pattern(r"[a-z0-9._/*?!\[\]-]+", re.ASCII)
_DATE = lazy_pattern(r"\d{4}-\d\d-\d\d", re.ASCII)
_TIME = lazy_pattern(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)
# Wherever it stands, what follows may be a secret.
_TOKEN_OPTION = lazy_pattern(r"token\s*=", re.IGNORECASE)
_TOKEN = lazy_pattern(r"[\x21-\x7e]+", re.ASCII)


class _QueryFields(NamedTuple):
    namespace: str
    pattern: str
    tag: str
    since: int | None
    token: str | None


class Query(_QueryFields):
    """One question: which repositories of `namespace` that match `pattern` carry `tag`?

    Attributes:
        pattern: a glob in the manner of `fnmatch.fnmatchcase`; ``*`` crosses ``/``.
        since: seconds UTC; only tags that came to point at their digest then or later.
        token: an OAuth application token; it is in no text that this class makes.

    Raises:
        QueryError: a part is wrong; the message names it.
    """

    __slots__ = ()

    def __new__(  # noqa: D102 - the class says it
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
                f"'{printable(self.namespace, 60)}' is no namespace: letters, digits, '.', '_', '-'"
            )
        if not _PATTERN.fullmatch(self.pattern):
            raise QueryError(
                f"no repository name can match '{printable(self.pattern, 60)}':"
                " lower-case letters, digits, '.', '_', '-', '/'"
            )
        if self.repository is not None and not is_repository(self.repository):
            raise QueryError(f"'{printable(self.pattern, 60)}' is no repository name")
        if not is_tag(self.tag):
            raise QueryError(
                f"'{printable(self.tag, 60)}' is no tag: letters, digits, '.', '_', '-',"
                " 128 at most, '.' and '-' not first"
            )

    @property
    def repository(self) -> str | None:
        """The one repository this names, or None if the pattern has a wildcard."""
        return None if _WILDCARD.search(self.pattern) else self.pattern

    def matching(self, repositories: Iterable[str]) -> list[str]:
        """Those of the repositories' names within the namespace that the pattern matches."""
        return fnmatch.filter(repositories, self.pattern)

    def _replace(self, **changes: Any) -> Query:
        return Query(**{**self._asdict(), **changes})

    def __repr__(self) -> str:
        return f"<Query {self}{'' if self.token is None else ' with a token'}>"

    def __str__(self) -> str:
        """The URI that parses to this query, but for the token."""
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
    """The query that a ``quay://`` URI asks.

    Without a pattern every repository is meant, without a tag ``latest``. Option values are
    percent-decoded; a plus stays a plus. The options are ``since`` and ``token``.

    Raises:
        QueryError: the URI is wrong; the message names the part and never holds the token.
    """
    if not uri.startswith(SCHEME):
        raise QueryError(f"'{_shown(uri)}' is not a quay:// URI: quay://NAMESPACE/GLOB:TAG")
    options_at = _OPTIONS.search(uri)
    place = uri[len(SCHEME) : options_at.start() if options_at else None]
    options = _parse_options(uri[options_at.end() :], uri) if options_at else {}

    def wrong(what: str) -> QueryError:
        return QueryError(f"{what} in '{_shown(uri)}'")

    namespace, _, rest = place.partition("/")
    pattern, colon, tag = rest.rpartition(":") if ":" in rest else (rest, "", "")
    if "&" in place or _TOKEN_OPTION.search(place):
        raise wrong("options begin with '?' and are divided by '&',")
    if "@" in place:
        raise wrong("invalid '@': a URI names a tag, not a digest or a user,")
    if ":" in namespace:
        raise wrong(
            f"the repository pattern is missing: {SCHEME}NAMESPACE/GLOB:TAG, {SCHEME}NAMESPACE"
        )
    if colon and not tag:
        raise wrong("the tag after ':' is empty")
    if colon and not pattern:
        raise wrong("the repository pattern before ':' is empty; '*' means every repository")
    try:
        return Query(
            namespace,
            pattern or DEFAULT_PATTERN,
            tag or DEFAULT_TAG,
            parse_since(options["since"]) if "since" in options else None,
            options.get("token"),
        )
    except (QueryError, SettingsError) as error:
        raise wrong(str(error)) from None


def parse_since(text: str) -> int:
    """Seconds UTC of a date (its midnight, UTC) or of an RFC 3339 time, rounded up.

    Raises:
        SettingsError: `text` is neither; the message says what is.
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
        f"'{printable(text, 60)}' is no date: write 2026-03-01 or 2026-03-01T12:00:00Z"
    )


def midnight(day: datetime.date) -> int:
    """Seconds UTC of the beginning of a day, UTC."""
    moment = datetime.datetime(day.year, day.month, day.day, tzinfo=datetime.timezone.utc)
    return int(moment.timestamp())


def parse_token(text: str) -> str:
    """`text` if it can be sent as a bearer token.

    Raises:
        SettingsError: it is empty, too long, or has a character that a header cannot carry. The
            message does not hold it.
    """
    if not text:
        raise SettingsError("the token is empty")
    if len(text) > MAX_TOKEN_LENGTH:
        raise SettingsError(f"the token is longer than {MAX_TOKEN_LENGTH} characters")
    if not _TOKEN.fullmatch(text):
        raise SettingsError("the token has white space, a control or a non-ASCII character")
    return text


def _parse_options(text: str, uri: str) -> dict[str, str]:
    from urllib.parse import unquote  # not cheap, and most URIs have no options

    options: dict[str, str] = {}
    for part in text.split("&"):
        key, equals, value = part.partition("=")
        if key not in ("since", "token") or not equals:
            # What stands here may be the rest of a token that was not percent-encoded.
            name = f"'{key}' " if re.fullmatch(r"[a-z_-]{1,20}", key) and equals else ""
            raise QueryError(
                f"unknown option {name}in '{_shown(uri)}': there are 'since=' and 'token='"
            )
        if key in options:
            raise QueryError(f"option '{key}' is there twice in '{_shown(uri)}'")
        options[key] = unquote(value)
        if key == "since" and _TOKEN_OPTION.search(options[key]):
            raise QueryError(f"options are divided by '&', in '{_shown(uri)}'")
    return options


def _format_time(seconds: int) -> str:
    moment = datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)
    if seconds % 86400 == 0:
        return moment.date().isoformat()
    return moment.replace(tzinfo=None).isoformat() + "Z"


def _shown(uri: str) -> str:
    """The URI without its options, fit for a message: one of them is the token."""
    place = re.split(r"[?&](?=[A-Za-z][A-Za-z0-9_-]*=)", uri, maxsplit=1)[0]
    place = _TOKEN_OPTION.split(place, maxsplit=1)[0]
    return printable(re.sub(r"//[^/@]*@(?!sha\d+:)", "//", place))
