"""The draft vocabulary: what is used is in it, and its scores are the target's own."""

from __future__ import annotations

import random

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from kernels.linear import pack_light
from speculator.vocabulary import DraftVocabulary

SIZE, HIDDEN = 200, 24


@pytest.fixture(params=[torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def embeddings(request: pytest.FixtureRequest) -> Tensor:
    return torch.randn(SIZE, HIDDEN, generator=torch.Generator().manual_seed(0)).to(request.param).float()


def test_scores_are_the_targets_own_whatever_was_seen(embeddings: Tensor) -> None:
    vocabulary = DraftVocabulary(embeddings, 40)
    rng = random.Random(1)
    states = torch.randn(2, 3, HIDDEN, generator=torch.Generator().manual_seed(1))
    for _ in range(60):
        vocabulary.see(rng.choices(range(SIZE), k=9))
        assert len(set(vocabulary.ids.tolist())) == 40
        torch.testing.assert_close(vocabulary.scores(states), (states @ embeddings.t())[..., vocabulary.ids.long()])


def test_rounding_hardly_turns_the_scores(embeddings: Tensor) -> None:
    vocabulary = DraftVocabulary(embeddings, 40, pack_light)
    states = torch.randn(5, HIDDEN, generator=torch.Generator().manual_seed(2))
    vocabulary.see(range(100, 130))
    exact = (states @ embeddings.t())[..., vocabulary.ids.long()]
    assert F.cosine_similarity(vocabulary.scores(states), exact).min() > 0.999


def test_the_lowest_ids_come_first_and_leave_from_the_end(embeddings: Tensor) -> None:
    vocabulary = DraftVocabulary(embeddings, 10)
    assert vocabulary.ids.tolist() == list(range(10))
    vocabulary.see([150, 9, 160])
    assert set(vocabulary.ids.tolist()) == {0, 1, 2, 3, 4, 5, 6, 9, 150, 160}


def test_a_token_enters_as_soon_as_it_is_used_and_those_used_often_stay(embeddings: Tensor) -> None:
    vocabulary = DraftVocabulary(embeddings, 3)
    vocabulary.see([100, 100, 101, 102, 102, 102])
    assert set(vocabulary.ids.tolist()) == {100, 101, 102}
    for token in range(103, 110):
        vocabulary.see([100, 102, 100, 102, token])
        assert set(vocabulary.ids.tolist()) == {100, 102, token}


def test_old_uses_do_not_count_for_ever(embeddings: Tensor) -> None:
    vocabulary = DraftVocabulary(embeddings, 3)
    vocabulary.see([100] * 1000)
    for token in range(101, 141):
        vocabulary.see([token])
    assert 100 not in vocabulary.ids.tolist()


def test_a_small_vocabulary_is_taken_whole(embeddings: Tensor) -> None:
    vocabulary = DraftVocabulary(embeddings)
    vocabulary.see([5, 199])
    assert vocabulary.ids.tolist() == list(range(SIZE))
