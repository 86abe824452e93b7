"""Texts that begin alike are read once, within a tenant, and nobody's answer changes for it."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.engine import Engine
from serving.messages import Request
from speculator.batch import Sequence
from speculator.scored import Scored
from tests.serving.rig import VOCAB, GuessingSpeculator, NoSpeculator, engine_with, tiny_decoder, tiny_target

DECODER = tiny_decoder()
PAGE = 4
MAX_TOKENS = 8


def engine_of(speculator: GuessingSpeculator | None = None, num_pages: int = 64, **limits: int) -> Engine:
    target = tiny_target(DECODER, num_pages=num_pages, page_size=PAGE)
    return engine_with(target, speculator or NoSpeculator(), **limits)


def text(seed: int, length: int) -> tuple[int, ...]:
    rng = random.Random(seed)
    return tuple(rng.randrange(VOCAB) for _ in range(length))


def request(number: int, prompt: tuple[int, ...], **changes: object) -> Request:
    values: dict[str, object] = {"id": number, "prompt_ids": prompt, "max_tokens": MAX_TOKENS, "temperature": 0.7, "seed": number}
    return Request(**{**values, **changes})  # type: ignore[arg-type]


def served(engine: Engine, requests: list[Request]) -> tuple[dict[int, tuple[int, ...]], int]:
    """What each emitted, all submitted at once, and how many tokens were read before that."""
    emitted: dict[int, tuple[int, ...]] = {each.id: () for each in requests}
    for each in requests:
        assert engine.submit(each) is None
    num_read, launch = 0, engine.target.launch

    def counting(batch, drafts):  # type: ignore[no-untyped-def]
        nonlocal num_read
        num_read += batch.num_prompt_tokens
        launch(batch, drafts)

    engine.target.launch = counting  # type: ignore[method-assign]
    while engine.has_work:
        for moved in engine.step():
            emitted[moved.id] += moved.token_ids
        check_holders(engine)
    engine.target.launch = launch  # type: ignore[method-assign]
    engine.audit()
    return emitted, num_read


def check_holders(engine: Engine) -> None:
    """Every page is held once by each sequence that has it, and once by the cache."""
    scheduler = engine.scheduler
    held = [page for sequence in scheduler.running for page in sequence.pages.ids]
    for page in range(scheduler.pool.num_pages):
        assert scheduler.pool.holders(page) - held.count(page) in (0, 1)
    kept = sum(scheduler.pool.holders(page) > held.count(page) for page in range(scheduler.pool.num_pages))
    idle = sum(scheduler.pool.holders(page) > held.count(page) == 0 for page in range(scheduler.pool.num_pages))
    assert (kept, idle) == (len(scheduler.cache), scheduler.cache.num_idle)


def alone(requests: list[Request]) -> dict[int, tuple[int, ...]]:
    """Each by itself, in an engine that has seen nothing."""
    return {each.id: served(engine_of(), [each])[0][each.id] for each in requests}


LENGTHS = [1, 2, 3, PAGE, PAGE + 1, 4 * PAGE - 1, 4 * PAGE, 4 * PAGE + 2]


@pytest.mark.parametrize("length", LENGTHS)
def test_of_a_prompt_that_is_known_the_last_token_is_read(length: int) -> None:
    engine, prompt = engine_of(), text(1, length)
    first, num_read = served(engine, [request(0, prompt)])
    assert num_read == length
    again, num_read = served(engine, [request(1, prompt, seed=0)])
    assert num_read == 1, "its scores are what the prompt was sent for"
    assert again[1] == first[0]


@pytest.mark.parametrize("max_tokens", [1, 2, MAX_TOKENS])
@pytest.mark.parametrize("length", LENGTHS)
def test_the_choices_of_a_prompt_read_it_once(length: int, max_tokens: int) -> None:
    prompt = text(20, length)
    choices = [request(number, prompt, seed=3, choice=number, max_tokens=max_tokens) for number in range(5)]
    expected = alone(choices)
    engine = engine_of(GuessingSpeculator(expected, 2))
    emitted, num_read = served(engine, choices)
    assert emitted == expected
    assert num_read == length + 4
    assert engine.scheduler.counters["prefix_cache_hits"] == 4 * (length - 1)


def test_the_choices_of_a_prompt_wait_one_step_for_the_first_of_them_and_no_longer() -> None:
    for length in LENGTHS[1:]:
        engine = engine_of(max_prompt_tokens=32)
        for number in range(5):
            engine.submit(request(number, text(21, length), choice=number))
        assert [moved.id for moved in engine.step()] == [0]
        assert [moved.id for moved in engine.step()] == [0, 1, 2, 3, 4], f"a prompt of {length} tokens"


def test_each_choice_is_told_what_it_found_of_its_prompt() -> None:
    engine, prompt = engine_of(), text(22, 2 * PAGE + 3)
    found: dict[int, int] = {}
    for number in range(3):
        engine.submit(request(number, prompt, choice=number))
    while engine.has_work:
        for moved in engine.step():
            found.setdefault(moved.id, moved.num_cached)
    assert found == {0: 0, 1: len(prompt) - 1, 2: len(prompt) - 1}


@pytest.mark.parametrize("length", [3, PAGE, 2 * PAGE + 3])
def test_whoever_wants_log_probabilities_of_the_prompt_reads_it_and_is_told_the_same(length: int) -> None:
    engine, prompt = engine_of(), text(23, length)
    told: dict[int, tuple[Scored, ...]] = {}
    for numbers in ([0], [1, 2]):  # one by itself, then two at once
        for number in numbers:
            engine.submit(request(number, prompt, choice=number, prompt_logprobs=2))
        while engine.has_work:
            for moved in engine.step():
                told.setdefault(moved.id, moved.prompt_scored)
    assert len(told[0]) == len(prompt) - 1
    assert told == dict.fromkeys(range(3), told[0])


def test_what_was_begun_is_read_to_its_end_though_another_was_faster() -> None:
    engine, prompt = engine_of(max_prompt_tokens=2), text(28, PAGE)
    # it reads for itself, and is through when another has begun
    engine.submit(request(0, prompt, prompt_logprobs=0, max_tokens=1))
    engine.step()
    asked = [request(1, prompt), request(2, prompt)]
    for each in asked:
        engine.submit(each)
    emitted: dict[int, tuple[int, ...]] = {0: (), 1: (), 2: ()}
    while engine.has_work:
        for moved in engine.step():
            emitted[moved.id] += moved.token_ids
    assert {each.id: emitted[each.id] for each in asked} == alone(asked)


def test_of_the_ends_of_prompts_too_the_one_used_longest_ago_makes_room() -> None:
    engine, first, second = engine_of(), text(29, 3), text(30, 3)
    for number, prompt in enumerate((first, second, first)):
        served(engine, [request(number, prompt, max_tokens=1)])
    engine.scheduler.cache.evict(1)
    assert served(engine, [request(3, first, max_tokens=1)])[1] == 1
    assert served(engine, [request(4, second, max_tokens=1)])[1] == 3


def test_the_end_of_a_prompt_stays_known_while_its_page_is_written_on() -> None:
    engine, prompt = engine_of(), text(24, PAGE + 2)
    engine.submit(request(0, prompt, max_tokens=30))
    (owner,) = _stepped_until(engine, lambda sequence: sequence.num_output > 2 * PAGE)
    page = owner.pages.ids[1]
    again = request(1, prompt)
    engine.submit(again)
    engine.step()
    other = engine.scheduler.running[1]
    assert (other.num_cached, other.num_written) == (PAGE + 1, PAGE + 2)
    assert other.pages.ids[0] == owner.pages.ids[0]
    assert other.pages.ids[1] != page, "each goes on in a page of its own"
    emitted = {1: (other.tokens[-1],), 0: ()}
    while engine.has_work:
        for moved in engine.step():
            emitted[moved.id] += moved.token_ids
    engine.audit()
    assert emitted[1] == alone([again])[1]


def _stepped_until(engine: Engine, enough: Callable[[Sequence], bool]) -> tuple[Sequence, ...]:
    while not engine.scheduler.running or not enough(engine.scheduler.running[0]):
        engine.step()
    return engine.scheduler.running


def test_prompts_that_end_alike_behind_other_texts_share_nothing() -> None:
    engine, end = engine_of(), text(25, 3)
    served(engine, [request(0, text(26, PAGE) + end)])
    asked = request(1, text(27, PAGE) + end)
    emitted, num_read = served(engine, [asked])
    assert num_read == PAGE + 3
    assert emitted == alone([asked])


def test_a_conversation_goes_on_where_its_last_answer_ended() -> None:
    engine, prompt = engine_of(), text(2, 10)
    answer = served(engine, [request(0, prompt)])[0][0]
    longer = prompt + answer + text(3, 5)
    emitted, num_read = served(engine, [request(1, longer)])
    assert num_read == len(longer) - (len(prompt) + len(answer) - 1) // PAGE * PAGE
    assert emitted == alone([request(1, longer)])


def test_sixteen_that_come_at_once_read_what_they_share_once() -> None:
    shared = text(4, 10 * PAGE)
    requests = [request(number, shared + text(100 + number, 3)) for number in range(16)]
    emitted, num_read = served(engine_of(num_pages=200), requests)
    assert num_read == len(shared) + 16 * 3
    assert emitted == alone(requests)


@pytest.mark.parametrize("length", [PAGE - 1, 4 * PAGE])
def test_nobody_finds_what_another_tenant_has_sent(length: int) -> None:
    engine, prompt = engine_of(), text(5, length)
    served(engine, [request(0, prompt, tenant="a")])
    assert served(engine, [request(1, prompt, tenant="b")])[1] == len(prompt)
    assert served(engine, [request(2, prompt, tenant="b")])[1] == 1


def test_nothing_of_a_tenant_that_was_forgotten_is_found_again() -> None:
    engine, prompts = engine_of(), [text(seed, 4 * PAGE + 2) for seed in (5, 6)]
    for tenant in ("a", "b"):
        served(engine, [request(0, prompts[0], tenant=tenant)])
    engine.submit(request(1, prompts[1], tenant="a"))
    engine.step()
    engine.scheduler.cache.forget("a")
    check_holders(engine)
    while engine.has_work:
        engine.step()
    engine.audit()
    for prompt in prompts:
        assert served(engine, [request(2, prompt, tenant="a")])[1] == len(prompt)
    assert served(engine, [request(3, prompts[0], tenant="b")])[1] == 1


def test_without_sharing_everything_is_read() -> None:
    engine, prompt = engine_of(share_prefixes=False), text(6, 4 * PAGE)
    for number in range(2):
        assert served(engine, [request(number, prompt)])[1] == len(prompt)
    assert len(engine.scheduler.cache) == 0


def test_what_was_used_longest_ago_makes_room() -> None:
    engine = engine_of(num_pages=16)  # 64 tokens; a request of 16 + 8 needs 9 pages with the draft's
    old, used, new = (text(seed, 4 * PAGE) for seed in (7, 8, 9))
    served(engine, [request(0, old)])
    served(engine, [request(1, used)])
    served(engine, [request(2, old[: 2 * PAGE], max_tokens=1)])
    assert served(engine, [request(3, used)])[1] == 1, "still there"
    served(engine, [request(4, new)])
    assert served(engine, [request(5, used)])[1] == 1, "used after the first, it outlives it"
    assert served(engine, [request(6, old)])[1] > PAGE


def test_what_one_has_read_is_there_for_others_even_when_it_is_aborted() -> None:
    engine, prompt = engine_of(), text(10, 4 * PAGE)
    engine.submit(request(0, prompt))
    engine.step()  # seven tokens, cut to a page
    engine.abort(0)
    emitted, num_read = served(engine, [request(1, prompt)])
    assert num_read == 3 * PAGE
    assert emitted == alone([request(1, prompt)])


def test_shared_keys_and_values_are_those_of_a_text_read_alone() -> None:
    engine, prompt = engine_of(), text(11, 4 * PAGE + 2)
    served(engine, [request(0, prompt)])
    engine.submit(request(1, prompt))
    engine.step()
    (sequence,) = engine.scheduler.running
    fresh = engine_of()
    fresh.submit(request(1, prompt))
    while not fresh.scheduler.running or fresh.scheduler.running[0].num_written < sequence.num_written:
        fresh.step()
    for ours, theirs in zip(
        engine.target.keys_and_values(sequence), fresh.target.keys_and_values(fresh.scheduler.running[0]), strict=True
    ):
        torch.testing.assert_close(ours, theirs[:, :, : sequence.num_written], atol=1e-5, rtol=1e-5)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 22), st.integers(0, 6), st.integers(0, 10)), min_size=2, max_size=9),
    st.integers(1, 9),
    st.integers(0, 2**31),
    st.sampled_from([15, 19, 30, 64]),
)
def test_answers_are_those_of_each_alone_whatever_is_shared_evicted_or_given_up(
    shapes: list[tuple[int, int, int, int]], num_ends: int, seed: int, num_pages: int
) -> None:
    stems = [text(50 + stem, 24) for stem in range(3)]
    requests = [
        request(number, stems[stem][:length] + text(number % num_ends, tail + 1))
        for number, (stem, length, tail, _) in enumerate(shapes)
    ]
    expected = alone(requests)
    engine = engine_of(GuessingSpeculator(expected, seed), num_pages=num_pages)
    emitted: dict[int, tuple[int, ...]] = {each.id: () for each in requests}
    step = 0
    while engine.has_work or any(join >= step for *_, join in shapes):
        for each, (*_, join) in zip(requests, shapes, strict=True):
            if join == step:
                assert engine.submit(each) is None
        if engine.has_work:
            for moved in engine.step():
                emitted[moved.id] += moved.token_ids
            check_holders(engine)
        step += 1
    engine.audit()
    assert emitted == expected


@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_those_that_had_to_give_up_their_pages_finish_as_if_nothing_had_been(temperature: float) -> None:
    requests = [request(number, text(200 + number, 9), max_tokens=20, temperature=temperature) for number in range(5)]
    expected = alone(requests)
    # each grows to 29 tokens and 13 for its draft, 11 pages: two at a time have room to the end, more come in before that
    engine = engine_of(GuessingSpeculator(expected, 1), num_pages=24)
    emitted, _ = served(engine, requests)
    assert emitted == expected
    assert engine.scheduler.counters["preemptions"] > 0, "else nothing was tried here"
