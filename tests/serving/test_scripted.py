"""The scripted engine queues, steps, refuses and dies as a real one does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

import pytest

from serving.link import EngineDead, EngineLink, RequestRefused
from serving.messages import Moved, Request
from serving.scripted import ScriptedEngine


def request(engine: EngineLink, prompt: Sequence[int] = (1, 2, 3), **fields: Any) -> Request:
    options = {"max_tokens": 8, "temperature": 0.0, **fields}
    return Request(id=engine.next_id(), prompt_ids=tuple(prompt), **options)


def moves(engine: ScriptedEngine, asked: Request) -> AsyncGenerator[Moved, None]:
    iterator = engine.submit(asked)
    assert isinstance(iterator, AsyncGenerator)
    return iterator


async def answer(engine: ScriptedEngine, asked: Request) -> list[Moved]:
    async with aclosing(moves(engine, asked)) as steps:
        return [moved async for moved in steps]


def said(steps: Sequence[Moved]) -> list[int]:
    return [token for moved in steps for token in moved.token_ids]


def load(engine: ScriptedEngine) -> tuple[int, int]:
    snapshot = engine.snapshot()
    assert snapshot is not None
    return snapshot.num_running, snapshot.num_waiting


def test_the_words_do_not_depend_on_speculation_only_the_steps_do() -> None:
    engine = ScriptedEngine()
    fast = asyncio.run(answer(engine, request(engine)))
    slow = asyncio.run(answer(engine, request(engine, speculative=False)))
    engine.set_speculation(False)
    off = asyncio.run(answer(engine, request(engine)))
    assert said(fast) == said(slow) == said(off) == [1, 2, 3, 1, 2, 3, 1, 2]
    assert [len(moved.token_ids) for moved in fast] == [1, 3, 1, 3]
    assert len(slow) == len(off) == 8
    assert [moved.nodes for moved in fast] == [-1, 4, 3, 2]
    assert {moved.nodes for moved in slow[1:]} == {0}
    assert fast[1].sources[0].accepted == (1, 1, 0, 0)
    assert fast[1].sources[0].reached == (1, 1, 1, 0)


def test_a_sampled_answer_depends_on_its_seed_alone() -> None:
    engine = ScriptedEngine()
    first, again, other = (said(asyncio.run(answer(engine, request(engine, temperature=1.0, seed=seed)))) for seed in (1, 1, 2))
    assert first == again != other


def test_a_stop_token_ends_an_answer_in_the_middle_of_a_step() -> None:
    engine = ScriptedEngine()
    steps = asyncio.run(answer(engine, request(engine, prompt=(1, 2, 3, 4), stop_ids=(3,))))
    assert said(steps) == [1, 2, 3]
    assert [moved.finish_reason for moved in steps] == [None, "stop"]


def test_the_script_ends_with_the_end_token_or_starts_over() -> None:
    engine = ScriptedEngine(eos_id=9)
    assert said(asyncio.run(answer(engine, request(engine, stop_ids=(9,))))) == [1, 2, 3, 9]
    assert said(asyncio.run(answer(engine, request(engine)))) == [1, 2, 3, 9, 1, 2, 3, 9]


def test_requests_wait_for_a_slot_and_an_abort_frees_one() -> None:
    async def scene() -> None:
        engine = ScriptedEngine(max_running=1, step_seconds=0.001)
        first = moves(engine, request(engine, max_tokens=10**6))
        await anext(first)
        second = asyncio.create_task(answer(engine, request(engine)))
        third = asyncio.create_task(answer(engine, request(engine)))
        while load(engine) != (1, 2):
            await asyncio.sleep(0)
        third.cancel()
        await asyncio.gather(third, return_exceptions=True)
        assert load(engine) == (1, 1)
        await first.aclose()
        assert said(await second) == [1, 2, 3, 1, 2, 3, 1, 2]
        assert load(engine) == (0, 0)

    asyncio.run(scene())


def test_what_it_will_never_run_is_refused() -> None:
    engine = ScriptedEngine(max_running=1, max_waiting=1, max_total=20)

    async def scene() -> None:
        with pytest.raises(RequestRefused) as large:
            await answer(engine, request(engine, max_tokens=18))
        assert large.value.refused.code == "too_large"
        engine.pause()
        waiting = asyncio.create_task(answer(engine, request(engine)))
        await asyncio.sleep(0)
        with pytest.raises(RequestRefused) as full:
            await answer(engine, request(engine))
        assert full.value.refused.code == "queue_full"
        engine.drain()
        engine.resume()
        assert len(said(await waiting)) == 8
        with pytest.raises(RequestRefused) as draining:
            await answer(engine, request(engine))
        assert draining.value.refused.code == "draining"

    asyncio.run(scene())


def test_death_reaches_everyone_who_waits() -> None:
    async def scene() -> None:
        engine = ScriptedEngine(max_running=1, step_seconds=0.001)
        tasks = [asyncio.create_task(answer(engine, request(engine, max_tokens=10**6))) for _ in range(2)]
        while load(engine) != (1, 1):
            await asyncio.sleep(0)
        engine.die("of boredom")
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert [str(outcome) for outcome in outcomes] == ["of boredom"] * 2
        with pytest.raises(EngineDead):
            await answer(engine, request(engine))
        assert not engine.alive()

    asyncio.run(scene())


def test_a_swap_is_seen_in_the_steps_after_it() -> None:
    engine = ScriptedEngine()
    engine.swap("v1")
    steps = asyncio.run(answer(engine, request(engine)))
    assert steps[1].sources[0].version == "v1"
    snapshot = engine.snapshot()
    assert snapshot is not None
    assert (snapshot.generation, snapshot.num_swaps, snapshot.versions) == (1, 1, {"scripted": "v1"})
