"""The errors' attributes survive whatever a program does to an error."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from quaycache import QuayClient, RateLimitedError, TransportError
from quaycache.testing import EmbeddedQuay, Fault

ATTRIBUTES: dict[str, Any] = {
    "status": 429,
    "retry_after": 1.5,
    "checked_at": 1_795_000_000.0,
    "repository": "kolla/nova",
    "partial": None,
}


@pytest.fixture
def error() -> RateLimitedError:
    return RateLimitedError("HTTP 429", **ATTRIBUTES)


def pickled(error: RateLimitedError) -> RateLimitedError:
    twin: RateLimitedError = pickle.loads(pickle.dumps(error))  # noqa: S301 - the test's own bytes
    return twin


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, pickled])
def test_a_copy_has_the_message_and_all_attributes(
    error: RateLimitedError, duplicate: Callable[[RateLimitedError], RateLimitedError]
) -> None:
    twin = duplicate(error)
    assert type(twin) is RateLimitedError
    assert (str(twin), vars(twin)) == ("HTTP 429", ATTRIBUTES)


def test_an_error_with_another_message_has_the_same_attributes_and_cause(
    error: RateLimitedError,
) -> None:
    error.__cause__ = OSError(104, "Connection reset by peer")
    twin = error.with_message("kolla/nova:v1: HTTP 429")
    assert type(twin) is RateLimitedError
    assert (str(twin), vars(twin)) == ("kolla/nova:v1: HTTP 429", ATTRIBUTES)
    assert twin.__cause__ is error.__cause__
    assert str(error) == "HTTP 429"


@pytest.mark.parametrize("http2", [True, False])
def test_the_cause_of_a_broken_connection_is_reachable(
    embedded_quay: EmbeddedQuay, make_client: Callable[..., QuayClient], http2: bool
) -> None:
    embedded_quay.configure(http2=http2, faults=[Fault(kind="drop")])
    with pytest.raises(TransportError) as caught:
        make_client("s3cr3t", retries=1).tag_answer("kolla", "a", "v1")
    cause: BaseException | None = caught.value
    texts = []
    while cause is not None:
        texts.append(str(cause))
        cause = cause.__cause__
    assert len(texts) > 1
    assert "s3cr3t" not in " ".join(texts)


def test_the_error_of_the_system_is_a_cause() -> None:
    with (
        QuayClient(api_url="https://127.0.0.1:1", retries=1) as client,
        pytest.raises(TransportError) as caught,
    ):
        client.tag_answer("kolla", "a", "v1")
    assert isinstance(caught.value.__cause__, ConnectionRefusedError)
