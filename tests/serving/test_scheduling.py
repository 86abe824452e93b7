"""Who takes part in a step: nobody stalls for somebody else's prompt, and the more urgent go first."""

from __future__ import annotations

import random

from models.pages import PagePool, PageTable
from serving.engine import Engine
from serving.messages import Moved, Refused, Request
from serving.scheduler import Scheduler
from speculator.verify import Verdicts
from tests.serving.rig import VOCAB, NoSpeculator, engine_with, tiny_decoder, tiny_target

DECODER = tiny_decoder()


def engine_of(num_pages: int = 64, **limits: int) -> Engine:
    target = tiny_target(DECODER, num_pages=num_pages)
    return engine_with(target, NoSpeculator(), **limits)


def request(number: int, length: int, **changes: object) -> Request:
    rng = random.Random(number)
    prompt = tuple(rng.randrange(VOCAB) for _ in range(length))
    return Request(**{"id": number, "prompt_ids": prompt, "max_tokens": 6, "temperature": 0.0, **changes})  # type: ignore[arg-type]


def first_tokens(engine: Engine) -> dict[int, int]:
    """Runs to the end; the step in which each had its first token, from 1."""
    seen: dict[int, int] = {}
    step = 0
    while engine.has_work:
        step += 1
        for moved in engine.step():
            seen.setdefault(moved.id, step)
    engine.audit()
    return seen


def test_a_short_prompt_does_not_wait_for_a_long_one_that_came_first() -> None:
    engine = engine_of(max_prompt_tokens=8)
    engine.submit(request(0, 80))
    engine.submit(request(1, 8))
    seen = first_tokens(engine)
    assert seen[1] <= 3, "half of each step is its share"
    # what the short one needed, eight tokens and six answers beside which a step reads as much, delays the long one by two steps
    assert seen[0] <= 80 // 8 + 2


def test_a_long_prompt_does_not_wait_for_all_the_short_ones_that_keep_coming() -> None:
    engine = engine_of(max_prompt_tokens=8, max_running=4)
    engine.submit(request(0, 80))
    seen: set[int] = set()
    for step in range(60):
        engine.submit(request(1 + step, 8, max_tokens=1))
        seen |= {moved.id for moved in engine.step()}
    assert 0 in seen, "a fourth of each step is its share, so that it is through after forty"


def test_answers_go_on_while_a_long_prompt_is_read_in_pieces_of_a_bounded_size() -> None:
    engine = engine_of(max_prompt_tokens=40, max_prompt_tokens_beside=8)
    engine.submit(request(0, 4, max_tokens=30))
    engine.step()
    engine.submit(request(1, 80))
    sizes = []
    launch = engine.target.launch

    def watched(batch, drafts):  # type: ignore[no-untyped-def]
        sizes.append((len(batch.decoding), batch.num_prompt_tokens))
        launch(batch, drafts)

    engine.target.launch = watched  # type: ignore[method-assign]
    moved: list[Moved] = []
    while len(moved) < 9:
        moved += [each for each in engine.step() if each.id == 0]
    assert sizes == [(1, 8)] * 9, "a token for the one in each step, eight read for the other"


def test_prompts_are_read_the_faster_the_more_tokens_a_step_brings() -> None:
    """Else answers that drafts make three times as fast would wait for the next prompts to be read."""
    scheduler = Scheduler(PagePool(4096, 1), max_prompt_tokens_beside=8, max_tree=4, share_prefixes=False)
    scheduler.submit(request(0, 4, max_tokens=4000))
    sizes = []
    for step in range(400):
        batch = scheduler.schedule()
        if step and not scheduler.waiting and scheduler.num_running < 2:
            scheduler.submit(request(1, 30, max_tokens=1))
        sizes.append(batch.num_prompt_tokens)
        said = tuple((3,) * 3 if sequence in batch.decoding else (3,) for sequence in batch.choosing)
        accepted = tuple(tuple(range(1, len(each))) for each in said)
        scheduler.commit(batch, Verdicts(accepted, said))
    assert 8 <= max(sizes[1:20]) < 16
    assert max(sizes[300:]) in (23, 24), "three times eight"


