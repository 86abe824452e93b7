"""What a layer is taught is what it does: the form that is trained and the form that drafts agree on every node of every tree."""

from __future__ import annotations

import random

import pytest
import torch
from torch import Tensor

from models.eagle import EagleLayer
from models.pages import PageTable
from speculator.draft_runner import Branch, Track
from tests.serving.rig import VOCAB
from tests.speculator.eagle_layers import PAGE_SIZE, eagle_layer, features_of, runner_of

LAYER = eagle_layer()


def text_of(chance: random.Random, length: int) -> list[int]:
    return [chance.randrange(VOCAB) for _ in range(length)]


@torch.no_grad()
def taught(layer: EagleLayer, text: list[int], path: list[int], padding: int = 0) -> Tensor:
    """[H] the state at the last token of `path`, drafted behind `text`, as training has it. Of the path nobody knows features in
    serving: here it has some that are wrong."""
    tokens = torch.tensor([[*[0] * padding, *text, *path]])
    features = torch.zeros(1, tokens.shape[1], 3 * layer.shape.hidden_size)
    features[0, padding : padding + len(text)] = features_of(layer, text)
    features[0, padding + len(text) :] = torch.arange(features.shape[-1]) % 7 - 3.0
    steps = layer.unrolled(tokens, features, len(path) + 1, first=torch.tensor([padding]), last=len(text) + len(path))
    for _ in range(len(path)):
        next(steps)
    return next(steps)[0, -1]


@pytest.mark.parametrize("pages", [list(range(24)), [3 * each % 64 for each in range(24)]], ids=["in one piece", "scattered"])
def test_every_node_of_a_random_tree_is_as_it_was_taught(pages: list[int]) -> None:
    for seed in range(6):
        chance = random.Random(seed)
        runner, text = runner_of(LAYER), text_of(chance, chance.randint(1, 30))
        track = Track(PageTable(PAGE_SIZE, pages))
        features = features_of(LAYER, text)
        cut = chance.randint(0, len(text) - 1)  # read in two goes, the second with the newest token
        if cut:
            runner.read([(track, text[:cut])], features[:cut])
        level = [((), runner.read([(track, text[cut:])], features[cut:])[0], ())]
        place = len(text)
        for _ in range(4):
            children, parents, branches = [], [], []
            for path, state, places in level:
                for token in text_of(chance, chance.randint(1, 2)):
                    branches.append(Branch(track, len(text), token, place, places))
                    children.append(((*path, token), (*places, place)))
                    parents.append(state)
                    place += 1
            after = runner.grow(branches, torch.stack(parents))
            level = [(path, state, places) for (path, places), state in zip(children, after, strict=True)]
            for path, state, _ in level:
                served = runner._steps.states(state.unsqueeze(0))[0]
                expected = taught(LAYER, text, list(path), padding=chance.randint(0, 9))
                # rounding is below 1e-5, a wrong key or position of order 0.1
                torch.testing.assert_close(served, expected, atol=1e-3, rtol=1e-3)
            level = chance.sample(level, min(3, len(level)))
