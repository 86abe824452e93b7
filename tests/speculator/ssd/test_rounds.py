"""Rounds of target and worker: the text is the target's own, hits are hits, and nothing is left behind."""

from __future__ import annotations

import random

import pytest
import torch

from models.pages import PageTable
from serving.messages import Request
from speculator.ssd.messages import Ask, Begin, Reply, Row
from tests.serving.rig import plain_engine
from tests.speculator.draft_models import draft_model, runner_of, target_of
from tests.speculator.ssd.beside import Beside, engine_beside, source_of
from tests.speculator.test_draft_lm import requests, served

TARGET = draft_model(seed=0)
OTHER = draft_model(seed=5)


@pytest.mark.parametrize("temperature", [0.0, 0.8])
@pytest.mark.parametrize(("lookahead", "fan_out"), [(1, 1), (2, 6), (4, 12), (5, 3)])
@pytest.mark.parametrize("passes", [0, 1, 3, -1])
def test_the_text_is_the_targets_own(temperature: float, lookahead: int, fan_out: int, passes: int) -> None:
    asked = requests(10, temperature)
    expected = served(plain_engine(target_of(TARGET)), asked)
    for seed, draft in enumerate((draft_model(seed=0), draft_model(seed=5))):
        link = Beside(draft, passes=passes)
        engine = engine_beside(TARGET, link, lookahead=lookahead, fan_out=fan_out)
        assert served(engine, asked, random.Random(seed)) == expected
        link.receive(0.0)
        link.pool.check()
        assert link.pool.num_used == 0, "every page is given back"


def one_answer(temperature: float, passes: int, fan_out: int = 12, *, lookahead: int = 4) -> tuple[dict[str, float], Beside]:
    link = Beside(draft_model(seed=0), passes=passes)
    engine = engine_beside(TARGET, link, lookahead=lookahead, fan_out=fan_out)
    served(engine, [Request(id=1, prompt_ids=(3, 1, 4), max_tokens=41, temperature=temperature, seed=7)])
    return source_of(engine).counters, link


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_a_draft_that_is_the_target_hits_every_round_but_the_first(temperature: float) -> None:
    counters, _ = one_answer(temperature, passes=-1)
    assert counters["ssd_rounds:miss"] == 1
    assert counters["ssd_tokens:hit"] / counters["ssd_rounds:hit"] > 4.5, "five a round, but at the end"


def test_without_a_budget_nothing_ever_hits() -> None:
    counters, _ = one_answer(0.0, passes=-1, fan_out=0)
    assert counters["ssd_rounds:hit"] == 0
    assert counters["ssd_tokens:miss"] == counters["ssd_rounds:miss"]


def test_without_time_nothing_ever_hits_and_nothing_is_waited_for() -> None:
    counters, _ = one_answer(0.0, passes=0)
    assert counters["ssd_rounds:hit"] == 0


def test_what_time_allows_is_used_and_drafts_are_shorter() -> None:
    """Two passes: glue, and one token of every branch."""
    counters, _ = one_answer(0.0, passes=2)
    assert counters["ssd_rounds:hit"] > 0
    assert 1.5 < counters["ssd_tokens:hit"] / counters["ssd_rounds:hit"] <= 2.0
    more, _ = one_answer(0.0, passes=4)
    assert more["ssd_tokens:hit"] / more["ssd_rounds:hit"] > 2.5


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_a_draft_says_what_the_synchronous_one_would(temperature: float) -> None:
    """What was prepared for an outcome is what the model drafts once that has come: its branch saw the right text."""
    link = Beside(OTHER)
    engine = engine_beside(TARGET, link, lookahead=3, fan_out=16)
    engine.submit(Request(id=1, prompt_ids=(3, 1, 4, 1, 5), max_tokens=40, temperature=temperature, seed=11))
    compared = 0
    while engine.has_work:
        engine.step()
        draftee = link.worker._draftees.get(1)
        if draftee is None or len(draftee.draft) < 2:
            continue
        runner, sampling = runner_of(OTHER), draftee.sampling
        said: list[int] = []
        from speculator.draft_runner import Track
        from speculator.guesses import guesses

        for _ in draftee.draft:
            states = runner.read([(Track(PageTable(runner.page_size, range(30))), [*draftee.tokens, *said])])
            ids = runner.vocabulary.ids
            (best,), _ = guesses(runner.vocabulary.scores(states), [(sampling, draftee.num_output + len(said))], 1, ids)
            said += best
        assert said == draftee.draft
        compared += 1
    assert compared > 3


def test_its_keys_are_those_of_a_fresh_reading() -> None:
    link = Beside(OTHER, passes=3)
    engine = engine_beside(TARGET, link)
    for request in requests(3, 0.8):
        engine.submit(request)
    for _ in range(12):
        if not engine.has_work:
            break
        engine.step()
        for draftee in link.worker._draftees.values():
            track, runner = draftee.track, link.worker._runner
            if not track.num_read:
                continue
            keys = runner._pages.keys[:, :, runner._rows._keys(track, track.num_read)]
            fresh = runner_of(OTHER)
            again = type(track)(PageTable(runner.page_size, range(40)))
            fresh.read([(again, draftee.tokens[: track.num_read])])
            assert torch.allclose(keys, fresh._pages.keys[:, :, fresh._rows._keys(again, track.num_read)], atol=1e-5)


@pytest.mark.parametrize("room", [0, 1, 5, 17])
def test_where_there_is_little_room_behind_a_text_less_is_prepared(room: int) -> None:
    asked = requests(6, 0.0)
    link = Beside(draft_model(seed=0), room=room)
    engine = engine_beside(TARGET, link)
    assert served(engine, asked) == served(plain_engine(target_of(TARGET)), asked)
    counters = source_of(engine).counters
    assert (counters["ssd_rounds:hit"] > 5) == (room > 0)
    assert counters["ssd_failures"] == 0


def test_a_pool_too_small_for_everybody_serves_the_others_plainly() -> None:
    link = Beside(draft_model(seed=0), num_pages=40)  # room for one
    engine = engine_beside(TARGET, link)
    asked = [Request(id=n, prompt_ids=(3, n), max_tokens=20, temperature=0.0) for n in range(3)]
    assert served(engine, asked) == served(plain_engine(target_of(TARGET)), asked)
    assert source_of(engine).counters["ssd_rounds:hit"] > 0
    assert source_of(engine).counters["ssd_rounds:miss"] > 20


def test_a_sequence_that_is_asked_about_before_anything_was_emitted_is_prepared_for_all_the_same() -> None:
    """As after a worker's start: its text is read already, and nothing has come since."""
    link = Beside(draft_model(seed=0))
    link.send(begin := Begin(
        sequence=1, tokens=(3, 1, 4), num_prompt=2, max_tokens=20,
        temperature=0.0, top_p=1.0, top_k=0, min_p=0.0, seed=0, choice=0,
    ))  # fmt: skip
    assert begin.tokens
    drafts = []
    for round in (1, 2, 3):
        link.send(Ask(round=round, rows=(Row(1, ()),), lookahead=3, fan_out=4))
        (reply,) = [each for each in link.receive(0.0) if isinstance(each, Reply)]
        drafts.append(reply.rows[0].tokens)
    link._work()
    draftee = link.worker._draftees[1]
    assert draftee.track.num_read == 3
    assert len(draftee.root.children) == 4
    assert drafts[0] == ()