def test_alone_a_long_prompt_is_read_in_large_pieces() -> None:
    engine = engine_of(max_prompt_tokens=40, max_prompt_tokens_beside=8)
    engine.submit(request(0, 80))
    assert first_tokens(engine)[0] == 2


def test_the_more_urgent_are_served_first_and_among_equals_who_came_first() -> None:
    engine = engine_of(max_running=1)
    for number, priority in enumerate((5, 0, 5, -1)):
        engine.submit(request(number, 6, priority=priority))
    seen = first_tokens(engine)
    assert sorted(seen, key=lambda number: seen[number]) == [3, 1, 0, 2]


def test_one_that_is_more_urgent_takes_the_place_of_one_that_is_less() -> None:
    engine = engine_of(max_running=1)
    engine.submit(request(0, 6, max_tokens=20, priority=1))
    answers: dict[int, list[int]] = {0: [], 1: []}
    order = []
    for step in range(60):
        if step == 5:
            engine.submit(request(1, 6, priority=0))
        for moved in engine.step() if engine.has_work else ():
            answers[moved.id] += moved.token_ids
            if moved.finish_reason:
                order.append(moved.id)
    assert order == [1, 0]
    alone = engine_of()
    alone.submit(request(0, 6, max_tokens=20))
    expected = []
    while alone.has_work:
        expected += [token for moved in alone.step() for token in moved.token_ids]
    assert answers[0] == expected, "it went on where it had been"
    assert engine.scheduler.counters["preemptions"] == 1


def test_an_equal_does_not_push_anybody_out() -> None:
    engine = engine_of(max_running=1)
    engine.submit(request(0, 6))
    engine.step()
    engine.submit(request(1, 6))
    first_tokens(engine)
    assert engine.scheduler.counters["preemptions"] == 0


def test_one_that_has_ended_still_tells_what_was_written_of_it() -> None:
    """Sources that learn when it leaves go by that."""
    engine = engine_of()
    engine.submit(request(0, 6))
    (sequence,) = engine.scheduler.waiting
    first_tokens(engine)
    assert sequence.num_written == len(sequence.tokens) - 1 == 11


def test_what_could_never_fit_is_refused_and_what_just_fits_is_served() -> None:
    engine = engine_of(num_pages=8)  # 32 tokens, 12 of them for a draft
    refused = engine.submit(request(0, 15))
    assert isinstance(refused, Refused)
    assert refused.code == "too_large"
    assert engine.submit(request(1, 14)) is None
    assert first_tokens(engine).keys() == {1}


def test_one_that_waits_for_its_turn_again_can_be_aborted() -> None:
    engine = engine_of(max_running=1)
    engine.submit(request(0, 6, priority=1))
    engine.step()
    engine.submit(request(1, 6, priority=0))
    engine.step()
    assert [sequence.id for sequence in engine.scheduler.waiting] == [0]
    assert engine.abort(0) is not None
    assert first_tokens(engine).keys() <= {1}


def test_a_page_is_free_when_its_last_holder_gives_it_back() -> None:
    pool = PagePool(4, 2)
    pages = pool.allocate(2)
    pool.share(pages[:1])
    pool.release(pages)
    assert (pool.num_free, pool.num_used) == (3, 1)
    pool.check()
    pool.release(pages[:1])
    assert pool.num_free == 4


def test_pages_behind_the_last_are_preferred_so_that_a_text_lies_in_one_piece() -> None:
    pool = PagePool(8, 2)
    first, other = pool.allocate(1), pool.allocate(1)
    pool.release(other)
    table = PageTable(2, first)
    table.extend(pool.allocate(2, after=table.last))
    assert table.keys(5) == slice(0, 5)
    pool.allocate(1, after=table.last)
    table.extend(pool.allocate(1, after=table.last))
    keys = table.keys(8)
    assert not isinstance(keys, slice)
    assert keys.tolist() == [0, 1, 2, 3, 4, 5, 8, 9]
    assert [table.slot(position) for position in range(8)] == keys.tolist()
