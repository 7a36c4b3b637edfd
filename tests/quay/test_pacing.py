"""The pacer in virtual time, against nginx's limit as nginx computes it."""

from __future__ import annotations

import heapq
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

import pytest

from quaycache.errors import Cancelled
from quaycache.quay.pacing import MAX_PAUSE, Pacer, PatienceExhaustedError


@dataclass
class Bucket:
    """``limit_req rate burst nodelay``: a refused request does not count."""

    rate: float
    burst: float
    excess: float = 0.0
    last: float | None = None

    def admits(self, now: float) -> bool:
        if self.last is None:
            self.last = now
            return True
        excess = max(0.0, self.excess - self.rate * (now - self.last) + 1)
        if excess > self.burst:
            return False
        self.excess, self.last = excess, now
        return True


@dataclass
class Simulation:
    """Workers that share a pacer, in simulated time."""

    requests: int
    workers: int
    buckets: list[Bucket]
    latency: float
    rate_limit: float | None = None
    now: float = 0.0
    refused: int = 0
    sent: list[float] = field(default_factory=list)

    def run(self) -> float:
        """Return the seconds until every request has succeeded."""
        pacer = Pacer(self.rate_limit, clock=lambda: self.now, jitter=lambda: 1.1)
        todo = self.requests
        order = iter(range(10**9))
        events: list[tuple[float, int, Iterator[float]]] = []

        def worker(number: int) -> Iterator[float]:
            nonlocal todo
            while todo:
                todo -= 1
                while True:
                    slot = pacer.reserve()
                    if slot.at > self.now:
                        yield slot.at
                    if not pacer.is_valid(slot):
                        continue
                    self.sent.append(self.now)
                    left = self.now
                    admitted = self.buckets[number % len(self.buckets)].admits(self.now)
                    yield self.now + (self.latency if admitted else 0.002)
                    if admitted:
                        pacer.succeeded()
                        break
                    self.refused += 1
                    pacer.refused(left, None)

        for number in range(self.workers):
            heapq.heappush(events, (0.0, next(order), worker(number)))
        while events:
            when, _, process = heapq.heappop(events)
            self.now = max(self.now, when)
            again = next(process, None)
            if again is not None:
                heapq.heappush(events, (again, next(order), process))
        return self.now


def ideal(requests: int, limit: Bucket) -> float:
    return (requests - limit.burst - 1) / limit.rate


@pytest.mark.parametrize("workers", [4, 16, 64])
@pytest.mark.parametrize(
    ("requests", "rate", "burst"),
    [
        (152, 10, 25),
        (152, 5, 25),
        (500, 10, 25),
        (500, 50, 100),
        (1000, 3, 5),
        (2000, 50, 100),
        (500, 60, 25),
    ],
)
@pytest.mark.parametrize("latency", [0.02, 0.1])
def test_a_limit_by_address_costs_at_most_a_quarter_more_than_the_best_possible(
    requests: int, rate: float, burst: float, workers: int, latency: float
) -> None:
    limit = Bucket(rate, burst)
    simulation = Simulation(requests, workers, [limit], latency)
    best = max(ideal(requests, limit), requests * latency / workers)
    assert simulation.run() <= 1.25 * best
    assert simulation.refused <= workers + requests / 10


def test_no_burst_after_a_pause() -> None:
    simulation = Simulation(300, 64, [Bucket(10, 25)], 0.02)
    simulation.run()
    first_refusal = simulation.sent[26]
    later = [moment for moment in simulation.sent if moment > first_refusal + 0.25]
    gaps = [b - a for a, b in pairwise(later)]
    assert min(gaps) > 0.005, "they leave one by one, at the pace"


def test_the_pacer_does_not_slow_down_without_a_refusal() -> None:
    simulation = Simulation(500, 16, [Bucket(50, 100) for _ in range(16)], 0.1)
    assert simulation.run() == pytest.approx(32 * 0.1)
    assert simulation.refused == 0


def test_rate_limit_spaces_requests() -> None:
    simulation = Simulation(100, 8, [Bucket(1000, 1000)], 0.01, rate_limit=20)
    simulation.run()
    gaps = [b - a for a, b in pairwise(simulation.sent)]
    assert min(gaps) == pytest.approx(0.05)
    assert max(gaps) == pytest.approx(0.05)


