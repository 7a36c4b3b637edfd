"""What was learned is stored soon: by the clock, even where no batch is ever full."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from quaycache import CachedQuayClient, DiskStore, QuayClient
from quaycache.errors import Cancelled
from quaycache.names import ANONYMOUS
from quaycache.run import Run
from quaycache.store.keys import Scope
from quaycache.testing import EmbeddedQuay, Fault


def test_what_was_learned_is_stored_within_about_a_second(
    embedded_quay: EmbeddedQuay, client: QuayClient, tmp_path: Path
) -> None:
    embedded_quay.registry.populate("kolla", 5)
    hangs = Fault(kind="hang", match="repository-00003", endpoint="tag")
    embedded_quay.configure(faults=[hangs])
    scope, run = Scope(client.api_url, ANONYMOUS, "kolla"), Run()
    names = [f"repository-{number:05}" for number in range(5)]
    with (
        CachedQuayClient(client, DiskStore(tmp_path)) as cached,
        closing(DiskStore(tmp_path)) as other,
        ThreadPoolExecutor(5) as threads,
    ):
        bound = cached.bound(run)
        asked = [threads.submit(bound.tag_answer, "kolla", name, "latest") for name in names]
        while len(other.load_answers(scope, "latest")) < 4:
            time.sleep(0.01)
        assert not asked[3].done()
        run.cancel()
        with pytest.raises(Cancelled):
            asked[3].result()
