"""The queue: order, fairness, admission, and that nothing is lost whatever goes wrong."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.batching import Busy
from tests.service.batches import GREEDY, WIDE, Recording, ask, batcher, until


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.lists(st.sampled_from(["a", "b c", "d e f g", "bad", "x " * 30]), max_size=12),
            st.sampled_from([GREEDY, WIDE]),
            st.sampled_from(["stays", "stays", "leaves"]),
        ),
        max_size=8,
    ),
    st.integers(1, 3),
)
def test_every_segment_of_who_stays_is_answered_once_and_in_order(requests, workers):
    engine = Recording()

    async def scenario():
        queue = batcher(workers=workers)
        tasks = [asyncio.create_task(ask(queue, engine, segments, decoding)) for segments, decoding, _ in requests]
        await asyncio.sleep(0)
        for task, (_, _, fate) in zip(tasks, requests, strict=True):
            if fate == "leaves":
                task.cancel()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert queue.waiting == 0
        assert queue._jobs == set()
        await until(lambda: not queue._running)
        assert queue._waiting_tokens == queue._decoding == 0
        return answers

    answers = asyncio.run(scenario())
    for (segments, decoding, fate), answer in zip(requests, answers, strict=True):
        if fate == "stays":
            assert [str(part) for part in answer] == [
                "bad segment" if segment == "bad" else f"{segment.upper()} {decoding.beam}" for segment in segments
            ]


def test_a_bad_segment_does_not_fail_its_neighbours():
    engine = Recording()

    async def scenario():
        queue = batcher(batch=100)
        return await asyncio.gather(*(ask(queue, engine, [name]) for name in ("one", "bad", "two", "three")))

    one, bad, two, three = asyncio.run(scenario())
    assert (one, two, three) == (["ONE 1"], ["TWO 1"], ["THREE 1"])
    assert isinstance(bad[0], RuntimeError)
    assert len(engine.calls[0]) == 4


def test_what_queued_while_the_engine_was_busy_is_the_next_batch():
    engine = Recording()

    async def scenario():
        queue = batcher(batch=100)
        engine.open.clear()
        first = asyncio.create_task(ask(queue, engine, ["first"]))
        await until(lambda: engine.calls)
        others = [asyncio.create_task(ask(queue, engine, [f"other {number}"])) for number in range(9)]
        await until(lambda: queue.waiting == 9)
        engine.open.set()
        await asyncio.gather(first, *others)

    asyncio.run(scenario())
    assert [len(call) for call in engine.calls] == [1, 9]


def test_a_batch_keeps_to_its_budget_and_a_longer_segment_goes_alone():
    engine = Recording()
    asyncio.run(ask(batcher(batch=10), engine, ["a b c d"] * 5 + ["x " * 30, "y"]))
    assert [sum(map(engine.tokens, call)) for call in engine.calls] == [10, 10, 5, 31, 2]


def test_a_sentence_waits_for_one_batch_beside_a_request_of_ten_thousand():
    engine = Recording(seconds=0.001)

    async def scenario():
        queue = batcher(batch=100, queue=100)
        engine.open.clear()
        long = asyncio.create_task(ask(queue, engine, [f"long {number}" for number in range(10_000)]))
        await until(lambda: engine.calls)
        short = asyncio.create_task(ask(queue, engine, ["short"]))
        await until(lambda: queue.waiting > 10_000 - len(engine.calls[0]))
        engine.open.set()
        await short
        calls = len(engine.calls)
        assert not long.done()
        await long
        return calls

    assert asyncio.run(scenario()) <= 3
    assert "short" in engine.calls[1]


def test_two_long_requests_progress_alike():
    engine = Recording()

    async def scenario():
        queue = batcher(batch=40)
        await asyncio.gather(ask(queue, engine, ["a"] * 200), ask(queue, engine, ["b b b"] * 100))

    asyncio.run(scenario())
    seen = [segment for call in engine.calls[:10] for segment in call]
    tokens = {name: sum(engine.tokens(segment) for segment in seen if segment[0] == name) for name in "ab"}
    assert abs(tokens["a"] - tokens["b"]) <= 4


def test_requests_with_other_settings_are_not_mixed():
    engine = Recording()

    async def scenario():
        queue = batcher(batch=1000)
        return await asyncio.gather(ask(queue, engine, ["a"] * 3), ask(queue, engine, ["b"] * 3, WIDE))

    assert asyncio.run(scenario()) == [["A 1"] * 3, ["B 4"] * 3]
    assert sorted(map(tuple, engine.calls)) == [("a",) * 3, ("b",) * 3]


def test_of_fifty_abandoned_requests_none_that_queued_reaches_the_engine():
    engine = Recording()

    async def scenario():
        queue = batcher(batch=1000)
        engine.open.clear()
        first = asyncio.create_task(ask(queue, engine, ["first"]))
        await until(lambda: engine.calls)
        abandoned = [asyncio.create_task(ask(queue, engine, [f"gone {number}"])) for number in range(50)]
        await until(lambda: queue.waiting == 50)
        for task in abandoned:
            task.cancel()
        await asyncio.gather(*abandoned, return_exceptions=True)
        engine.open.set()
        await first
        await ask(queue, engine, ["last"])

    asyncio.run(scenario())
    assert engine.calls == [["first"], ["last"]]


def test_a_full_queue_refuses_at_once_and_says_when_to_come_back():
    engine = Recording()

    async def scenario():
        queue = batcher(batch=10, queue=100)
        await ask(queue, engine, ["to measure the speed"])
        engine.open.clear()
        admitted = [asyncio.create_task(ask(queue, engine, ["x " * 24] * 2)) for _ in range(3)]
        await until(lambda: len(engine.calls) == 2)
        with pytest.raises(Busy) as busy:
            await ask(queue, engine, ["x " * 49])
        engine.open.set()
        assert all(answer == ["X " * 24 + " 1"] * 2 for answer in await asyncio.gather(*admitted))
        assert await ask(queue, engine, ["again"]) == ["AGAIN 1"]
        return busy.value.retry_after_s

    assert asyncio.run(scenario()) >= 1


def test_a_full_queue_of_long_requests_still_admits_a_sentence():
    engine = Recording()

    async def scenario():
        queue = batcher(batch=10, queue=100)
        engine.open.clear()
        long = asyncio.create_task(ask(queue, engine, ["x " * 9] * 500))
        await until(lambda: engine.calls)
        with pytest.raises(Busy):
            await ask(queue, engine, ["x " * 9] * 500)
        short = asyncio.create_task(ask(queue, engine, ["short"]))
        await asyncio.sleep(0)
        engine.open.set()
        return await short, await long

    short, long = asyncio.run(scenario())
    assert short == ["SHORT 1"]
    assert len(long) == 500


def test_batches_are_observed_and_a_request_knows_its_time_in_them():
    seen = []
    engine = Recording()

    async def scenario():
        queue = batcher(batch=1000, observe=seen.append)
        with queue.admit(engine, ["a", "b"]) as job:
            await asyncio.gather(job.decode("a", GREEDY), job.decode("b", GREEDY))
            await asyncio.sleep(0)
            return job.decoding_s

    decoding_s = asyncio.run(scenario())
    assert [(batch.segments, batch.tokens) for batch in seen] == [(2, 4)]
    assert decoding_s == seen[0].seconds > 0
    assert seen[0].waited_s >= 0
