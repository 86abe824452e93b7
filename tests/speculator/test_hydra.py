"""Hydra heads as a source of drafts: the likeliest nodes of all, each as likely as the heads say, within what is allowed."""

from __future__ import annotations

import itertools
import random
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from kernels.gumbel import gumbel
from kernels.linear import pack_light
from kernels.native import library
from models.heads import MedusaHeads
from models.hydra import HydraHeads
from pipelines.errors import ForeignCheckpoint
from speculator import growth, hydra
from speculator.batch import Batch, Sampling, Sequence
from speculator.drafts import Tree
from speculator.heads import HeadsSpeculator, Root
from speculator.hydra import HydraSpeculator
from speculator.medusa import MedusaSpeculator
from speculator.protocol import Budget
from speculator.static_heads import draft_vocabulary
from speculator.vocabulary import DraftVocabulary
from tests.wait import wait_until

HIDDEN, VOCAB, DEPTH = 16, 6, 3
EMBEDDINGS = torch.randn(VOCAB, HIDDEN, generator=torch.Generator().manual_seed(0))
GREEDY, SAMPLED = Sampling(temperature=0.0, max_tokens=40), Sampling(temperature=0.8, seed=11, choice=2, max_tokens=40)


def unembed(states: Tensor) -> Tensor:
    return states @ EMBEDDINGS.t() / 2


def heads(seed: int = 3) -> HydraHeads:
    made = HydraHeads(HIDDEN, DEPTH, VOCAB, EMBEDDINGS)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in made.parameters():  # numbers of 8 bits, so that packing them loses nothing
            parameter.copy_(torch.randint(-127, 128, parameter.shape, generator=generator) / 256)
            parameter[:1] = 127 / 256
    return made


def source() -> HydraSpeculator:
    return HydraSpeculator(heads(), unembed, name="hydra", version="v")


def state(seed: int = 1) -> Tensor:
    return torch.randn(HIDDEN, generator=torch.Generator().manual_seed(seed))


def chances(path: list[int], sampling: Sampling, position: int, seed: int = 1) -> Tensor:
    """[V] what the heads, read along the whole path, give for the token after it."""
    hidden = state(seed).expand(len(path), HIDDEN)
    logits = unembed(heads().along(hidden, torch.tensor(path))[0, len(path) - 1])
    if not sampling.greedy:
        noise = gumbel(sampling.seed, sampling.choice, position + len(path) - 1, VOCAB, logits.device)
        logits = logits / sampling.temperature + noise
    return logits.softmax(-1).detach()


def path_to(tree: Tree, node: int) -> list[int]:
    return [*(path_to(tree, tree.parent[node]) if node else []), tree.tokens[node]]


def everything_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hydra, "WIDTH", 10**6)
    monkeypatch.setattr(growth, "FEWEST_CHANCE", 0.0)


@pytest.mark.parametrize("sampling", [GREEDY, SAMPLED])
def test_confidence_is_what_the_heads_say_along_each_nodes_path(sampling: Sampling) -> None:
    [tree] = source().trees(state().unsqueeze(0), [Root(4, (sampling, 7), 20, DEPTH)])
    assert max(tree.depth) == DEPTH
    for node in range(1, len(tree)):
        *path, token = path_to(tree, node)
        assert tree.confidence[node] == pytest.approx(float(chances(path, sampling, 7)[token]), rel=1e-3)


@pytest.mark.parametrize("sampling", [GREEDY, SAMPLED])
@pytest.mark.parametrize("most", [1, 7, 16])
def test_trees_are_the_likeliest_of_all_nodes(sampling: Sampling, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    everything_is_read(monkeypatch)
    reach: dict[tuple[int, ...], float] = {(4,): 1.0}
    for depth in range(1, DEPTH + 1):
        for tail in itertools.product(range(VOCAB), repeat=depth):
            path = (4, *tail)
            reach[path] = reach[path[:-1]] * float(chances(list(path[:-1]), sampling, 7)[tail[-1]])
    del reach[(4,)]
    expected = sorted(reach, key=lambda path: -reach[path])[:most]
    [tree] = source().trees(state().unsqueeze(0), [Root(4, (sampling, 7), most, DEPTH)])
    assert {tuple(path_to(tree, node)) for node in range(1, len(tree))} == set(expected)


def test_nobody_is_drafted_for_otherwise_in_company() -> None:
    roots = [
        Root(4, (GREEDY, 7), 9, DEPTH),
        Root(0, (SAMPLED, 3), 0, DEPTH),
        Root(1, (SAMPLED, 2), 16, 1),
        Root(2, (SAMPLED, 30), 5, 2),
        Root(2, (GREEDY, 30), 12, DEPTH, fewest_hopes=0.9),
    ]
    hidden = torch.stack([state(seed) for seed in range(len(roots))])
    together = source().trees(hidden, roots)
    for row, root in enumerate(roots):
        [alone] = source().trees(hidden[row : row + 1], [root])
        assert (alone.tokens, alone.parent) == (together[row].tokens, together[row].parent)
        assert alone.confidence == pytest.approx(together[row].confidence, rel=1e-4)
        assert len(alone) - 1 <= root.most
        assert max(alone.depth) <= root.max_depth


@pytest.mark.skipif(library() is None, reason="needs a C compiler")
def test_c_grows_the_trees_of_plain_torch() -> None:
    """Of numbers that are nobody's multiples, so that no two nodes are equally likely."""
    hidden_size, vocab, num = 48, 300, 40
    generator = torch.Generator().manual_seed(5)
    embeddings = torch.randn(vocab, hidden_size, generator=generator)
    made = HydraHeads(hidden_size, 5, vocab, embeddings)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / hidden_size**0.5)
    vocabulary = DraftVocabulary(embeddings, 120, pack_light)
    vocabulary.see(range(250, 300))
    ours = HydraSpeculator(made, lambda states: states, name="hydra", version="v", vocabulary=vocabulary)
    hidden = torch.randn(num, hidden_size, generator=generator)
    picker = random.Random(3)
    for _ in range(5):
        roots = []
        for _ in range(num):
            temperature = picker.choice([0.0, 0.7, 1.3])
            top_p = picker.choice([1.0, 1.0, 0.9]) if temperature else 1.0
            seed, choice, position = picker.randrange(2**40), picker.randrange(3), picker.randrange(99)
            how = Sampling(temperature=temperature, top_p=top_p, seed=seed, choice=choice, max_tokens=9)
            hopes = picker.choice([0.0, 0.0, 0.3, 0.9, 1.5])
            most, depth = picker.randrange(20), picker.randrange(7)
            roots.append(Root(picker.randrange(vocab), (how, position), most, depth, hopes))
        for one, other in zip(ours.trees(hidden, roots), ours.grown(hidden, roots), strict=True):
            assert (one.tokens, one.parent, one.depth, one.sources) == (other.tokens, other.parent, other.depth, other.sources)
            assert one.confidence == pytest.approx(other.confidence, rel=1e-3)


