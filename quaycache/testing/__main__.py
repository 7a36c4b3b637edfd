"""The embedded Quay's own process: ``python -m quaycache.testing``, started by `EmbeddedQuay`."""

from __future__ import annotations

import asyncio
import json


def main() -> None:
    """Serves until standard input ends; says on standard output what is missing if it cannot."""
    try:
        from quaycache.testing.server import serve
    except ModuleNotFoundError as error:
        if error.name in ("h11", "h2", "hyperframe", "trustme"):
            print(json.dumps({"missing": error.name}))
            return
        raise
    asyncio.run(serve())


if __name__ == "__main__":
    main()
