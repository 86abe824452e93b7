"""Typical acceptance, which is lossy, against every way through a tree, tried one by one."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pipelines.trace import TYPICAL, Edits, SamplingRecord, Typical
from speculator.batch import Sampling
from speculator.belief import Belief, draw
from speculator.drafts import Drafts, Tree
from speculator.edits import processors_of
from speculator.law import process
from speculator.processor import edited
from speculator.records import record_of, sampling_of
from speculator.typical import threshold
from speculator.verify import verify
from tests.speculator.toys import ToyTarget, paths, random_tree

VOCAB = 6
NOTHING = Typical(epsilon=1.0, delta=1e9)
"""Thresholds that no probability exceeds."""
Verdict = tuple[tuple[int, ...], tuple[int, ...]]
Probs = NDArray[np.float64]

SAMPLINGS = [
    Sampling(temperature=1.0),
    Sampling(temperature=0.6, top_k=3),
    Sampling(temperature=1.3, top_p=0.8, min_p=0.05),
    Sampling(temperature=0.8, stop_ids=frozenset({2, 4})),
    Sampling(temperature=0.9, edits=Edits(repetition_penalty=1.7, presence_penalty=0.4, frequency_penalty=0.9)),
    Sampling(temperature=1.1, edits=Edits(bad_words=((0,), (1, 2), (2, 3, 1), (4, 4)))),
    Sampling(
        temperature=0.9,
        stop_ids=frozenset({2}),
        edits=Edits(min_tokens=4, logit_bias=((1, 1.5),), allowed_token_ids=(0, 1, 2, 3)),
    ),
]


def judged(target: ToyTarget, text: list[int], tree: Tree, sampling: Sampling, num_prompt: int = 1) -> Verdict:
    """Ours: one step, everything said before having been accepted by what edits the scores."""
    processors = processors_of(sampling, text[:num_prompt])
    for token in text[num_prompt:]:
        for each in processors:
            each.accept(token)
    verdicts = verify(
        Drafts.pack([tree]), target.scores(text, tree), [sampling], [len(text) - num_prompt], processors=[processors]
    )
    return verdicts.accepted[0], verdicts.emitted[0]


def probs_after(target: ToyTarget, text: list[int], sampling: Sampling, num_prompt: int = 1) -> Probs:
    processors = processors_of(sampling, text[:num_prompt])
    for token in text[num_prompt:]:
        for each in processors:
            each.accept(token)
    found: Probs = process(edited(target.logits(text), processors), sampling).double().softmax(-1).numpy()
    return found


def own_choice(target: ToyTarget, text: list[int], sampling: Sampling) -> int:
    """The target's, by plain decoding."""
    return judged(target, text, Tree.rooted(text[-1]), replace(sampling, lossy=None))[1][0]


def passes(probs: Probs, token: int, typical: Typical) -> bool:
    """The criterion as the paper writes it, term by term."""
    entropy = sum(-p * math.log(p) for p in probs.tolist() if p > 0)
    return bool(probs[token] > min(typical.epsilon, typical.delta * math.exp(-entropy)))


def every_way(target: ToyTarget, text: list[int], tree: Tree, sampling: Sampling, typical: Typical) -> Verdict:
    """Of all paths from the root, those whose every token is accepted; of these the longest, then the likeliest."""
    ways: list[tuple[int, float, tuple[int, ...], tuple[int, ...]]] = []
    for node, tokens in enumerate(paths(tree)):
        path: list[int] = []
        while node > 0:
            path.insert(0, node)
            node = tree.parent[node]
        likelihood, sound = 1.0, True
        for depth, token in enumerate(tokens):
            before = [*text, *tokens[:depth]]
            probs = probs_after(target, before, sampling)
            likelihood *= float(probs[token])
            sound &= passes(probs, token, typical) or token == own_choice(target, before, sampling)
            sound &= depth == 0 or tokens[depth - 1] not in sampling.stop_ids
        if sound:
            ways.append((len(path), likelihood, tuple(path), tokens))
    _, _, best, said = max(ways)
    ended = bool(said) and said[-1] in sampling.stop_ids
    return best, said if ended else (*said, own_choice(target, [*text, *said], sampling))


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=str)
@pytest.mark.parametrize("typical", [TYPICAL, Typical(epsilon=0.3, delta=0.9), Typical(epsilon=0.02, delta=0.05)], ids=str)
def test_the_way_through_a_tree_is_the_best_of_all_that_the_criterion_lets_through(sampling: Sampling, typical: Typical) -> None:
    lengths = set()
    for seed in range(12):
        rng, target = random.Random(seed), ToyTarget(VOCAB, seed)
        text = [rng.randrange(VOCAB) for _ in range(1 + seed % 4)]
        tree = random_tree(rng, text[-1], VOCAB, 10)
        asked = replace(sampling, seed=seed, lossy=typical)
        found = judged(target, text, tree, asked)
        assert found == every_way(target, text, tree, asked, typical)
        lengths.add(len(found[0]))
    assert max(lengths) >= 2, "nothing was accepted worth the name"


