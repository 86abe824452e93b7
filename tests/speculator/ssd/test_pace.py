"""Pace: how far and how widely to draft ahead follows from times that are given; and who misses alone gets a draft at once."""

from __future__ import annotations

from typing import Any

import pytest

from serving.engine import FixedBudget
from serving.messages import Request
from speculator.ssd.fanout import FanOut
from speculator.ssd.messages import Ask, Begin, Row
from speculator.ssd.pace import _SLACK, Line, Pace
from tests.serving.rig import VOCAB, plain_engine
from tests.speculator.draft_models import draft_model, target_of
from tests.speculator.ssd.beside import Beside, engine_beside, source_of
from tests.speculator.test_draft_lm import served

TARGET = draft_model(seed=0)


def pace_of(*, verify: float, glue: float, fixed: float, branch: float, acceptance: float = 0.8) -> Pace:
    """Times in milliseconds; a pass over n branches takes fixed + n branch."""
    fan_out = FanOut()
    for number in range(400):
        accepted = 8 if acceptance == 1.0 else min(8, int(acceptance * 10 * ((number * 7) % 10) / 10))
        fan_out.observe(8, accepted, number % 3 if accepted == 8 else (number * 3) % 9)
    pace = Pace(fan_out)
    for _ in range(50):
        pace.verifying.see(verify / 1e3)
        pace.glue.see(glue / 1e3)
        for size in (4, 12, 24):
            pace.level.see(size, (fixed + branch * size) / 1e3)
    return pace


def test_a_line_is_found_and_never_falls() -> None:
    line = Line()
    assert line.at(3) is None
    for x in (1, 5, 9, 20):
        line.see(x, 2.0 + 0.5 * x)
    assert line.at(10) == pytest.approx(7.0)
    single = Line()
    single.see(8, 4.0)
    assert [single.at(x) for x in (2, 8, 16)] == [4.0, 4.0, 8.0], "of what was never seen the worst is assumed"
    falling = Line()
    for x in (1, 5, 9):
        falling.see(x, 10.0 - x)
    assert falling.at(0) == pytest.approx(falling.at(20) or 0.0)


def test_what_is_planned_fits_into_a_verification() -> None:
    for verify in (5.0, 10.0, 20.0, 40.0):
        pace = pace_of(verify=verify, glue=1.0, fixed=1.0, branch=0.05)
        plan = pace.plan(8, 24, 1)
        assert 1.0 + plan.lookahead * (1.0 + 0.05 * plan.fan_out) <= verify
        assert 1 <= plan.lookahead <= 8
        assert 1 <= plan.fan_out <= 24


def test_more_time_is_used_for_longer_drafts_and_more_outcomes() -> None:
    plans = [pace_of(verify=verify, glue=1.0, fixed=1.0, branch=0.05).plan(8, 24, 1) for verify in (4.0, 8.0, 16.0, 32.0)]
    assert [plan.tokens for plan in plans] == sorted(plan.tokens for plan in plans)
    assert plans[0].lookahead < plans[-1].lookahead
    assert plans[-1].fan_out == 24


def test_the_plan_is_the_best_of_all_that_fit() -> None:
    """Against every lookahead and fan-out, tried one by one."""
    pace = pace_of(verify=9.0, glue=1.0, fixed=0.8, branch=0.06)
    best = 1.0
    for lookahead in range(1, 9):
        for fan_out in (4, 8, 12, 16, 24):
            if 1.0 + lookahead * (0.8 + 0.06 * fan_out) <= _SLACK * 9.0:
                hits = pace._fan_out.expected_hits(pace._fan_out.allot(lookahead, fan_out))
                best = max(best, 1.0 + hits * (pace.expected(lookahead) - 1.0))
    assert pace.plan(8, 24, 1).tokens == pytest.approx(best, rel=0.01)


def test_many_sequences_share_the_time() -> None:
    pace = pace_of(verify=10.0, glue=1.0, fixed=1.0, branch=0.05)
    alone, crowd = pace.plan(8, 24, 1), pace.plan(8, 24, 8)
    assert crowd.lookahead * crowd.fan_out < alone.lookahead * alone.fan_out


def test_without_measurements_all_that_is_allowed_is_planned() -> None:
    plan = Pace(FanOut()).plan(5, 7, 1)
    assert (plan.lookahead, plan.fan_out) == (5, 7)
    fixed = Pace(FanOut(), adaptive=False)
    fixed.verifying.see(1e-3)
    fixed.glue.see(5e-3)
    fixed.level.see(4, 1e-2)
    assert (fixed.plan(5, 7, 1).lookahead, fixed.on_the_spot(5, 1, 1.0)) == (5, 0)


