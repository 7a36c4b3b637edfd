"""An embedded Quay for tests.

The embedded Quay is a server in a separate process that answers like a Quay registry. A test fills
its registry, sets latency, rate limits and faults, moves its clock, and reads from its counters
what has arrived. Any HTTP client can use it. It needs neither a network nor a Quay installation.

``pip install 'quaycache[testing]'`` installs it together with a plugin for pytest, which offers the
fixture ``embedded_quay``::

    import pytest

    from quaycache import QuayClient, resolve
    from quaycache.testing import Fault


    @pytest.fixture
    def client(embedded_quay):
        url, context = embedded_quay.url, embedded_quay.ssl_context()
        with QuayClient(api_url=url, ssl_context=context) as client:
            yield client


    def test_a_bad_gateway_is_retried(embedded_quay, client):
        embedded_quay.registry.push("team", "app", "stable")
        bad_gateway = Fault(kind="status", status=502, endpoint="tag", times=1)
        embedded_quay.configure(latency=0.05, faults=[bad_gateway])
        images = resolve(["quay://team/*:stable"], client=client).images
        assert [image.repository for image in images] == ["team/app"]
        assert embedded_quay.counters().by_status == {200: 2, 502: 1}


    def test_an_expired_tag_is_not_found(embedded_quay, client):
        embedded_quay.registry.push("team", "app", "nightly", lifetime=3600)
        embedded_quay.registry.advance(3600)
        assert resolve(["quay://team/*:nightly"], client=client).images == ()


    def test_a_token_shows_private_repositories(embedded_quay, client):
        embedded_quay.registry.create_repository("team", "internal", public=False)
        embedded_quay.registry.push("team", "internal", "stable")
        embedded_quay.registry.add_user("ann", "anns-token", namespaces=["team"])
        query = "quay://team/*:stable"
        assert resolve([query], client=client).images == ()
        url, context = embedded_quay.url, embedded_quay.ssl_context()
        with QuayClient(api_url=url, ssl_context=context, token="anns-token") as anns:
            assert len(resolve([query], client=anns).images) == 1

The server models a Project Quay (sources of August 2026) behind its nginx, as observed from
outside:

- Listing: ``GET /api/v1/repository`` returns a namespace in pages of 100 repositories, in order of
  their creation. Page tokens are opaque and valid for 48 hours; an invalid token gets page 1, not
  an error.
- Tags: ``GET /api/v1/repository/NAMESPACE/REPOSITORY/tag/`` reads a database that may lag behind
  the one of the listing. The path without ``tag/`` returns the repository itself.
- Tag lifetimes: push, move, restore, deletion and expiry. The ``last_modified`` of a repository is
  the newest start of its alive tags, or null if it has none.
- Private repositories: they look like missing ones to an anonymous caller (401) and to a user
  without rights (403). A user with rights on the namespace gets a 404 for a missing repository.
- Tokens: only OAuth application tokens count. Quay ignores unknown tokens, robot accounts and
  passwords, and answers as for an anonymous caller; ``is_starred`` in a listing is the only sign of
  an accepted token.
- Connections: HTTP/2 and HTTP/1.1 over TLS, 128 streams, GOAWAY after 1,000 requests and after 5
  idle seconds, one request per HTTP/1.1 connection. Errors are HTML from the front end and JSON
  from the application. There are no validators and no compression.
- Rate limits: those of Quay's nginx, off by default.

It does not model:

- Changes over HTTP. A test calls the methods of `Registry`; a method other than GET gets a 405.
- Images. Manifests and layers have no content, every tag has the same ``size``, and ``/v2/`` does
  not exist.
- Other endpoints, such as organizations, users, search and logs, and the parameter
  ``filter_tag_name``.
- Permissions of single repositories. A user may read either all repositories of a namespace or only
  the public ones.
- Garbage collection, immutable tags, proxy caches and renamed organizations.
- The speed of a real Quay, and settings that only quay.io has.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from quaycache.testing.answers import Answer as Answer
    from quaycache.testing.answers import QuayApi as QuayApi
    from quaycache.testing.counters import Counters as Counters
    from quaycache.testing.embedded import EmbeddedQuay as EmbeddedQuay
    from quaycache.testing.errors import EmbeddedQuayError as EmbeddedQuayError
    from quaycache.testing.errors import RegistryError as RegistryError
    from quaycache.testing.registry import Registry as Registry
    from quaycache.testing.settings import Fault as Fault
    from quaycache.testing.settings import FaultKind as FaultKind
    from quaycache.testing.settings import RateLimit as RateLimit
    from quaycache.testing.settings import Settings as Settings

_MODULES = {
    "answers": ("Answer", "QuayApi"),
    "counters": ("Counters",),
    "embedded": ("EmbeddedQuay",),
    "errors": ("EmbeddedQuayError", "RegistryError"),
    "registry": ("Registry",),
    "settings": ("Fault", "FaultKind", "RateLimit", "Settings"),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}

__all__ = sorted(_HOMES)


# The pytest plugin is imported into every test run, so importing this package must stay cheap.
def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