def test_the_threshold_is_the_papers_by_hand() -> None:
    four = np.full(4, 0.25)  # H = ln 4: 0.3 / 4
    assert threshold(four, TYPICAL) == pytest.approx(0.075)
    assert threshold(np.array([1.0, 0.0, 0.0]), TYPICAL) == 0.09, "H = 0: 0.3 is more than epsilon"
    two = np.array([0.5, 0.5, 0.0])
    assert threshold(two, Typical(epsilon=0.4, delta=0.6)) == pytest.approx(0.3)


def test_a_probability_at_the_threshold_is_not_enough() -> None:
    """Of two equal tokens with epsilon 0.5 the one is accepted that the target chooses, and not the other."""
    typical = Typical(epsilon=0.5, delta=5.0)
    logits = torch.tensor([0.0, 0.0, -torch.inf]).expand(2, 3)
    said = []
    for token in (0, 1):
        tree = Tree.rooted(0)
        tree.add(0, token, 0.5, 1)
        said.append(verify(Drafts.pack([tree]), logits, [Sampling(seed=3, lossy=typical)], [0]).accepted[0])
    assert sorted(said) == [(), (1,)]


def tree_of(*nodes: tuple[int, int]) -> Tree:
    tree = Tree.rooted(0)
    for parent, token in nodes:
        tree.add(parent, token, 0.5, 1)
    return tree


def test_the_longest_path_wins_and_of_equal_ones_the_likeliest_whatever_their_order() -> None:
    odds = torch.tensor([0.0, 0.55, 0.25, 0.2]).log()
    sampling = Sampling(temperature=1.0, lossy=Typical(epsilon=0.1, delta=10.0))
    for nodes, path in [
        (((0, 1), (0, 3), (2, 3)), (2, 3)),
        (((0, 3), (0, 2), (0, 1)), (3,)),
        (((0, 3), (1, 3), (0, 2), (3, 2), (0, 1), (5, 3)), (5, 6)),
        (((0, 1), (1, 3), (0, 2), (3, 1), (0, 3), (5, 3)), (3, 4)),  # 0.55 * 0.2 < 0.25 * 0.55
    ]:
        logits = odds.expand(1 + len(nodes), 4)
        assert verify(Drafts.pack([tree_of(*nodes)]), logits, [sampling], [0]).accepted[0] == path


def test_nothing_follows_a_stop_token() -> None:
    logits = torch.tensor([0.5, 0.5]).log().expand(3, 2)
    sampling = Sampling(temperature=1.0, stop_ids=frozenset({1}), lossy=TYPICAL)
    assert verify(Drafts.pack([tree_of((0, 1), (1, 0))]), logits, [sampling], [0]).emitted == ((1,),)


def drawn_tree(rng: random.Random, target: ToyTarget, text: list[int], sampling: Sampling) -> Tree:
    """Two children of the first node at each depth, drawn from a belief that is wrong."""
    tree, node, path = Tree.rooted(text[-1]), 0, list(text)
    for depth in range(3):
        weights = [rng.random() for _ in range(VOCAB)]
        tree.beliefs[node] = Belief(tuple(range(VOCAB)), tuple(each / sum(weights) for each in weights))
        children = [tree.add(node, token, 0.5, 1) for token in draw(tree.beliefs[node], 2, (sampling, depth))]
        node = children[0]
        path.append(tree.tokens[node])
    return tree


def steps(drawn: bool) -> list[tuple[ToyTarget, list[int], Tree, Sampling]]:
    found = []
    for seed in range(60):
        rng, sampling = random.Random(seed), replace(SAMPLINGS[seed % len(SAMPLINGS)], seed=seed)
        target, text = ToyTarget(VOCAB, seed), [rng.randrange(VOCAB) for _ in range(3)]
        tree = drawn_tree(rng, target, text, sampling) if drawn else random_tree(rng, text[-1], VOCAB, 12)
        found.append((target, text, tree, sampling))
    return found


