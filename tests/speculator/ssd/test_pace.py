"""Pace: how far and how widely to draft ahead follows from times that are given; and who misses alone gets a draft at once."""

from __future__ import annotations

from typing import Any

import pytest

from serving.engine import FixedBudget
from serving.messages import Request
from speculator.ssd.fanout import FanOut
from speculator.ssd.messages import Ask, Begin, Measured, Row
from speculator.ssd.pace import Limits, Line, Pace
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
    assert [single.at(x) for x in (2, 8, 16)] == [2.5, 4.0, 8.0], "with nothing to tell a slope by"
    falling = Line()
    for x in (1, 5, 9):
        falling.see(x, 10.0 - x)
    assert falling.at(0) == pytest.approx(falling.at(20) or 0.0)


REACHES = [0.3, 0.2, 0.1, 0.05, *[0.02] * 10, *[0.001] * 50]
LIMITS = Limits(lookahead=8, fan_out=24)


def rate(width: int, fixed: float, branch: float) -> float:
    """Tokens a millisecond."""
    return sum(REACHES[:width]) / (fixed + branch * width)


@pytest.mark.parametrize(("fixed", "branch"), [(1.0, 0.05), (0.1, 0.5), (5.0, 0.01)])
def test_a_pass_is_as_wide_as_brings_the_most_in_its_time(fixed: float, branch: float) -> None:
    """Against every width, tried one by one."""
    pace = pace_of(verify=40.0, glue=1.0, fixed=fixed, branch=branch)
    width = pace.width(REACHES, LIMITS, 1, made=0, passed=0.0)
    assert rate(width, fixed, branch) == pytest.approx(max(rate(each, fixed, branch) for each in range(1, 25)), rel=1e-6)


def test_what_costs_little_is_read_in_wider_passes() -> None:
    paces = [pace_of(verify=40.0, glue=1.0, fixed=1.0, branch=branch) for branch in (0.5, 0.05, 0.001)]
    widths = [pace.width(REACHES, LIMITS, 1, made=0, passed=0.0) for pace in paces]
    assert widths == sorted(widths)
    assert widths[0] < widths[1] <= 14 < widths[2] <= 24


def test_no_pass_is_made_for_what_hardly_ever_comes() -> None:
    pace = pace_of(verify=40.0, glue=1.0, fixed=1.0, branch=0.05)
    assert pace.width([0.001] * 24, LIMITS, 1, made=0, passed=0.0) == 0
    assert pace.width([0.01] * 24, LIMITS, 1, made=0, passed=0.0) > 0
    assert pace.width([0.01] * 24, LIMITS, 24, made=0, passed=0.0) == 0, "for so many sequences it is next to nothing"
    assert pace.width([], LIMITS, 1, made=0, passed=0.0) == 0


def test_a_pass_that_the_next_question_would_wait_for_is_not_begun() -> None:
    pace = pace_of(verify=20.0, glue=1.0, fixed=1.0, branch=0.1)

    def width(passed: float, made: int = 3) -> int:
        return pace.width([0.1] * 24, LIMITS, 1, made=made, passed=passed / 1e3)

    assert [width(passed) for passed in (0.0, 14.5, 15.6, 16.5, 17.5)] == [24, 24, 14, 5, 0]
    assert width(1.0, made=100) == 24, "as many passes as there is time for"


def test_where_no_pass_fits_one_is_tried_now_and_then() -> None:
    """Else a hiccup that was taken for the rule would be so for good."""
    pace = pace_of(verify=2.0, glue=1.0, fixed=3.0, branch=0.1)
    widths = [pace.width([0.3] * 24, LIMITS, 2, made=0, passed=0.001) for _ in range(160)]
    assert sorted(set(widths)) == [0, 2]
    assert sum(widths) == 2 * 10
    assert not any(pace.width([0.3] * 24, LIMITS, 2, made=1, passed=0.001) for _ in range(160))


def test_without_measurements_all_that_is_allowed_is_prepared() -> None:
    fixed = Pace(FanOut(), adaptive=False)
    fixed.verifying.see(1e-3)
    fixed.glue.see(5e-3)
    fixed.level.see(4, 1e-2)
    for pace in (Pace(FanOut()), fixed):
        assert [pace.width(REACHES, LIMITS, 2, made=made, passed=1.0) for made in (0, 7, 8)] == [48, 48, 0]
        assert pace.on_the_spot(5, 1, 1.0) == 0


def test_a_pass_that_was_held_up_changes_little() -> None:
    """A processor that was taken away for a while is no reason to read one branch a pass for good."""
    pace = pace_of(verify=40.0, glue=1.0, fixed=1.0, branch=0.1)
    before = pace.width(REACHES, LIMITS, 1, made=1, passed=0.0)
    pace.see_pass(1, 20, 1.0)
    assert pace.width(REACHES, LIMITS, 1, made=1, passed=0.0) >= before / 2
    narrow = Pace(FanOut())
    for _ in range(500):  # nothing but single branches was read lately
        narrow.verifying.see(0.04)
        narrow.see_pass(1, 1, 0.002)
    widths = {narrow.width(REACHES, LIMITS, 1, made=0, passed=0.0) for _ in range(64)}
    assert max(widths) > 1, "now and then it finds out what a wider one takes"


def test_for_many_sequences_a_pass_is_as_wide_as_makes_it_worth_while() -> None:
    pace = pace_of(verify=40.0, glue=1.0, fixed=1.0, branch=0.25)
    reaches = [0.3, 0.3, *[0.05] * 100]
    width = pace.width(reaches, LIMITS, 32, made=1, passed=0.0)
    assert sum(reaches[: width - 1]) < 0.96 <= sum(reaches[:width])


def test_what_rounds_come_to_is_told() -> None:
    pace = Pace(FanOut())
    assert pace.measured() == Measured()
    pace = pace_of(verify=20.0, glue=1.0, fixed=1.0, branch=0.1)
    for number in range(60):
        pace.see_pass(number % 6, 20, 0.003)
        pace.see_round(6, 20.0, 0.75)
    told = pace.measured()
    assert (told.passes, told.fan_out, told.expected_hits) == (6, pytest.approx(20.0), pytest.approx(0.75))
    assert (told.verify_seconds, told.glue_seconds) == (pytest.approx(0.02), pytest.approx(0.001))
    assert told.pass_seconds == pytest.approx(0.003)


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
