"""What an EAGLE layer drafts is what it thinks along each path, and the places it waits with are bounded."""

from __future__ import annotations

import pytest
import torch

from kernels.gumbel import gumbel
from speculator.batch import Batch, Sampling, Sequence
from speculator.drafts import Tree
from speculator.heard import Heard
from speculator.protocol import Budget
from tests.serving.rig import VOCAB
from tests.speculator.eagle_layers import DECODER, decoding, eagle_layer, source_of, taught

LAYER = eagle_layer(seed=2, scale=0.3)
GREEDY, SAMPLED = Sampling(temperature=0.0, max_tokens=40), Sampling(temperature=0.8, seed=11, choice=2, max_tokens=40)


def path_to(tree: Tree, node: int) -> list[int]:
    return [*(path_to(tree, tree.parent[node]) if node else []), tree.tokens[node]]


def chance_of(sequence: Sequence, path: list[int]) -> float:
    """Of the last token of a path behind a text's newest, by the form that is trained."""
    *before, token = path
    scores = DECODER.logits(taught(LAYER, sequence.tokens, before))
    if not sequence.sampling.greedy:
        position = sequence.num_output + len(before)
        noise = gumbel(sequence.sampling.seed, sequence.sampling.choice, position, VOCAB, scores.device)
        scores = scores / sequence.sampling.temperature + noise
    return float(scores.softmax(-1)[token])


@pytest.mark.parametrize("sampling", [GREEDY, SAMPLED])
def test_confidence_is_what_the_layer_says_along_each_nodes_path(sampling: Sampling) -> None:
    source = source_of(LAYER, max_tree=24)
    sequences = tuple(decoding(source, number, sampling) for number in range(3))
    drafts = source.propose(Batch(sequences), Budget(60))
    deepest = 0
    for sequence, tree in zip(sequences, drafts.trees, strict=True):
        assert len(tree) > 8
        deepest = max(deepest, *tree.depth)
        for node in range(1, len(tree)):
            expected = chance_of(sequence, path_to(tree, node)[1:])
            assert tree.confidence[node] == pytest.approx(expected, rel=1e-2)
    assert deepest >= 3


def test_places_that_wait_are_bounded_the_oldest_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("speculator.heard.MOST_WAITING", 10)
    places, heard = torch.arange(60.0).unsqueeze(1), Heard()
    for start, stop in ((0, 4), (4, 8), (8, 13), (13, 40), (40, 41)):
        assert not heard.hear(start, places[start:stop])
        assert heard.stop - heard.start <= 10 + 4
        assert torch.equal(heard.read(heard.start, stop), places[heard.start : stop])
    assert heard.start == 30
    assert heard.hear(50, places[50:52]), "a gap: it begins anew"
    assert (heard.start, heard.stop) == (50, 52)
