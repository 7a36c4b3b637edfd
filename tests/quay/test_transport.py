"""The pool when threads meet at one moment, which no server can provoke."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from quaycache.api_base import parse_api_base
from quaycache.quay.transport import Response, Transport, pool
from quaycache.run import Run

HANG = 60.0


class Connection:
    """A connection that answers, and lets a thread that aborts it continue, when told to."""

    is_exhausted = False

    def __init__(self) -> None:
        self.deadline = float("inf")
        self.asked = threading.Semaphore(0)
        self.answers = threading.Semaphore(0)
        self.is_being_cut = threading.Event()
        self.cut_may_go_on = threading.Event()
        self.was_cut = False
        self.closed = False

    def get(self, *_: object) -> Response:
        self.was_cut = False
        self.asked.release()
        assert self.answers.acquire(timeout=HANG)
        if self.was_cut:
            raise ConnectionResetError
        return Response(200, {}, b"", 0.0)

    def start_deadline(self) -> None:
        self.deadline = float("inf")

    def is_closed_by_peer(self) -> bool:
        return False

    def abort(self) -> None:
        self.was_cut = True

    def abort_for_timeout(self) -> None:
        self.is_being_cut.set()
        assert self.cut_may_go_on.wait(HANG)
        self.abort()

    def close(self) -> None:
        self.closed = True

    def describe(self, *_: object) -> str:
        return "cut"


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> list[Connection]:
    """The connections that the pool makes."""
    made: list[Connection] = []

    def new(_: Transport) -> Connection:
        made.append(Connection())
        return made[-1]

    monkeypatch.setattr(Transport, "_new_connection", new)
    return made


@pytest.fixture
def transport(connections: list[Connection]) -> Iterator[Transport]:  # noqa: ARG001 - it makes them
    one = Transport(parse_api_base("https://quay.example"))
    yield one
    one.close()


class Request(threading.Thread):
    """One request in its own thread."""

    def __init__(self, transport: Transport) -> None:
        super().__init__()
        self._transport = transport
        self.result: Response | Exception | None = None
        self.start()

    def run(self) -> None:
        try:
            self.result = self._transport.get("/", [], Run())
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the result
            self.result = error


def test_a_deadline_does_not_cut_the_next_request_on_the_connection(
    transport: Transport, connections: list[Connection]
) -> None:
    first = Request(transport)
    while not connections:
        time.sleep(0)
    (connection,) = connections
    assert connection.asked.acquire(timeout=HANG)
    connection.deadline = 0.0
    assert connection.is_being_cut.wait(HANG)
    connection.answers.release()
    # With the defect it ends here; without it, it waits for the thread that cuts it.
    first.join(0.2)
    second = Request(transport)
    connection.asked.acquire(timeout=0.2)
    connection.cut_may_go_on.set()
    first.join(HANG)
    while second.result is None:
        for one in connections:
            one.answers.release()
        second.join(0.01)
    assert isinstance(second.result, Response)


def test_closing_a_transport_during_a_request_does_not_spin(
    transport: Transport, connections: list[Connection], monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0
    monotonic = time.monotonic

    class Time:
        @staticmethod
        def monotonic() -> float:
            nonlocal looks
            looks += 1
            return monotonic()

    monkeypatch.setattr(pool, "time", Time)
    request = Request(transport)
    while not connections:
        time.sleep(0)
    transport.close()
    request.join(1.0)  # with the defect it looks as often as it can
    connections[0].answers.release()
    request.join(HANG)
    assert isinstance(request.result, Response)
    assert looks < 100
    assert connections[0].closed
