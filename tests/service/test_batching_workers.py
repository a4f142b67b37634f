"""Several batches at a time: who gets what waits, and that no worker waits for another."""

from __future__ import annotations

import asyncio
import time

from tests.service.batches import GREEDY, Recording, ask, batcher, until


def test_idle_workers_share_out_what_waits():
    engine = Recording()

    async def scenario():
        queue = batcher(batch=100, workers=3)
        engine.open.clear()
        request = asyncio.create_task(ask(queue, engine, ["a b c d"] * 6 + ["e"]))
        await until(lambda: len(engine.calls) == 3)
        assert queue.waiting == 0
        engine.open.set()
        return await request

    assert asyncio.run(scenario()) == ["A B C D 1"] * 6 + ["E 1"]
    assert sorted(map(len, engine.calls)) == [2, 2, 3]


def test_a_worker_does_not_wait_for_another_ones_batch():
    slow, quick = Recording(), Recording()
    slow.open.clear()

    async def scenario():
        queue = batcher(workers=2)
        held = asyncio.create_task(ask(queue, slow, ["slow"]))
        await until(lambda: slow.calls)
        for number in range(5):
            assert await ask(queue, quick, [f"quick {number}"]) == [f"QUICK {number} 1"]
        assert not held.done()
        slow.open.set()
        return await held

    assert asyncio.run(scenario()) == ["SLOW 1"]


def test_a_worker_takes_its_next_batch_while_the_event_loop_is_busy():
    engine = Recording()

    async def scenario():
        queue = batcher(batch=10)
        engine.open.clear()
        request = asyncio.create_task(ask(queue, engine, ["a b c d"] * 6))
        await until(lambda: engine.calls)
        engine.open.set()
        deadline = time.monotonic() + 10
        while len(engine.calls) < 3:
            time.sleep(0.001)
            assert time.monotonic() < deadline
        return await request

    assert asyncio.run(scenario()) == ["A B C D 1"] * 6


def test_what_comes_while_all_workers_are_busy_waits_and_is_batched():
    engine = Recording()

    async def scenario():
        queue = batcher(batch=100, workers=2)
        engine.open.clear()
        first = asyncio.create_task(ask(queue, engine, ["first", "second"]))
        await until(lambda: len(engine.calls) == 2)
        others = [asyncio.create_task(ask(queue, engine, [f"other {number}"])) for number in range(4)]
        await until(lambda: queue.waiting == 4)
        assert len(engine.calls) == 2
        engine.open.set()
        await asyncio.gather(first, *others)

    asyncio.run(scenario())
    assert sum(map(len, engine.calls)) == 6
    assert len(engine.calls[2]) >= 2


def test_a_request_in_two_batches_at_once_was_in_the_engine_no_longer_than_it_took():
    engine = Recording()

    async def scenario():
        queue = batcher(batch=1000, workers=2)
        engine.open.clear()
        began = time.monotonic()
        with queue.admit(engine, ["a", "b"]) as job:
            answers = asyncio.gather(job.decode("a", GREEDY), job.decode("b", GREEDY))
            await until(lambda: len(engine.calls) == 2)
            await asyncio.sleep(0.05)
            engine.open.set()
            await answers
            await until(lambda: not queue._decoding)
        return job.decoding_s, time.monotonic() - began

    decoding_s, took = asyncio.run(scenario())
    assert 0.05 <= decoding_s <= took
