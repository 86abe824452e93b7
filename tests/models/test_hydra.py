"""Hydra heads: read along a text as the definition says, and node by node in a tree as along a text."""

from __future__ import annotations

import random

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from models.errors import BadModel
from models.heads import DraftHeads, MedusaHeads
from models.hydra import HydraHeads, HydraSteps
from speculator.drafts import Tree

HIDDEN, HEADS, VOCAB = 16, 3, 50
EMBEDDINGS = torch.randn(VOCAB, HIDDEN, generator=torch.Generator().manual_seed(0))


def untrained() -> HydraHeads:
    return HydraHeads(HIDDEN, HEADS, VOCAB, EMBEDDINGS)


def random_heads() -> HydraHeads:
    """Of numbers of 8 bits, so that packing them loses nothing."""
    heads = untrained()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in heads.parameters():
            parameter.copy_(torch.randint(-127, 128, parameter.shape, generator=generator) / 256)
            parameter[:1] = 127 / 256
    return heads


def along_path(heads: HydraHeads, hidden: Tensor, path: list[int]) -> Tensor:
    """The definition for one node: [H] its state, from the state that chose the root and the tokens from the root to it."""
    state = hidden
    for token in path:
        parts = [each / each.square().mean().sqrt() for each in (state, EMBEDDINGS[token])]
        inner = torch.cat(parts) @ heads.read + heads.bias
        state = state + (inner * inner.sigmoid()) @ heads.write
    return state


def test_untrained_heads_predict_what_the_target_predicts_and_can_learn() -> None:
    heads, hidden = untrained(), torch.randn(5, HIDDEN)
    states = heads.along(hidden, torch.arange(5))
    torch.testing.assert_close(states, hidden.unsqueeze(1).expand(5, HEADS, HIDDEN))
    states.square().sum().backward()
    assert heads.write.grad is not None
    assert (heads.write.grad != 0).any(-1).all()


def test_along_a_text_every_head_reads_the_tokens_before_its_guess() -> None:
    heads, length = random_heads(), 8
    hidden, tokens = torch.randn(length, HIDDEN), torch.randint(VOCAB, (length,))
    states = heads.along(hidden, tokens)
    for row in range(length):
        for head in range(min(HEADS, length - row)):
            expected = along_path(heads, hidden[row], tokens[row : row + head + 1].tolist())
            torch.testing.assert_close(states[row, head], expected, rtol=1e-4, atol=1e-4)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 30))
def test_node_by_node_in_a_tree_the_states_are_those_along_each_path(seed: int, num_nodes: int) -> None:
    rng = random.Random(seed)
    tree = Tree.rooted(rng.randrange(VOCAB))
    while len(tree) < num_nodes:
        parent = rng.randrange(len(tree))
        if tree.depth[parent] < HEADS - 1:
            tree.add(parent, rng.randrange(VOCAB), 0.5, 1)
    heads = random_heads()
    step = HydraSteps(dict(heads.named_parameters()), heads.embeddings)
    hidden = torch.randn(HIDDEN, generator=torch.Generator().manual_seed(seed))
    states: dict[int, Tensor] = {-1: hidden}
    with torch.inference_mode():
        for depth in range(HEADS):
            level = [node for node in range(len(tree)) if tree.depth[node] == depth]
            if level:
                parents = torch.stack([states[tree.parent[node]] for node in level])
                states |= dict(zip(level, step(parents, torch.tensor([tree.tokens[node] for node in level])), strict=True))
    for node in range(len(tree)):
        path = [node]
        while tree.parent[path[0]] >= 0:
            path.insert(0, tree.parent[path[0]])
        tokens = [tree.tokens[each] for each in path]
        expected = heads.along(hidden.expand(len(path), HIDDEN), torch.tensor(tokens))[0, len(path) - 1]
        torch.testing.assert_close(states[node], expected, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(expected, along_path(heads, hidden, tokens), rtol=1e-3, atol=1e-3)


def test_packing_rounds_the_weights_a_little() -> None:
    heads = untrained()
    with torch.no_grad():
        heads.write.normal_(0, 0.1, generator=torch.Generator().manual_seed(1))
    hidden, tokens = torch.randn(4, HIDDEN), torch.arange(4)
    with torch.inference_mode():
        ours = HydraSteps(dict(heads.named_parameters()), heads.embeddings)(hidden, tokens)
        exact = heads.along(hidden, tokens)[:, 0]
    assert F.cosine_similarity(ours, exact).min() > 0.999


def test_config_and_weights_make_the_same_heads_again() -> None:
    heads, embed = random_heads(), EMBEDDINGS
    again = HydraHeads.from_config(heads.config, embed)
    again.copy_weights(dict(heads.named_parameters()))
    hidden, tokens = torch.randn(4, HIDDEN), torch.arange(4)
    assert torch.equal(again.along(hidden, tokens), heads.along(hidden, tokens))
    assert again.config == heads.config
    assert sum(weight.numel() for weight in heads.parameters()) == 3 * HIDDEN**2 + HIDDEN, "embeddings are the target's"


@pytest.mark.parametrize(
    ("heads", "reason"),
    [
        (random_heads(), "heads: tensor read is unexpected"),
        (MedusaHeads(HIDDEN, HEADS, 1, VOCAB), "heads: tensor read is missing"),
    ],
)
def test_weights_and_configs_of_the_other_kind_are_refused(heads: DraftHeads, reason: str) -> None:
    other = MedusaHeads(HIDDEN, HEADS, 1, VOCAB) if isinstance(heads, HydraHeads) else random_heads()
    with pytest.raises(BadModel, match=reason):
        other.copy_weights(dict(heads.named_parameters()))
    with pytest.raises(BadModel, match="config of heads has fields"):
        other.sizes_of(heads.config)