@pytest.mark.parametrize("drawn", [False, True])
def test_a_step_accepts_at_least_as_many_tokens_as_it_would_exactly(drawn: bool) -> None:
    gained = 0
    for target, text, tree, sampling in steps(drawn):
        exact = judged(target, text, tree, sampling)
        lossy = judged(target, text, tree, replace(sampling, lossy=TYPICAL))
        ended = lossy[1][-1] in sampling.stop_ids  # a stop token that was accepted has nothing behind it
        assert len(lossy[0]) >= len(exact[0])
        assert len(lossy[1]) >= len(exact[1]) or ended
        gained += len(lossy[1]) - len(exact[1])
    assert gained > 10


@pytest.mark.parametrize("drawn", [False, True])
def test_with_thresholds_that_nothing_passes_it_is_the_exact_law(drawn: bool) -> None:
    for target, text, tree, sampling in steps(drawn):
        assert judged(target, text, tree, replace(sampling, lossy=NOTHING)) == judged(target, text, tree, sampling)


def test_greedy_answers_stay_exact() -> None:
    for target, text, tree, sampling in steps(drawn=False):
        greedy = replace(sampling, temperature=0.0)
        assert judged(target, text, tree, replace(greedy, lossy=TYPICAL)) == judged(target, text, tree, greedy)


def test_nothing_that_filters_or_edits_exclude_is_accepted() -> None:
    """Every token of the vocabulary is drafted, and by these thresholds all that is possible is accepted."""
    anything = Typical(epsilon=1e-12, delta=1e-12)
    for seed in range(20):
        target, tree = ToyTarget(VOCAB, seed), Tree.rooted(0)
        for parent in [0, *[tree.add(0, token, 0.5, 1) for token in range(VOCAB)]]:
            _ = [tree.add(parent, token, 0.5, 1) for token in range(VOCAB) if parent]
        sampling = Sampling(top_k=2, seed=seed, lossy=anything, edits=Edits(allowed_token_ids=(1, 2, 3)))
        path, said = judged(target, [0], tree, sampling)
        text = [0]
        for token in said:
            assert probs_after(target, text, sampling)[token] > 0
            text.append(token)
        assert len(path) == 2


def test_branches_that_were_tried_leave_no_trace_in_what_looks_at_the_history() -> None:
    pairs = tuple((a, b) for a in range(VOCAB) for b in range(VOCAB) if (a + b) % 3 == 1)
    edits = Edits(repetition_penalty=1.7, presence_penalty=0.4, frequency_penalty=0.9, min_tokens=5, bad_words=pairs)
    for seed in range(20):
        rng, target = random.Random(seed), ToyTarget(VOCAB, seed)
        sampling = Sampling(seed=seed, stop_ids=frozenset({5}), edits=edits, lossy=Typical(epsilon=0.01, delta=0.01))
        tree, used = random_tree(rng, 0, VOCAB, 14), processors_of(sampling, [0])
        said = verify(Drafts.pack([tree]), target.scores([0], tree), [sampling], [0], processors=[used]).emitted[0]
        fresh = processors_of(sampling, [0])
        for token in said:
            for each in fresh:
                each.accept(token)
        scores = torch.randn(VOCAB, generator=torch.Generator().manual_seed(seed))
        assert torch.equal(edited(scores, used), edited(scores, fresh))


def test_neighbours_in_the_batch_are_judged_by_their_own_law() -> None:
    for target, text, tree, sampling in steps(drawn=False):
        scores = target.scores(text, tree)
        both = [replace(sampling, edits=Edits()), replace(sampling, edits=Edits(), lossy=TYPICAL)]
        together = verify(Drafts.pack([tree] * 2), torch.cat([scores] * 2), both, [2, 2])
        apart = [verify(Drafts.pack([tree]), scores, [each], [2]).emitted[0] for each in both]
        assert list(together.emitted) == apart


def test_a_trace_keeps_that_an_answer_was_lossy_and_how() -> None:
    sampling = Sampling(0.5, seed=7, lossy=Typical(epsilon=0.2, delta=0.4))
    assert record_of(sampling).lossy == Typical(epsilon=0.2, delta=0.4)
    assert sampling_of(record_of(sampling)) == sampling
    assert SamplingRecord(temperature=1.0, top_p=1.0, top_k=0, min_p=0.0, seed=0, max_tokens=16).lossy is None