def test_rate_limit_bounds_the_climb() -> None:
    simulation = Simulation(400, 8, [Bucket(1000, 0)], 0.01, rate_limit=20)
    simulation.run()
    assert simulation.now == pytest.approx(400 / 20, rel=0.05)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def pause_after(pacer: Pacer, clock: Clock, retry_after: float | None) -> float:
    sent = pacer.reserve().at
    clock.now = max(clock.now, sent) + 0.001
    pacer.refused(sent, retry_after)
    return pacer.reserve().at - clock.now


def test_retry_after_is_bounded_by_the_own_pause_and_a_maximum(clock: Clock) -> None:
    for wanted, pause in [(2.0, 2.0), (0.0, 0.25), (1e9, MAX_PAUSE)]:
        pacer = Pacer(clock=clock, jitter=lambda: 1.0)
        assert pause_after(pacer, clock, wanted) == pytest.approx(pause)


@pytest.mark.parametrize("retry_after", [None, 0.0, 1.0])
def test_pauses_grow_whatever_the_server_asks_for(clock: Clock, retry_after: float | None) -> None:
    pacer = Pacer(clock=clock, jitter=lambda: 1.0)
    pauses = []
    for _ in range(2000):
        pauses.append(round(pause_after(pacer, clock, retry_after), 3))
        clock.now += pauses[-1] + 1
    assert pauses == sorted(pauses)
    assert pauses[-1] == 30


def test_own_pauses_double_until_something_succeeds(clock: Clock) -> None:
    pacer = Pacer(clock=clock, jitter=lambda: 1.0)
    pauses = []
    for _ in range(9):
        pauses.append(pause_after(pacer, clock, None))
        clock.now += pauses[-1] + 1  # past the slot that the look reserved
    assert pauses == pytest.approx([0.25, 0.5, 1, 2, 4, 8, 16, 30, 30])
    pacer.succeeded()
    assert pause_after(pacer, clock, None) == pytest.approx(0.25)


def test_refusals_without_a_success_in_between_halve_once(clock: Clock) -> None:
    pacer = Pacer(clock=clock, jitter=lambda: 1.0)
    for _ in range(5):
        pause = pause_after(pacer, clock, None)
        clock.now += pause + 1
    clock.now += 1000
    first, second = pacer.reserve(), pacer.reserve()
    assert second.at - first.at < 0.2


def burst(pacer: Pacer, clock: Clock, requests: int, rate: float) -> float:
    """Send requests evenly, or later if the pacer demands it; return the time of the last."""
    for _ in range(requests):
        clock.now = max(clock.now + 1 / rate, pacer.reserve().at)
    return clock.now


@pytest.mark.parametrize("idle", [0.0, 10.0, 3600.0])
def test_the_first_rate_is_half_of_what_was_sent_lately(clock: Clock, idle: float) -> None:
    pacer = Pacer(clock=clock, jitter=lambda: 1.0)
    burst(pacer, clock, 100, rate=640)
    pacer.succeeded()
    clock.now += idle
    pacer.refused(burst(pacer, clock, 300, rate=640), None)
    first, second = pacer.reserve(), pacer.reserve()
    assert 1 / (second.at - first.at) == pytest.approx(320, rel=0.1)


@pytest.mark.parametrize("idle", [10.0, 3600.0])
def test_an_unreachably_high_rate_is_measured_again(clock: Clock, idle: float) -> None:
    pacer = Pacer(clock=clock, jitter=lambda: 1.0)
    pacer.refused(burst(pacer, clock, 300, rate=640), None)
    clock.now += 1
    pacer.succeeded()
    clock.now += idle
    pacer.refused(burst(pacer, clock, 300, rate=100), None)
    first, second = pacer.reserve(), pacer.reserve()
    assert 1 / (second.at - first.at) == pytest.approx(50, rel=0.1)


