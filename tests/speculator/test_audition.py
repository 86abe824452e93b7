"""Every arm is known by what it would have brought, for a small share of the time."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from pipelines.trace import TYPICAL
from speculator.audition import NODES, Audition
from speculator.batch import Batch, Sampling, Sequence
from speculator.belief import Belief
from speculator.calibration import Calibration
from speculator.cost import StepCosts
from speculator.drafts import Drafts, Tree
from speculator.outlook import Outlook, Promise
from speculator.protocol import Budget
from speculator.shadow import Shadow
from speculator.verify import Verdicts
from tests.speculator.worlds import ChainSource, Clock, pass_seconds

GOOD, BAD = frozenset({"good"}), frozenset({"bad"})
BOTH = GOOD | BAD


def sequence(number: int = 0) -> Sequence:
    return Sequence(number, "t", [1, 1], 1, Sampling(max_tokens=10**6))


class DrawnSource(ChainSource):
    """Draws chains longer than a tree that is scored need be; they are kept whole."""

    length = NODES + 8

    def propose(self, batch: Batch, budget: Budget) -> Drafts:
        self.clock.now += self.seconds
        trees = []
        for _ in batch.decoding:
            tree = Tree.rooted(1)
            for depth in range(self.length):
                tree.beliefs[depth] = Belief((1,), (1.0,))
                tree.add(depth, 1, 1.0, 1)
            trees.append(tree)
        return Drafts.pack(trees, (self.name,))


class Rig:
    """Two sources, one always right and one never, and what is heard of them."""

    def __init__(self, slow: float = 1e-4) -> None:
        self.clock, self.shadow, self.costs = Clock(), Shadow(every=1), StepCosts()
        self.costs.profile(lambda num_sequences, rows: pass_seconds(rows))
        chance = random.Random(0)
        self.sources = [
            ChainSource("good", lambda step: 1.0, 1e-4, self.clock, chance),
            ChainSource("bad", lambda step: 0.0, slow, self.clock, chance),
        ]
        self.calibration = Calibration(2)
        self.audition = Audition(self.sources, self.calibration, self.costs, self.shadow, max_tree=16, clock=self.clock)

    def step(self, batch: Batch, arm: frozenset[str]) -> list[Promise]:
        """All ones are said, eight for each sequence, in two milliseconds; what was scored."""
        self.audition.hear(batch, Budget(4, arms=(GOOD, BAD, BOTH)), arm)
        self.clock.now += 2e-3
        said = ((1,) * 8,) * len(batch.decoding)
        self.audition.observe(batch, Verdicts(((),) * len(said), said), frozenset())
        for each in batch.decoding:
            each.tokens += said[0]
            self.shadow.settle(each, ended=False)
        return [news for news in self.shadow.news() if isinstance(news, Promise)]


def test_every_arm_is_scored_on_what_was_said_whoever_drafted() -> None:
    rig = Rig()
    for _ in range(60):
        scored = {each.arm: each for each in rig.step(Batch((sequence(),)), BOTH)}
    assert scored.keys() == {GOOD, BAD, BOTH}
    assert scored[GOOD].tokens == scored[BOTH].tokens == 6, "five drafted and one of its own"
    assert scored[BAD].tokens == 1
    assert scored[GOOD].expected > 5.0, "calibrated by what was heard for the score alone"
    assert scored[BAD].expected < 1.5
    assert scored[GOOD].steps < scored[BOTH].steps, "the other's drafts take time"


def test_a_source_that_does_not_draft_is_heard_for_a_hundredth_of_the_time() -> None:
    rig = Rig(slow=4e-3)
    batch = Batch((sequence(),))
    for _ in range(3000):
        rig.step(batch, GOOD)
    took = rig.sources[1].asked * 4e-3
    assert rig.sources[1].asked > 5
    assert took < 0.0125 * rig.clock.now
    assert rig.sources[0].asked == 3000


def test_all_that_is_heard_together_takes_a_fiftieth_of_the_time() -> None:
    rig = Rig(slow=4e-3)
    batch, took = Batch((sequence(),)), 0.0
    for _ in range(3000):
        if rig.audition.affordable():
            before = rig.clock.now
            rig.audition.hear(batch, Budget(4, arms=(GOOD, BAD, BOTH)), BOTH)
            took += rig.clock.now - before
        rig.clock.now += 2e-3
    assert 0.015 * rig.clock.now < took < 0.025 * rig.clock.now


def test_nobody_is_calibrated_on_the_text_of_a_lossy_answer() -> None:
    rig, untold = Rig(), Calibration(2)
    lossy = sequence()
    lossy.sampling = replace(lossy.sampling, lossy=TYPICAL)
    for _ in range(30):
        assert not rig.step(Batch((lossy,)), BOTH)
    assert rig.sources[0].asked == 30
    assert rig.calibration.factors == untold.factors
    rig.step(Batch((sequence(),)), BOTH)
    assert rig.calibration.factors != untold.factors


def test_a_static_copy_is_not_heard_beside_the_one_that_has_learnt_nothing_yet() -> None:
    rig = Rig()
    copy = rig.sources[1]
    rig.sources[0].name, copy.name = "medusa", "medusa-static"
    learning, static = (frozenset({source.name}) for source in rig.sources)
    batch = Batch((sequence(),))

    def scored() -> dict[frozenset[str], int]:
        found: dict[frozenset[str], int] = {}
        for _ in range(100):
            rig.audition.hear(batch, Budget(4, arms=(learning, static)), learning)
            rig.clock.now += 2e-3
            rig.audition.observe(batch, Verdicts(((),), ((1,) * 8,)), frozenset())
            batch.decoding[0].tokens += (1,) * 8
            rig.shadow.settle(batch.decoding[0], ended=False)
            found |= {news.arm: news.tokens for news in rig.shadow.news() if isinstance(news, Promise)}
        return found

    assert scored() == {learning: 6, static: 6}
    assert copy.asked == 0
    rig.sources[0].version = "learnt"
    assert scored() == {learning: 6, static: 1}
    assert copy.asked > 0


def test_an_arm_is_scored_only_where_all_of_its_sources_were_heard() -> None:
    rig = Rig(slow=4e-3)
    batch = Batch((sequence(),))
    scored = [each.arm for _ in range(300) for each in rig.step(batch, GOOD)]
    assert scored.count(GOOD) == 300
    assert scored.count(BAD) == scored.count(BOTH) == rig.sources[1].asked


def test_of_a_crowd_two_are_scored_at_the_crowds_price() -> None:
    rig = Rig()
    crowd = Batch(tuple(sequence(number) for number in range(16)))
    for _ in range(8):
        scored = rig.step(crowd, BOTH)
    assert {each.num_sequences for each in scored} == {16}
    assert len(scored) == 2 * 3
    alone = rig.step(Batch((sequence(99),)), BOTH)
    assert next(each for each in scored if each.arm == GOOD).steps > next(each for each in alone if each.arm == GOOD).steps


def test_a_drawn_tree_larger_than_need_be_is_scored_at_the_price_of_all_of_it() -> None:
    rig = Rig()
    rig.sources = [DrawnSource("good", lambda step: 1.0, 1e-9, rig.clock, random.Random(0))]
    rig.audition = Audition(rig.sources, rig.calibration, rig.costs, rig.shadow, max_tree=64, clock=rig.clock)
    telling = sequence()
    for _ in range(4):
        scored = rig.step(Batch((telling,)), GOOD)
    assert [each.arm for each in scored] == [GOOD]
    assert scored[0].tokens == 1 + DrawnSource.length
    assert scored[0].steps == pytest.approx(pass_seconds(1 + DrawnSource.length) / pass_seconds(1), rel=1e-3)


def test_a_share_of_a_crowds_step_is_a_sixteenth_of_it() -> None:
    costs = StepCosts()
    costs.profile(lambda num_sequences, rows: pass_seconds(rows))
    price = costs.each(16, NODES)
    assert price[0] == pytest.approx(pass_seconds(16) / 16)
    assert price[2] == pytest.approx(pass_seconds(48) / 16)


def test_an_outlook_follows_promises_at_once_and_corrects_them_by_what_came_of_them() -> None:
    outlook = Outlook()
    for _ in range(300):
        outlook.take(Promise(GOOD, 1, False, expected=4.0, tokens=2, steps=1.0))
    assert outlook.gain == pytest.approx(2.0, rel=0.1)
    for _ in range(30):
        outlook.take(Promise(GOOD, 1, False, expected=2.0, tokens=1, steps=1.0))
    assert outlook.gain == pytest.approx(1.0, rel=0.35)
