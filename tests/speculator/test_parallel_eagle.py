"""A parallel layer: all depths come from one pass, as they were taught, and trees and chains are made of them alone."""

from __future__ import annotations

import random
from collections.abc import Sequence as SequenceOf
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from kernels.gumbel import gumbel
from models.pages import PageTable
from speculator.batch import Batch, Sampling, Sequence
from speculator.draft_runner import Track
from speculator.drafts import Law, Tree
from speculator.eagle import EagleSpeculator
from speculator.guesses import guesses
from speculator.parallel_eagle import ParallelEagleSpeculator
from speculator.protocol import Budget
from speculator.static_eagle import eagle_source
from speculator.verify import verify
from tests.serving.rig import VOCAB
from tests.speculator.eagle_layers import (
    DECODER,
    NUM_PAGES,
    PAGE_SIZE,
    decoding,
    eagle_layer,
    features_of,
    runner_of,
    source_of,
    taught,
    text_of,
)
from tests.speculator.enumeration import Fate, FatefulChooser, drawing, law_of
from tests.speculator.ssd.toy import Text, ToyRunner
from tests.speculator.test_exact_law import distance
from tests.speculator.toys import ToyTarget

LAYER = eagle_layer(parallel=True)
GREEDY, SAMPLED = Sampling(temperature=0.0, max_tokens=40), Sampling(temperature=0.8, seed=11, choice=2, max_tokens=40)
DEPTH = 5


@pytest.mark.parametrize("pages", [list(range(24)), [3 * each % 64 for each in range(24)]], ids=["in one piece", "scattered"])
def test_every_depth_of_one_pass_is_as_it_was_taught(pages: list[int]) -> None:
    """Whatever was drafted before: in training the rows of a text stand where in serving nothing is known."""
    for seed in range(8):
        chance = random.Random(seed)
        runner, text = runner_of(LAYER), text_of(chance, chance.randint(1, 30))
        features, track = features_of(LAYER, text), Track(PageTable(PAGE_SIZE, pages))
        cut = chance.randint(0, len(text) - 1)
        if cut:  # masks of an earlier draft lay where the text is read on
            runner.read_ahead([(track, text[:cut])], features[:cut], [DEPTH - 1])
        served = runner._steps.states(runner.read_ahead([(track, text[cut:])], features[cut:], [DEPTH - 1]))
        assert track.num_read == len(text)
        for depth, state in enumerate(served):
            expected = taught(LAYER, text, text_of(chance, depth), padding=chance.randint(0, 9))
            # rounding is below 2e-5, a wrong key or position of order 0.1
            torch.testing.assert_close(state, expected, atol=1e-3, rtol=1e-3)


def test_texts_read_together_have_masks_of_their_own_and_as_many_as_they_ask_for() -> None:
    chance, runner = random.Random(3), runner_of(LAYER)
    texts = [text_of(chance, length) for length in (9, 1, 14, 6)]
    tracks = [Track(PageTable(PAGE_SIZE, range(10 * at, 10 * at + 10))) for at in range(len(texts))]
    features = torch.cat([features_of(LAYER, text) for text in texts])
    masks = [2, 4, 0, 3]
    together = runner.read_ahead(list(zip(tracks, texts, strict=True)), features, masks).split([1 + count for count in masks])
    for text, count, states in zip(texts, masks, together, strict=True):
        track = Track(PageTable(PAGE_SIZE, range(10)))
        alone = runner_of(LAYER).read_ahead([(track, text)], features_of(LAYER, text), [count])
        torch.testing.assert_close(states, alone, atol=1e-4, rtol=1e-4)