def test_refusals_of_one_burst_are_one_event(clock: Clock) -> None:
    pacer = Pacer(clock=clock, jitter=lambda: 1.0)
    slots = [pacer.reserve() for _ in range(10)]
    clock.now += 0.1
    for slot in slots:
        pacer.refused(slot.at, None)
    assert pacer.reserve().at - clock.now == pytest.approx(0.25)


def test_slots_reserved_before_a_refusal_are_void(clock: Clock) -> None:
    pacer = Pacer(10, clock=clock)
    sent, waiting = pacer.reserve(), pacer.reserve()
    assert pacer.is_valid(waiting)
    clock.now += 0.01
    pacer.refused(sent.at, None)
    assert not pacer.is_valid(waiting)


@pytest.mark.parametrize("idle", [0.0, 3600.0])
def test_refused_seconds_begin_with_the_first_refusal_since_the_last_success(
    clock: Clock, idle: float
) -> None:
    pacer = Pacer(clock=clock)
    pacer.reserve()
    pacer.succeeded()
    clock.now += idle
    assert pacer.refused_seconds() == 0
    pause = pause_after(pacer, clock, None)
    clock.now += pause
    assert pacer.refused_seconds() == pytest.approx(pause)
    pacer.succeeded()
    assert pacer.refused_seconds() == 0


def test_patience_ends_during_a_pause_and_one_request_may_try_afterwards(
    clock: Clock,
) -> None:
    pacer = Pacer(patience=1.0, clock=clock, jitter=lambda: 1.0)
    cancelled = threading.Event()
    for _ in range(3):
        pause = pause_after(pacer, clock, None)
        clock.now += pause + 0.01
        assert not pacer.patience_exhausted()
    pacer.refused(pacer.acquire(cancelled), None)
    with pytest.raises(PatienceExhaustedError):
        pacer.acquire(cancelled)
    clock.now += MAX_PAUSE
    assert pacer.acquire(cancelled) == clock.now


def test_patience_is_restored_after_a_time_without_requests(clock: Clock) -> None:
    pacer = Pacer(patience=1.0, clock=clock, jitter=lambda: 1.0)
    for _ in range(10):
        pause = pause_after(pacer, clock, None)
        clock.now += pause
    assert pacer.refused_seconds() > 1
    clock.now += 3600
    assert pause_after(pacer, clock, None) == pytest.approx(0.25)
    assert not pacer.patience_exhausted()


def test_slots_of_a_cancelled_run_are_given_to_the_next(clock: Clock) -> None:
    pacer = Pacer(0.001, clock=clock)
    started = clock.now
    cancelled = threading.Event()

    def wait_for_a_slot() -> None:
        with pytest.raises(Cancelled):
            pacer.acquire(cancelled)

    pacer.acquire(cancelled)
    threads = [threading.Thread(target=wait_for_a_slot) for _ in range(30)]
    for thread in threads:
        thread.start()
    staying = pacer.reserve()
    while staying.at < started + 31_000:  # all thirty have a slot, and this one is behind them
        pacer.release(staying)
        staying = pacer.reserve()
    cancelled.set()
    for thread in threads:
        thread.join()
    assert staying.at == started + 31_000
    slots = [pacer.reserve().at - started for _ in range(31)]
    assert slots == [1000 * n for n in [*range(1, 31), 32]]


def test_slots_of_a_cancelled_run_end_with_their_time_and_with_the_next_refusal(
    clock: Clock,
) -> None:
    pacer = Pacer(5, clock=clock, jitter=lambda: 1.0)
    sent, *waiting = [pacer.reserve() for _ in range(10)]
    for slot in waiting:
        pacer.release(slot)
    clock.now += 0.5
    assert pacer.reserve().at == pytest.approx(sent.at + 0.6)
    pacer.refused(sent.at, None)
    assert pacer.reserve().at == pytest.approx(clock.now + 0.25)
    pacer.release(waiting[-1])
    assert pacer.reserve().at > clock.now + 0.25


def test_cancellation_ends_the_wait() -> None:
    pacer = Pacer(0.001)
    cancelled = threading.Event()
    pacer.acquire(cancelled)
    threading.Timer(0.05, cancelled.set).start()
    with pytest.raises(Cancelled):
        pacer.acquire(cancelled)
