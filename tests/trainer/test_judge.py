"""The judge: the same answers under both, grouped by conversation, the champion's half worked out once."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from kernels.gumbel import gumbel
from models.heads import MedusaHeads
from pipelines.checkpoint import TrafficSpan
from pipelines.trace import SamplingRecord
from speculator.batch import Sampling
from speculator.drafts import Tree
from speculator.heads import Root
from speculator.records import sampling_of
from speculator.simulate import simulate
from speculator.static_heads import heads_source
from tests.trainer.scripted import VOCAB, ScriptedDecoder, following, taught, trace, untrained_heads
from trainer.champion import Champion
from trainer.heads_drafter import HeadsDrafter
from trainer.judge import Judge
from trainer.kept import Kept
from trainer.sizing import Sizing
from trainer.slicing import finish
from trainer.teacher import LessonCache, ReplayTeacher

CPU = torch.device("cpu")


class Counting:
    """The unembedding, counting the rows it is asked for."""

    def __init__(self) -> None:
        self.num_rows = 0

    def __call__(self, states: Tensor) -> Tensor:
        self.num_rows += len(states)
        return ScriptedDecoder().logits(states)


Maker = Callable[[MedusaHeads], HeadsDrafter]


def drafting(unembed: Callable[[Tensor], Tensor], budget: int = 3, first: int = 32) -> Maker:
    """What puts heads to work."""
    known = lessons()
    return lambda heads: HeadsDrafter(heads, known, unembed, budget=budget, sizing=Sizing(1.0, first=first))


def lessons() -> LessonCache:
    return LessonCache(ReplayTeacher(taught().decoder, Sizing(1.0, first=64)), 1 << 20)


def judge_of(drafter_of: Maker) -> Judge:
    return Judge(lambda standing: drafter_of(rebuilt(standing)))


def rebuilt(standing: Champion) -> MedusaHeads:
    heads = MedusaHeads.from_config(standing.config)
    heads.copy_weights(standing.weights)
    return heads


def knowing(depth: int) -> MedusaHeads:
    """Heads of which the first `depth` know the chain."""
    heads = MedusaHeads(VOCAB, 3, 1, VOCAB)
    with torch.no_grad():
        for head in range(depth):
            for token in range(VOCAB):
                ahead = token
                for _ in range(head + 1):
                    ahead = following(ahead)
                heads.weight[0, head, token, ahead] = 6.0
    return heads


def champion(depth: int) -> Champion:
    heads = knowing(depth)
    return Champion(f"knows-{depth}", heads.config, dict(heads.named_parameters()), TrafficSpan())


def chain(number: int, **changes: object) -> Kept:
    """An answer of 13 tokens that follows the chain to the letter."""
    tokens = [number % VOCAB]
    while len(tokens) < 15:
        tokens.append(following(tokens[-1]))
    return Kept.of(number, trace(number, prompt_ids=tuple(tokens[:2]), output_ids=tuple(tokens[2:]), **changes))


def test_steps_follow_from_what_the_heads_know() -> None:
    at_work = drafting(Counting())
    [score] = finish(judge_of(at_work).scores([chain(1)], champion(0), at_work(knowing(3))))
    assert score.num_tokens == 12
    assert score.champion_steps == 12
    assert score.candidate_steps == 3, "three drafted and one of the target's own in each step"


@pytest.mark.parametrize("kind", ["medusa", "hydra"])
def test_the_steps_are_those_of_serving_the_answer_with_these_heads(kind: str) -> None:
    """Of either kind, judged by the same code; random weights."""
    heads, decoder = untrained_heads(kind), taught().decoder
    with torch.no_grad():
        for weight in heads.parameters():
            weight.copy_(2 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)).bfloat16())
    at_work = HeadsDrafter(heads, lessons(), taught().unembed, budget=5, sizing=Sizing(1.0, first=5))
    source = heads_source(heads, decoder.logits, name=kind, version="")
    for number in range(20):
        answer = Kept.of(number, trace(number))
        hidden = decoder.hidden_states(torch.tensor(answer.tokens))
        sampling = sampling_of(answer.trace.sampling)

        def draft(root: int, text: Kept = answer, hidden: Tensor = hidden, sampling: Sampling = sampling) -> Tree:
            """Four tokens are the prompt; the state before the root chose it."""
            [tree] = source.trees(hidden[root - 1 : root], [Root(text.tokens[root], (sampling, root - 4 + 1), 5, 3)])
            return tree

        assert finish(at_work.steps(answer)) == simulate(answer.tokens, 4, draft)


def test_what_the_noise_decides_is_foreseen_where_it_was_drawn() -> None:
    """A target that holds all tokens equally likely: its answer is the noise alone, each token that of its own position."""

    def indifferent(states: Tensor) -> Tensor:
        return torch.zeros(*states.shape[:-1], VOCAB)

    sampling = SamplingRecord(temperature=1.0, top_p=1.0, top_k=0, min_p=0.0, seed=77, choice=1, max_tokens=13)
    drawn = tuple(int(gumbel(77, 1, position, VOCAB, CPU).argmax()) for position in range(13))
    at_work = drafting(indifferent, budget=9, first=5)
    answer = Kept.of(1, trace(1, prompt_ids=(1, 2), output_ids=drawn, sampling=sampling))
    [score] = finish(judge_of(at_work).scores([answer], champion(0), at_work(knowing(0))))
    assert (score.num_tokens, score.candidate_steps) == (12, 3), "three drafted and one of the target's own in each step"


def test_all_turns_of_a_conversation_make_one_score() -> None:
    traces = [chain(number, conversation="a" if number < 3 else "b", domain="d") for number in range(1, 5)]
    at_work = drafting(Counting())
    scores = finish(judge_of(at_work).scores(traces, champion(0), at_work(knowing(1))))
    assert [score.num_tokens for score in scores] == [24, 24]
    assert {score.domain for score in scores} == {"d"}


def test_what_is_prepared_is_not_done_again() -> None:
    traces = [chain(number) for number in range(1, 4)]
    known, plain = Counting(), Counting()
    at_work, afresh, standing = drafting(known), drafting(plain), champion(1)
    judge = judge_of(at_work)
    for _ in traces:
        finish(judge.prepare(traces, standing))
    finish(judge.prepare(traces, standing))  # nothing is left to prepare
    prepared = known.num_rows
    scores = finish(judge.scores(traces, standing, at_work(knowing(3))))
    assert scores == finish(judge_of(afresh).scores(traces, standing, afresh(knowing(3))))
    assert known.num_rows == plain.num_rows
    assert prepared == known.num_rows / 2


def test_a_new_champion_is_worked_out_anew() -> None:
    at_work = drafting(Counting())
    judge = judge_of(at_work)
    [before] = finish(judge.scores([chain(1)], champion(0), at_work(knowing(0))))
    [after] = finish(judge.scores([chain(1)], champion(3), at_work(knowing(0))))
    assert (before.champion_steps, after.champion_steps) == (12, 3)


@pytest.mark.parametrize("budget", [1, 2, 3])
def test_the_budget_bounds_what_is_drafted(budget: int) -> None:
    at_work = drafting(Counting(), budget=budget)
    [score] = finish(judge_of(at_work).scores([chain(1)], champion(0), at_work(knowing(3))))
    assert score.candidate_steps == 12 / (budget + 1)
