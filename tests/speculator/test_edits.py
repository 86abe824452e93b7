"""Edits: parity with transformers, and the law of rejection sampling under penalties, enumerated exactly."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor

from pipelines.trace import Edits, SamplingRecord
from speculator.batch import Sampling
from speculator.drafts import Drafts
from speculator.edits import BadWords, LeastLength, Penalties, processors_of
from speculator.processor import Processor, edited
from speculator.records import record_of, sampling_of
from speculator.verify import verify
from tests.speculator.enumeration import Fate, FatefulChooser, law_of
from tests.speculator.test_exact_law import distance
from tests.speculator.test_rejection import LENGTH, VOCAB, Law, Text, drawn_tree
from tests.speculator.toys import ToyTarget

PENALTIES = Edits(repetition_penalty=1.7, presence_penalty=0.4, frequency_penalty=0.9)
WORDS = Edits(bad_words=((0, 1), (2, 2), (1, 2, 0), (1, 0, 2)))


@pytest.mark.parametrize("penalty", [0.6, 1.2, 3.0])
def test_the_repetition_penalty_is_that_of_transformers(penalty: float) -> None:
    from transformers import RepetitionPenaltyLogitsProcessor

    generator = torch.Generator().manual_seed(4)
    text = torch.randint(0, 60, (40,), generator=generator)
    processor = Penalties(Edits(repetition_penalty=penalty), text[:15].tolist())
    for at in range(15, 40):
        scores = torch.randn(60, generator=generator)
        expected = RepetitionPenaltyLogitsProcessor(penalty)(text[None, :at], scores[None].clone())[0]
        assert torch.equal(edited(scores, [processor]), expected)
        processor.accept(int(text[at]))


def test_bad_words_are_those_of_transformers() -> None:
    from transformers import NoBadWordsLogitsProcessor

    generator = torch.Generator().manual_seed(4)
    text = torch.randint(0, 4, (60,), generator=generator)
    words = [[3], [0, 1], [2, 2], [1, 0, 2], [0, 1, 0, 5], [1, 5, 1]]
    processor, reference = BadWords(words), NoBadWordsLogitsProcessor(words, eos_token_id=None)
    excluded = []
    for at in range(1, 60):
        processor.accept(int(text[at - 1]))
        scores = torch.randn(6, generator=generator)
        expected = reference(text[None, :at], scores[None].clone())[0]
        assert torch.equal(edited(scores, [processor]), expected)
        excluded.append(int(expected.isinf().sum()))
    assert set(excluded) == {1, 2, 3}


def test_what_was_not_said_yet_completes_no_word() -> None:
    processor = BadWords([(0, 1), (1, 0, 1)])
    assert torch.isfinite(edited(torch.zeros(2), [processor])).all(), "the prompt is no part of the answer"
    processor.accept(0)
    assert torch.isfinite(edited(torch.zeros(2), [processor])).tolist() == [True, False]


def test_the_scores_that_were_handed_in_are_left_alone() -> None:
    sampling = Sampling(
        stop_ids=frozenset({1}),
        edits=Edits(repetition_penalty=2.0, logit_bias=((0, 1.0),), min_tokens=2, allowed_token_ids=(0, 1, 2)),
    )
    scores = torch.arange(5.0)
    assert torch.isfinite(edited(scores, processors_of(sampling, [0, 2]))).tolist() == [True, False, True, False, False]
    assert torch.equal(scores, torch.arange(5.0))


def test_what_asks_for_nothing_costs_nothing() -> None:
    assert processors_of(Sampling(stop_ids=frozenset({3})), [1, 2]) == ()
    assert processors_of(Sampling(edits=Edits(min_tokens=5)), [1, 2]) == (), "there is nothing to rule out"


def test_the_least_length_holds_for_so_many_tokens() -> None:
    processor = LeastLength(2, {0})
    for expected in (False, False, True, True):
        assert bool(torch.isfinite(edited(torch.zeros(2), [processor])[0])) is expected
        processor.accept(1)


def test_a_trace_keeps_all_that_the_choice_is_made_from() -> None:
    sampling = Sampling(0.5, 0.9, 3, 0.1, 7, 2, 30, frozenset({4, 2}), edits=PENALTIES)
    assert sampling_of(record_of(sampling)) == sampling
    assert record_of(Sampling()) == SamplingRecord(temperature=1.0, top_p=1.0, top_k=0, min_p=0.0, seed=0, max_tokens=16)


class Stale:
    """A wrong processor, which sees what was emitted only between steps."""

    def __init__(self, inner: Processor) -> None:
        self._inner = inner
        self._late: list[int] = []

    def edit(self, scores: Tensor) -> Tensor:
        return self._inner.edit(scores)

    def accept(self, token: int) -> None:
        self._late.append(token)

    def step(self) -> None:
        for token in self._late:
            self._inner.accept(token)
        self._late.clear()


def served_law(
    target: ToyTarget, drafter: ToyTarget, shape: list[int], stale: bool = False, edits: Edits = PENALTIES
) -> Law:
    def run(fate: Fate) -> Text:
        text: Text = (0,)
        sampling = Sampling(temperature=1.0, edits=edits)
        processors = processors_of(sampling, text)
        while len(text) <= LENGTH:
            tree = drawn_tree(fate, drafter, text, shape)
            late = [Stale(each) for each in processors]
            used = late if stale else processors
            chooser = partial(FatefulChooser, fate)
            text += verify(Drafts.pack([tree]), target.scores(text, tree), [sampling], [0], chooser, [used]).emitted[0]
            for each in late:
                each.step()
        return text[1 : 1 + LENGTH]

    return law_of(run)


def plain_law(target: ToyTarget) -> Law:
    def run(fate: Fate) -> Text:
        text: Text = (0,)
        while len(text) <= LENGTH:
            scores = target.logits(text).double()
            for token in range(VOCAB):
                if token in text:
                    scores[token] *= 1 / 1.7 if scores[token] > 0 else 1.7
                count = text[1:].count(token)
                scores[token] -= 0.9 * count + 0.4 * (count > 0)
            text += (fate.pick(scores.softmax(-1).tolist()),)
        return text[1:]

    return law_of(run)


@pytest.mark.parametrize("shape", [[], [1], [1, 1], [2, 1]])
def test_the_joint_law_is_the_edited_targets(shape: list[int]) -> None:
    target, drafter = ToyTarget(VOCAB, 0), ToyTarget(VOCAB, 100)
    assert distance(served_law(target, drafter, shape), plain_law(target)) < 1e-6  # scores are float32


def test_penalties_that_lag_behind_the_draft_are_found_out() -> None:
    target, drafter = ToyTarget(VOCAB, 0), ToyTarget(VOCAB, 100)
    assert distance(served_law(target, drafter, [1, 1], stale=True), plain_law(target)) > 0.01


def worded_law(target: ToyTarget) -> Law:
    """Token by token, each word looked for in what was said."""

    def run(fate: Fate) -> Text:
        text: Text = (0,)
        while len(text) <= LENGTH:
            scores = target.logits(text).double()
            for word in WORDS.bad_words:
                if (*text[1:], word[-1])[-len(word) :] == word:
                    scores[word[-1]] = -torch.inf
            text += (fate.pick(scores.softmax(-1).tolist()),)
        return text[1:]

    return law_of(run)


@pytest.mark.parametrize("shape", [[], [1], [1, 1], [2, 1]])
def test_the_joint_law_under_bad_words_is_the_edited_targets(shape: list[int]) -> None:
    target, drafter = ToyTarget(VOCAB, 0), ToyTarget(VOCAB, 100)
    expected = worded_law(target)
    assert distance(served_law(target, drafter, shape, edits=WORDS), expected) < 1e-6
    assert len(expected) < 20, "of 27 texts many hold one"
    if len(shape) > 1:
        assert distance(served_law(target, drafter, shape, stale=True, edits=WORDS), expected) > 0.01
