"""Heads as a source of drafts: better guesses where the noise is known, within what the request allows."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from models.heads import MedusaHeads
from speculator.batch import Batch, Sampling, Sequence
from speculator.drafts import Drafts
from speculator.law import Chooser
from speculator.medusa import MedusaSpeculator
from speculator.protocol import Budget
from speculator.verify import Verdicts
from speculator.vocabulary import DraftVocabulary

HIDDEN, VOCAB, DEPTH, NUM = 16, 60, 2, 400
EMBEDDINGS = torch.randn(VOCAB, HIDDEN, generator=torch.Generator().manual_seed(0))


def unembed(states: Tensor) -> Tensor:
    return states @ EMBEDDINGS.t() / 2


def states() -> Tensor:
    return torch.randn(NUM, HIDDEN, generator=torch.Generator().manual_seed(1))


def heads(vocabulary: DraftVocabulary | None = None) -> MedusaSpeculator:
    """Untrained: every head predicts what the target would choose from the same state."""
    module = MedusaHeads(HIDDEN, DEPTH, 1, VOCAB)
    return MedusaSpeculator(module, unembed, name="medusa", version="v", vocabulary=vocabulary)


def hit_rate(sampling: Sampling, drawn: Sampling) -> float:
    """Of the target's choices at positions 7 to 7 + NUM, with `drawn`, those that a first head's best candidate is, that drafts
    for `sampling`. The target's states are a little off the heads'."""
    choices = [(sampling, 7 + row) for row in range(NUM)]
    tokens, _ = heads().candidates(states(), choices)
    noise = torch.randn(NUM, HIDDEN, generator=torch.Generator().manual_seed(2))
    choose = Chooser(unembed(states() + 0.2 * noise), [drawn] * NUM)
    return sum(tokens[row][0][0] == choose(row, row, 7 + row) for row in range(NUM)) / NUM


def test_candidates_follow_the_noise_that_the_target_will_add() -> None:
    drawn = Sampling(temperature=0.9, seed=5)
    blind = hit_rate(Sampling(temperature=0.0), drawn)
    assert hit_rate(drawn, drawn) > 1.3 * blind
    assert hit_rate(Sampling(temperature=0.9, seed=6), drawn) < blind


@pytest.mark.parametrize("limits", [{"top_k": 3}, {"top_p": 0.5}, {"min_p": 0.3}])
def test_candidates_keep_to_what_the_request_leaves_to_choose_from(limits: dict[str, float]) -> None:
    drawn = Sampling(temperature=0.9, seed=5, **limits)  # type: ignore[arg-type]
    tokens, chances = heads().candidates(states(), [(drawn, row) for row in range(NUM)])
    choose = Chooser(unembed(states()), [drawn] * NUM)
    for row in range(NUM):
        assert tokens[row][0][0] == choose(row, row, row)
        best = unembed(states()[row]).topk(VOCAB).indices.tolist()
        for token, chance in zip(tokens[row][0], chances[row][0], strict=True):
            if limits.get("top_k") and token not in best[:3]:
                assert chance < 1e-6


def test_each_head_drafts_for_a_position_of_its_own() -> None:
    drawn = Sampling(temperature=0.9, seed=5)
    tokens, _ = heads().candidates(states(), [(drawn, row) for row in range(NUM)])
    choose = Chooser(unembed(states()), [drawn] * NUM)
    assert [tokens[row][1][0] for row in range(NUM)] == [choose(row, row, row + 1) for row in range(NUM)]


def test_only_the_draft_vocabulary_is_drafted_and_what_is_said_enters_it() -> None:
    vocabulary = DraftVocabulary(EMBEDDINGS, 8)
    source = heads(vocabulary)
    sequence = Sequence(1, "default", [50, 51], 2, Sampling(temperature=0.0, max_tokens=20))
    source.begin(sequence)
    sequence.tokens.append(52)
    sequence.hidden = states()[0]
    batch = Batch((sequence,))
    source.observe(batch, Drafts.empty([52]), Verdicts(((),), ((52,),)))
    drafts = source.propose(batch, Budget(6))
    assert {50, 51, 52} <= set(vocabulary.ids.tolist())
    assert set(drafts.trees[0].tokens[1:]) <= set(vocabulary.ids.tolist())
    assert drafts.num_drafted == 6
