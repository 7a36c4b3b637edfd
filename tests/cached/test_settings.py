"""Invalid combinations of caches and policies."""

from __future__ import annotations

from typing import Any

import pytest

from quaycache import (
    DiskStore,
    Policy,
    SettingsError,
    resolve,
)
from tests.cached.conftest import POLICY, URI, Site


class TestSettings:
    def test_a_second_cache_is_refused(self, site: Site) -> None:
        refused = pytest.raises(SettingsError, match="cache of its own")
        with site.client() as client, site.cached(client) as cached, refused:
            resolve([URI], client=cached, cache_dir=site.directory)

    def test_a_policy_without_a_cache_is_refused(self) -> None:
        with pytest.raises(SettingsError, match="policy"):
            resolve([URI], policy=POLICY)

    @pytest.mark.parametrize("wrong", [{"ttl": "5m"}, {"ttl": -1}, {"mode": "offline"}])
    def test_a_policy_with_invalid_values_is_refused(self, wrong: dict[str, Any]) -> None:
        with pytest.raises(SettingsError):
            Policy(**wrong)

    def test_an_empty_cache_name_is_refused(self) -> None:
        with pytest.raises(SettingsError, match="empty"):
            DiskStore("")
