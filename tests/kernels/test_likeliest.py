"""The likeliest tokens: what plain torch finds."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from kernels.likeliest import likeliest, reference


def scores(num_rows: int, vocab_size: int, spread: float = 3.0) -> torch.Tensor:
    return spread * torch.randn(num_rows, vocab_size, generator=torch.Generator().manual_seed(vocab_size))


@pytest.mark.parametrize("vocab_size", [1, 5, 64, 100, 8192])
@pytest.mark.parametrize("count", [1, 8, 40])
@pytest.mark.parametrize("spread", [0.1, 3.0, 30.0])
def test_they_are_plain_torchs(vocab_size: int, count: int, spread: float) -> None:
    logits = scores(6, vocab_size, spread)
    tokens, probs = likeliest(logits, count)
    expected, expected_probs = reference.likeliest(logits, count)
    shown = expected_probs > 1e-30  # below, torch rounds to 0 and has no order left
    assert tokens.shape == probs.shape == (6, min(count, vocab_size))
    assert (tokens[shown] == expected[shown]).all()
    np.testing.assert_allclose(probs, expected_probs, atol=5e-3)


def test_of_equals_the_first_comes_first_and_no_token_comes_twice() -> None:
    tokens, probs = likeliest(torch.zeros(2, 100), 8)
    assert tokens.tolist() == [list(range(8))] * 2
    np.testing.assert_allclose(probs, 0.01, rtol=1e-3)


def test_excluded_tokens_come_last_and_have_no_chance() -> None:
    logits = scores(1, 70)
    logits[0, 3:] = -torch.inf
    tokens, probs = likeliest(logits, 5)
    assert set(tokens[0, :3].tolist()) == {0, 1, 2}
    assert len(set(tokens[0].tolist())) == 5
    assert probs[0, :3].sum() == pytest.approx(1, abs=5e-3)
    assert not probs[0, 3:].any()


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_scores_that_are_no_numbers_give_tokens_of_no_chance(wrong: float) -> None:
    logits = scores(3, 70)
    logits[1] = wrong
    for tokens, probs in (likeliest(logits, 8), reference.likeliest(logits, 8)):
        assert ((tokens >= 0) & (tokens < 70)).all()
        assert not probs[1].any()
        assert (probs[::2, 0] > 0.05).all()


def test_a_row_comes_to_the_same_in_whatever_company() -> None:
    logits = scores(9, 501)
    tokens, probs = likeliest(logits, 8)
    for row in range(9):
        alone, alone_probs = likeliest(logits[row : row + 1], 8)
        assert (alone[0] == tokens[row]).all()
        assert (alone_probs[0] == probs[row]).all()
