"""Requests and characters a minute; the clock is the test's."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.rates import Rates, wait_s


class Clock:
    """`time.time`, standing still until it is moved; it begins with a whole minute."""

    def __init__(self) -> None:
        self.now = 60.0 * 30_000_000

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(time, "time", clock)
    return clock


def ask(rates, client="key a", *, characters=1, requests=None, letters=None):
    return rates.admit(client, characters=characters, requests_per_minute=requests, characters_per_minute=letters)


def test_as_many_requests_as_the_limit_and_no_more(clock):
    rates = Rates()
    assert [ask(rates, requests=3) for _ in range(3)] == [0, 0, 0]
    assert ask(rates, requests=3) > 0
    assert ask(rates, "key b", requests=3) == 0, "another client has a limit of its own"


def test_characters_have_a_limit_of_their_own(clock):
    rates = Rates()
    assert ask(rates, characters=60, letters=100, requests=10) == 0
    assert ask(rates, characters=41, letters=100, requests=10) > 0
    assert ask(rates, characters=40, letters=100, requests=10) == 0


def test_a_refused_request_costs_nothing(clock):
    rates = Rates()
    for _ in range(50):
        ask(rates, characters=101, letters=200, requests=3)
    assert ask(rates, characters=99, letters=200, requests=3) == 0
    assert ask(rates, characters=0, letters=200, requests=3) == 0


def test_twice_the_limit_around_the_full_minute_is_refused(clock):
    rates = Rates()
    clock.now += 59
    assert [ask(rates, requests=10) for _ in range(10)] == [0] * 10
    clock.now += 2
    assert sum(ask(rates, requests=10) == 0 for _ in range(10)) <= 1


def test_without_limits_nothing_is_kept(clock):
    rates = Rates()
    assert [ask(rates, characters=10**9) for _ in range(100)] == [0] * 100
    assert not rates._storage.storage


@given(
    limit=st.integers(1, 200),
    costs=st.lists(st.integers(1, 200), min_size=1, max_size=20),
    pauses=st.lists(st.integers(0, 50), min_size=20, max_size=20),
)
def test_who_waits_as_told_is_admitted_and_a_second_less_would_not_do(limit, costs, pauses):
    clock, patch = Clock(), pytest.MonkeyPatch()
    with patch.context() as patched:
        patched.setattr(time, "time", clock)
        rates = Rates()
        for cost, pause in zip(costs, pauses, strict=False):
            clock.now += pause
            characters = min(cost, limit)
            wait = ask(rates, characters=characters, letters=limit)
            if not wait:
                continue
            # Two seconds less, since whole seconds are told: the true moment lies in the last of them.
            clock.now += max(0, wait - 1.01)
            assert ask(rates, characters=characters, letters=limit) > 0 or wait == 1
            clock.now += min(wait, 1.01)
            assert ask(rates, characters=characters, letters=limit) == 0


def test_waiting_times_by_hand():
    # Full in this minute, 40 s left: the count of 10 must shrink to 9.x, which takes a tenth of the next minute.
    assert wait_s(10, 1, before=0, now=10, left_s=40.0) == 41
    assert wait_s(10, 5, before=0, now=10, left_s=40.0) == 40 + 25
    # 10 before, of which 20 s are left, are 3.33, and 7 now: from below 18 s left on they are less than 10.
    assert wait_s(10, 1, before=10, now=7, left_s=20.0) == 3
    assert wait_s(10, 3, before=10, now=7, left_s=20.0) == 15


def test_an_address_is_a_bucket_and_a_v6_network_is_one_address():
    rates = Rates()
    assert rates.bucket("192.0.2.1") == rates.bucket("::ffff:192.0.2.1")
    assert rates.bucket("2001:db8::1") == rates.bucket("2001:db8::ffff:2") == rates.bucket("2001:db8::3%eth0")
    assert len({rates.bucket(f"192.0.2.{number}") for number in range(100)}) > 90
    assert len({rates.bucket(odd) for odd in ("unix:", "\ud800", "x" * 70_000, None)}) == 4


def test_buckets_differ_from_process_to_process():
    addresses = [f"192.0.2.{number}" for number in range(20)]
    first, second = Rates(), Rates()
    assert [first.bucket(address) for address in addresses] != [second.bucket(address) for address in addresses]


def test_memory_is_bounded_whoever_asks(clock):
    rates = Rates()
    buckets = {rates.bucket(f"2001:db8:{number:x}::1") for number in range(20_000)}
    for bucket in buckets:
        ask(rates, bucket, requests=5)
    assert 4000 < len(buckets) <= 4096
    assert len(rates._storage.storage) <= 4096
    clock.now += 200
    ask(rates, requests=5)
    deadline = time.monotonic() + 5
    while len(rates._storage.storage) > 1 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(rates._storage.storage) == 1