def test_a_root_that_is_no_token_is_refused() -> None:
    vocabulary = DraftVocabulary(EMBEDDINGS, 5, pack_light)
    ours = HydraSpeculator(heads(), unembed, name="hydra", version="v", vocabulary=vocabulary)
    with pytest.raises(IndexError, match=rf"{VOCAB}|out of range"):
        ours.trees(state().unsqueeze(0), [Root(VOCAB, (GREEDY, 7), 3, DEPTH)])


def test_a_level_that_promises_too_little_is_not_read() -> None:
    def deepest(fewest_hopes: float) -> int:
        [tree] = source().trees(state().unsqueeze(0), [Root(4, (GREEDY, 7), 16, DEPTH, fewest_hopes)])
        return max(tree.depth)

    assert [deepest(hopes) for hopes in (0.0, 1.0)] == [DEPTH, 1], "the root is always read"


def test_a_pass_must_be_worth_its_share_of_the_step() -> None:
    ours = source()
    ours.trees(state().unsqueeze(0), [Root(4, (GREEDY, 7), 16, DEPTH)])
    dear, cheap = (ours.fewest_hopes(Budget(4, step_seconds=(seconds,) * 5)) for seconds in (1e-4, 1e-1))
    assert dear > 10 * cheap > 0
    assert ours.fewest_hopes(Budget(4)) == 0.0


def test_proposals_keep_to_the_budget_and_to_what_may_still_be_said() -> None:
    left_two = Sequence(1, "default", [1, 2, 3], 2, Sampling(temperature=0.0, max_tokens=3), hidden=state())
    plain = Sequence(2, "default", [1, 2, 3], 2, GREEDY, speculative=False, hidden=state())
    free = Sequence(3, "default", [1, 2, 3], 2, GREEDY, hidden=state())
    drafts = source().propose(Batch((left_two, plain, free)), Budget(12, max_depth=2))
    assert [max(tree.depth) for tree in drafts.trees] == [1, 0, 2]
    assert source().propose(Batch((free,)), Budget(5)).num_drafted == 5
    assert source().propose(Batch((free,)), Budget(5, sources=frozenset({"suffix"}))).num_drafted == 0


def checkpoint(kind: str, weights: dict[str, Tensor]) -> Any:
    return SimpleNamespace(manifest=SimpleNamespace(kind=kind, version="9"), weights=weights)


def test_new_weights_draft_from_the_next_tree_on() -> None:
    ours, root = source(), [Root(4, (GREEDY, 7), 16, DEPTH)]
    [before] = ours.trees(state().unsqueeze(0), root)
    other = heads(seed=5)
    ours.load(checkpoint("hydra", dict(other.named_parameters())))
    wait_until(lambda: (ours.take_prepared(), ours.settled)[1])
    [after] = ours.trees(state().unsqueeze(0), root)
    assert ours.version == "9"
    assert [after] == HydraSpeculator(other, unembed, name="hydra", version="9").trees(state().unsqueeze(0), root)
    assert after.confidence != before.confidence


@pytest.mark.parametrize("kind", ["medusa", "hydra"])
def test_a_checkpoint_of_the_other_kind_is_refused(kind: str) -> None:
    medusa = MedusaHeads(HIDDEN, DEPTH, 1, VOCAB)
    sources: dict[str, HeadsSpeculator[Any]] = {
        "medusa": MedusaSpeculator(medusa, unembed, name="medusa", version="v"),
        "hydra": source(),
    }
    weights = {"medusa": dict(medusa.named_parameters()), "hydra": dict(heads().named_parameters())}
    other = {"medusa": "hydra", "hydra": "medusa"}[kind]
    with pytest.raises(ForeignCheckpoint, match=f"version 9: kind is '{other}', expected '{kind}'"):
        sources[kind].load(checkpoint(other, weights[other]))
    assert sources[kind].version == "v"
    with pytest.raises(ForeignCheckpoint, match=r"version 9: heads: tensor .* is (missing|unexpected)"):
        sources[kind].load(checkpoint(kind, weights[other]))


@pytest.mark.parametrize(("num_tokens", "size"), [(60, 60), (8192, 2048), (40_000, 10_000)])
def test_heads_score_a_quarter_of_a_large_vocabulary(num_tokens: int, size: int) -> None:
    assert draft_vocabulary(torch.zeros(num_tokens, 2)).size == size
