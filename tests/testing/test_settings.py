"""Settings are checked before they reach the server."""

from __future__ import annotations

from typing import Any

import pytest

from quaycache.testing import EmbeddedQuay, Fault, RateLimit, Settings


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"no_such_setting": 1}, TypeError),
        ({"latency": -1}, ValueError),
        ({"latency": float("nan")}, ValueError),
        ({"tag_latency": float("inf")}, ValueError),
        ({"connection_requests": 0}, ValueError),
        ({"rate_limit": "docker"}, ValueError),
        ({"rate_limit": {"rate": 0, "burst": 1, "key": "ip"}}, ValueError),
        ({"rate_limit": {"rate": 1, "burst": -1, "key": "ip"}}, ValueError),
        ({"rate_limit": {"rate": 1, "burst": 1, "key": "user"}}, ValueError),
        ({"rate_limit": {"speed": 1}}, TypeError),
        ({"faults": [{"kind": "no such kind"}]}, ValueError),
        ({"faults": [{"status": 500}]}, TypeError),
        ({"faults": [{"kind": "drop", "endpoint": "user"}]}, ValueError),
        ({"faults": [{"kind": "drop", "probability": 2}]}, ValueError),
        ({"faults": [{"kind": "drop", "times": -1}]}, ValueError),
        ({"faults": [{"kind": "status", "status": 200}]}, ValueError),
        ({"faults": [{"kind": "huge", "size": 0}]}, ValueError),
        ({"faults": [{"kind": "trickle", "interval": -1}]}, ValueError),
    ],
)
def test_an_invalid_setting_changes_nothing(
    embedded_quay: EmbeddedQuay, changes: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        embedded_quay.configure(jitter=1, **changes)
    assert embedded_quay.settings == Settings()


def test_the_defaults_are_those_of_a_quay_without_rate_limits() -> None:
    settings = Settings()
    assert settings.connection_requests == 1000
    assert settings.idle_timeout == 5
    assert settings.close_http1
    assert settings.retry_after is None
    assert settings.rate_limit is None


def test_only_named_settings_change(embedded_quay: EmbeddedQuay) -> None:
    embedded_quay.configure(date_skew=5, latency=1)
    embedded_quay.configure(latency=2)
    assert embedded_quay.settings == Settings(date_skew=5, latency=2)
    embedded_quay.reset()
    assert embedded_quay.settings == Settings()


def test_faults_and_limits_can_be_mappings_of_their_fields(
    embedded_quay: EmbeddedQuay,
) -> None:
    fault, limit = Fault(kind="drop", times=2), RateLimit(rate=1, burst=2, key="ip")
    embedded_quay.configure(faults=[fault], rate_limit=limit)
    typed = embedded_quay.settings
    embedded_quay.configure(faults=(each for each in [fault]))
    assert embedded_quay.settings == typed
    embedded_quay.configure(
        faults=[{"kind": "drop", "times": 2}], rate_limit={"rate": 1, "burst": 2, "key": "ip"}
    )
    assert embedded_quay.settings == typed == Settings(faults=(fault,), rate_limit=limit)
