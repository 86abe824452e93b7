"""What a layer is taught is what it does: the form that is trained and the form that drafts agree on every node of every tree."""

from __future__ import annotations

import random

import pytest
import torch

from models.pages import PageTable
from speculator.draft_runner import Branch, Track
from tests.speculator.eagle_layers import PAGE_SIZE, eagle_layer, features_of, runner_of, taught, text_of

LAYER = eagle_layer()


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
