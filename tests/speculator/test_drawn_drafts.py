"""The draft model's drafts under the laws that draw them: enumerated through the source itself, and served by an engine."""

from __future__ import annotations

from functools import partial

import pytest

from serving.engine import Engine, FixedBudget
from speculator.batch import Batch, Sampling, Sequence
from speculator.belief import Belief
from speculator.controller import Controller
from speculator.cost import StepCosts
from speculator.draft_lm import DraftModelSpeculator
from speculator.drafts import Law
from speculator.merged import MergedSpeculator
from speculator.protocol import Budget
from speculator.suffix import SuffixSpeculator
from speculator.verify import verify
from tests.serving.rig import plain_engine, tiny_scheduler
from tests.serving.test_engine_exactness import request
from tests.speculator.draft_models import draft_model, runner_of, target_of
from tests.speculator.enumeration import Fate, FatefulChooser, drawing, law_of
from tests.speculator.ssd.beside import Beside, engine_beside, source_of
from tests.speculator.ssd.toy import Text, ToyRunner
from tests.speculator.test_draft_lm import requests, served
from tests.speculator.test_exact_law import distance
from tests.speculator.toys import ToyTarget
from tests.speculator.worlds import pass_seconds

TARGET = draft_model(seed=0)
DRAWN = [Law.CHAIN_REJECTION, Law.WITHOUT_REPLACEMENT]
LENGTH = 3


@pytest.mark.parametrize(("law", "nodes"), [(Law.CHAIN_REJECTION, 1), (Law.CHAIN_REJECTION, 2), (Law.WITHOUT_REPLACEMENT, 3)])
@pytest.mark.parametrize("merged", [False, True])
def test_the_law_is_the_targets(monkeypatch: pytest.MonkeyPatch, law: Law, nodes: int, merged: bool) -> None:
    """Alone and merged with a source whose drafts are not drawn, which leaves them as they are."""
    target, drafter = ToyTarget(3, 0), ToyTarget(3, 1)

    def run(fate: Fate) -> Text:
        monkeypatch.setattr("speculator.draft_lm.draw", drawing(fate))
        own = DraftModelSpeculator(ToyRunner(drafter), version="v", depth=2, width=1, law=law)  # type: ignore[arg-type]
        source = MergedSpeculator([own, SuffixSpeculator()], max_tree=8) if merged else own
        sequence = Sequence(1, "default", [0, 1], 1, Sampling(temperature=1.0, max_tokens=50))
        source.begin(sequence)
        while sequence.num_output <= LENGTH:
            batch = Batch((sequence,))
            drafts = source.propose(batch, Budget(nodes))
            assert drafts.num_drafted == nodes
            scores = target.scores(sequence.tokens, drafts.tree(0))
            verdicts = verify(drafts, scores, [sequence.sampling], [sequence.num_output], partial(FatefulChooser, fate))
            sequence.tokens += verdicts.emitted[0]
            source.observe(batch, drafts, verdicts)
        return tuple(sequence.tokens[2 : 2 + LENGTH])

    def plainly(fate: Fate) -> Text:
        text: Text = (0, 1)
        while len(text) < 2 + LENGTH:
            text += (fate.pick(target.probs(text)),)
        return text[2:]

    assert distance(law_of(run), law_of(plainly)) < 1e-12


@pytest.mark.parametrize("law", DRAWN)
@pytest.mark.parametrize("beside", [False, True])
def test_greedy_answers_are_plain_decodings_and_sampled_ones_are_drawn(law: Law, beside: bool) -> None:
    target, draft = target_of(TARGET), draft_model(seed=5)
    if beside:
        link = Beside(draft, law=law, saguaro=0.5)
        engine = engine_beside(TARGET, link)
    else:
        source = DraftModelSpeculator(runner_of(draft), version="v", max_tree=12, depth=4, law=law)
        engine = Engine(target, tiny_scheduler(target, max_running=4), MergedSpeculator([source], max_tree=12), FixedBudget(8))
    for temperature in (0.0, 0.8):
        asked = requests(10, temperature)
        said, plain = served(engine, asked), served(plain_engine(target_of(TARGET)), asked)
        assert {number: len(tokens) for number, tokens in said.items()} == {number: len(each) for number, each in plain.items()}
        assert (said == plain) == (temperature == 0.0), "drawn drafts that are accepted are not plain decoding's choices"
    assert engine.stats.counters["accepted_tokens"] > 0


@pytest.mark.parametrize("beside", [False, True])
def test_a_draft_that_is_the_target_is_always_accepted(beside: bool) -> None:
    """Its belief is the target's own law, but for what is cut off."""
    if beside:
        engine = engine_beside(TARGET, Beside(draft_model(seed=0), law=Law.CHAIN_REJECTION))
    else:
        target = target_of(TARGET)
        source = DraftModelSpeculator(runner_of(draft_model(seed=0)), version="v", max_tree=12, depth=4, law=Law.CHAIN_REJECTION)
        engine = Engine(target, tiny_scheduler(target, max_running=4), MergedSpeculator([source], max_tree=12), FixedBudget(4))
    served(engine, requests(10, 0.8))
    counters = engine.stats.counters
    assert counters["accepted_tokens"] == counters["draft_tokens"] > 30


def test_a_worker_whose_beliefs_cannot_be_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Belief, "dampened", lambda self, count, factor: Belief(self.tokens, tuple(2 * p for p in self.probs)))
    engine = engine_beside(TARGET, Beside(draft_model(seed=5), law=Law.CHAIN_REJECTION))
    asked = requests(3, 0.8)
    assert served(engine, asked) == served(plain_engine(target_of(TARGET)), asked), "nothing that it drafted was used"
    assert source_of(engine).counters["ssd_failures"] >= 1


def test_in_a_crowd_where_every_answer_gets_a_node_more_may_be_drawn_than_the_budget_has_prices_for() -> None:
    costs, target = StepCosts(), target_of(TARGET, num_pages=512)
    costs.profile(lambda num_sequences, rows: pass_seconds(rows))
    draft = runner_of(draft_model(seed=0), num_pages=512)
    source = DraftModelSpeculator(draft, version="v", max_tree=12, depth=4, law=Law.CHAIN_REJECTION)
    merged, controller = MergedSpeculator([source], costs=costs, max_tree=12), Controller(["draft-lm"], costs=costs)
    engine = Engine(target, tiny_scheduler(target, max_running=16), merged, controller)
    asked = [request(number, 0.8, 5, max_tokens=60) for number in range(16)]
    said = served(engine, asked)
    assert all(len(tokens) == 60 for tokens in said.values())
    assert engine.stats.counters["draft_tokens"] > 16, "the first step of a trial drafts for all sixteen"