def passes_of(source: EagleSpeculator, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the passes of its layer from now on."""
    seen: list[str] = []

    def counted(name: str) -> None:
        inner = getattr(source._runner._steps, name)

        def run(*args: object) -> Tensor:
            seen.append(name)
            passed: Tensor = inner(*args)
            return passed

        monkeypatch.setattr(source._runner._steps, name, run)

    counted("read")
    counted("grow")
    return seen


@pytest.mark.parametrize("depth", [1, 2, 5, 9])
def test_a_proposal_takes_one_pass_however_deep_it_goes(depth: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("speculator.static_eagle._DEPTH", 9)
    monkeypatch.setattr("speculator.growth.FEWEST_CHANCE", 0.0)
    token_by_token = ["read", *["grow"] * (depth - 1)]
    for layer, passes in ((LAYER, ["read"]), (eagle_layer(), token_by_token)):
        source = source_of(layer, max_tree=24)
        source._siblings = 1  # chains, which go as deep as they may
        sequences = tuple(decoding(source, number, GREEDY) for number in range(3))
        seen = passes_of(source, monkeypatch)
        drafts = source.propose(Batch(sequences), Budget(60, max_depth=depth))
        assert seen == passes
        assert [max(tree.depth) for tree in drafts.trees] == [depth] * 3


def chances_at(sequence: Sequence, depth: int) -> Tensor:
    """[V] of the token so deep behind a text's newest, by the form that is trained: of any path to it."""
    scores = DECODER.logits(taught(LAYER, sequence.tokens, [depth] * depth))
    sampling = sequence.sampling
    if not sampling.greedy:
        noise = gumbel(sampling.seed, sampling.choice, sequence.num_output + depth, VOCAB, scores.device)
        scores = scores / sampling.temperature + noise
    return scores.softmax(-1)


@pytest.mark.parametrize("sampling", [GREEDY, SAMPLED])
def test_trees_are_the_likeliest_ways_through_what_is_said_of_each_depth(sampling: Sampling) -> None:
    source = source_of(LAYER, max_tree=24)
    sequences = tuple(decoding(source, number, sampling) for number in range(3))
    for sequence, tree in zip(sequences, source.propose(Batch(sequences), Budget(36)).trees, strict=True):
        chances = [chances_at(sequence, depth) for depth in range(DEPTH)]
        assert len(tree) == 25
        assert max(tree.depth) >= 3
        for node in range(1, len(tree)):
            expected = float(chances[tree.depth[node] - 1][tree.tokens[node]])
            assert tree.confidence[node] == pytest.approx(expected, rel=1e-2)
        survival, likeliest = tree.survival(), [float(each.max()) for each in chances]
        for node in range(len(tree)):  # what was left out is less likely than what was taken
            if not tree.children(node) and tree.depth[node] < DEPTH:
                assert survival[node] * likeliest[tree.depth[node]] <= min(survival) * 1.01


def test_chains_are_drawn_from_what_is_said_of_each_depth() -> None:
    source = eagle_source(LAYER, version="v", max_tree=12, page_size=PAGE_SIZE, num_pages=NUM_PAGES, law=Law.CHAIN_REJECTION)
    sequence = decoding(source, 1, SAMPLED)
    tree = source.propose(Batch((sequence,)), Budget(12)).tree(0)
    assert tree.parent == [-1, 0, 1, 2, 3, 4]
    for node, belief in tree.beliefs.items():
        expected = DECODER.logits(taught(LAYER, sequence.tokens, [node] * node)).div(SAMPLED.temperature).softmax(-1)
        assert list(belief.probs) == pytest.approx(expected[list(belief.tokens)].tolist(), abs=1e-3)


def test_in_company_all_draft_as_they_do_alone_and_nobody_is_guessed_for_who_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[int] = []

    def counted(scores: Tensor, *how: Any) -> tuple[list[list[int]], list[list[float]]]:
        rows.append(len(scores))
        return guesses(scores, *how)

    monkeypatch.setattr("speculator.parallel_eagle.guesses", counted)
    numbers, samplings = range(1, 5), (SAMPLED, GREEDY, SAMPLED, GREEDY)

    def trees(*chosen: int) -> list[Tree]:
        source = eagle_source(LAYER, version="v", max_tree=12, page_size=PAGE_SIZE, num_pages=NUM_PAGES, law=Law.CHAIN_REJECTION)
        batch = Batch(tuple(decoding(source, number, samplings[number - 1]) for number in chosen))
        return list(source.propose(batch, Budget(48)).trees)

    together = trees(*numbers)
    assert rows == [2 * DEPTH]
    for number, tree in zip(numbers, together, strict=True):
        [alone] = trees(number)
        assert (tree.tokens, tree.parent, tree.beliefs.keys()) == (alone.tokens, alone.parent, alone.beliefs.keys())


@pytest.mark.parametrize("left", [2, 3])
def test_no_mask_is_read_for_what_may_not_be_said_any_more(left: int, monkeypatch: pytest.MonkeyPatch) -> None:
    source = source_of(LAYER)
    sequence = decoding(source, 1, GREEDY)
    sequence.sampling = Sampling(temperature=0.0, max_tokens=sequence.num_output + left)
    asked: list[SequenceOf[int]] = []
    inner = source._runner.read_ahead

    def noted(texts: list[tuple[Track, SequenceOf[int]]], features: Tensor, masks: SequenceOf[int]) -> Tensor:
        asked.append(masks)
        return inner(texts, features, masks)

    monkeypatch.setattr(source._runner, "read_ahead", noted)
    tree = source.propose(Batch((sequence,)), Budget(12)).tree(0)
    assert (asked, max(tree.depth)) == ([[left - 2]], left - 1)


class Ahead(ToyRunner):
    """A toy whose belief at a depth is a function of the newest token and of the depth."""

    def read_ahead(self, texts: SequenceOf[tuple[Track, SequenceOf[int]]], _: Tensor, masks: SequenceOf[int]) -> Tensor:
        [(_, text)], [count] = texts, masks
        return self._states([(text[-1], depth) for depth in range(1 + count)])


class Toy(ParallelEagleSpeculator):
    def unread(self, batch: Batch, asked: SequenceOf[int]) -> tuple[list[tuple[Track, list[int]]], Tensor, dict[int, int]]:
        return [(self._tracks[1], batch.decoding[0].tokens)], torch.empty(0), {0: 0}


@pytest.mark.parametrize(("law", "nodes"), [(Law.CHAIN_REJECTION, 1), (Law.CHAIN_REJECTION, 2), (Law.WITHOUT_REPLACEMENT, 3)])
def test_drawn_drafts_leave_the_law_the_targets(monkeypatch: pytest.MonkeyPatch, law: Law, nodes: int) -> None:
    target, drafter, length = ToyTarget(3, 0), ToyTarget(3, 1), 3

    def run(fate: Fate) -> Text:
        monkeypatch.setattr("speculator.parallel_eagle.draw", drawing(fate))
        source = Toy(Ahead(drafter), (), version="v", depth=2, width=1, law=law)  # type: ignore[arg-type]
        sequence = Sequence(1, "default", [0, 1], 1, Sampling(temperature=1.0, max_tokens=50))
        source.begin(sequence)
        while sequence.num_output <= length:
            batch = Batch((sequence,))
            drafts = source.propose(batch, Budget(nodes))
            assert drafts.num_drafted == nodes
            assert drafts.tree(0).beliefs
            scores = target.scores(sequence.tokens, drafts.tree(0))
            verdicts = verify(drafts, scores, [sequence.sampling], [sequence.num_output], partial(FatefulChooser, fate))
            sequence.tokens += verdicts.emitted[0]
        return tuple(sequence.tokens[2 : 2 + length])

    def plainly(fate: Fate) -> Text:
        text: Text = (0, 1)
        while len(text) < 2 + length:
            text += (fate.pick(target.probs(text)),)
        return text[2:]

    assert distance(law_of(run), law_of(plainly)) < 1e-12
