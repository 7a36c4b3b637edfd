"""Entry point of the server process that `EmbeddedQuay` starts: ``python -m quaycache.testing``."""

from __future__ import annotations

import asyncio
import json


def main() -> None:
    """Serve until standard input ends, or report a missing dependency on standard output."""
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
