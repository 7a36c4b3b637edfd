"""A server on loopback that speaks plain HTTP/1.1, and counts how many requests it has at once."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType

# Seconds for which a request waits for more than four to be in progress.
_PATIENCE = 0.2
_NO_TAG = b'{"tags": [], "page": 1, "has_additional": false}'


class PlainServer:
    """A server that answers each request for a tag with its absence.

    Attributes:
        peak: The highest number of requests in progress at once.
    """

    def __init__(self) -> None:
        self.peak = 0
        self._under_way = 0
        self._changed = threading.Condition()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server._begin()
                self.send_response(200)
                self.send_header("content-length", str(len(_NO_TAG)))
                self.end_headers()
                self.wfile.write(_NO_TAG)

            def log_message(self, *_: object) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,))

    def __enter__(self) -> PlainServer:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def _begin(self) -> None:
        """Wait for a while, so that too many concurrent requests would be counted."""
        with self._changed:
            self._under_way += 1
            self.peak = max(self.peak, self._under_way)
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._under_way > 4, timeout=_PATIENCE)
            self._under_way -= 1