def test_drafting_on_the_spot_where_it_pays_and_not_where_it_does_not() -> None:
    dear = pace_of(verify=40.0, glue=1.0, fixed=1.0, branch=0.05)
    assert dear.on_the_spot(8, 1, patience=1.0) >= 2
    cheap = pace_of(verify=1.0, glue=2.0, fixed=2.0, branch=0.05)
    assert cheap.on_the_spot(8, 1, patience=1.0) == 0
    assert dear.on_the_spot(8, 1, patience=0.001) == 0, "nobody waits for it longer than this"
    assert dear.on_the_spot(8, 1, patience=0.006) < dear.on_the_spot(8, 1, patience=1.0)


def test_who_misses_alone_is_drafted_for_at_once() -> None:
    """Nothing is ever foreseen, for want of time; what is drafted while the target waits is what it would have drafted."""
    link = Beside(draft_model(seed=0), passes=0, adaptive=True)
    pace = link.worker._builder.pace
    engine = engine_beside(TARGET, link)
    source = source_of(engine)
    source._patience = 10.0
    asked = [Request(id=1, prompt_ids=(3, 1, 4), max_tokens=41, temperature=0.8, seed=7)]
    for request in asked:
        engine.submit(request)
    said: list[int] = []
    while engine.has_work:
        pace.glue.value = 1e-4  # cheap, whatever this machine takes
        pace.verifying.value = 1.0
        pace.level.see(1, 1e-4)
        for moved in engine.step():
            said += moved.token_ids
    engine.audit()
    assert {1: tuple(said)} == served(plain_engine(target_of(TARGET)), asked)
    assert source.counters["ssd_rounds:hit"] == 0
    assert source.counters["ssd_tokens:miss"] / source.counters["ssd_rounds:miss"] > 3.5
    assert source.gauges["ssd_verify_seconds"] == pytest.approx(1.0, rel=0.2)


def test_nobody_waits_for_the_draft_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of two was foreseen: the other decodes plainly. When neither was, both are drafted for."""
    link = Beside(draft_model(seed=0), adaptive=True)
    worker, vocab = link.worker, range(VOCAB)
    now: list[int] = []
    monkeypatch.setattr(worker._builder, "draft_now", lambda draftees, *rest: now.append(len(draftees)))
    monkeypatch.setattr(worker._builder.pace, "on_the_spot", lambda *given: 3)
    for number in (1, 2):
        worker._begin(Begin(
            sequence=number, tokens=(3, number, 4), num_prompt=2, max_tokens=20,
            temperature=0.0, top_p=1.0, top_k=0, min_p=0.0, seed=0, choice=0,
        ))  # fmt: skip

    def ask(round: int, *emitted: tuple[int, ...]) -> None:
        rows = tuple(Row(number, tokens) for number, tokens in zip((1, 2), emitted, strict=True))
        worker._answer(Ask(round=round, rows=rows, lookahead=3, fan_out=4, patience=1.0))
        link._work()

    def foreseen(number: int, *, right: bool) -> tuple[int, ...]:
        children = worker._draftees[number].root.children
        return (next(token for token in vocab if (token in children) == right),)

    ask(1, (), ())
    assert now == [2]
    ask(2, foreseen(1, right=True), foreseen(2, right=False))
    assert now == [2], "the first was foreseen and waits for nobody"
    ask(3, foreseen(1, right=False), foreseen(2, right=False))
    assert now == [2, 2]


def test_only_the_time_of_one_step_counts_as_a_verification(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not a pause between two answers, nor the steps in which others drafted."""
    link = Beside(draft_model(seed=0))
    asks: list[Ask] = []

    def asked(**fields: Any) -> Ask:
        asks.append(Ask(**fields))
        return asks[-1]

    monkeypatch.setattr("speculator.ssd.speculator.Ask", asked)
    engine = engine_beside(TARGET, link)
    budget = engine.controller
    assert isinstance(budget, FixedBudget)
    for number in range(2):
        engine.submit(Request(id=number, prompt_ids=(3, number), max_tokens=30, temperature=0.0))
        steps = 0
        while engine.has_work:
            budget.sources = frozenset() if steps in (4, 5) else None  # somebody else's turn
            engine.step()
            steps += 1
    rounds = [ask.since > 0 for ask in asks]
    assert rounds.count(False) == 4, "the first of each answer, and after the steps of others"
    assert rounds[0] is False
    assert rounds.count(True) > 4
