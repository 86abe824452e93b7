"""Candidates: what plain torch finds, and better guesses for those who know the noise."""

from __future__ import annotations

import pytest
import torch

from kernels.candidates import Noise, candidates, reference
from kernels.gumbel import gumbel

CPU = torch.device("cpu")


def scores(num_rows: int, vocab_size: int, seed: int = 0) -> torch.Tensor:
    return 3 * torch.randn(num_rows, vocab_size, generator=torch.Generator().manual_seed(seed))


def noise(num_rows: int, temperature: float = 0.8) -> list[Noise | None]:
    return [Noise(temperature, 7, 0, position) for position in range(num_rows)]


@pytest.mark.parametrize("vocab_size", [1, 5, 64, 100, 8192])
@pytest.mark.parametrize("count", [1, 4, 64])
@pytest.mark.parametrize("noisy", [False, True])
def test_the_candidates_are_plain_torchs(vocab_size: int, count: int, noisy: bool) -> None:
    logits = scores(6, vocab_size)
    keys = noise(6) if noisy else [None] * 6
    ours, theirs = candidates(logits, count, keys), reference.candidates(logits, count, keys)
    # with noise a token e^10 times less likely than the likeliest is passed over, which shows far down the list at most
    shown = 3 if noisy else count
    assert [row[:shown] for row in ours[0]] == [row[:shown] for row in theirs[0]]
    torch.testing.assert_close(
        torch.tensor([row[:shown] for row in ours[1]]), torch.tensor([row[:shown] for row in theirs[1]]), rtol=0.05, atol=0.02
    )


@pytest.mark.parametrize("noisy", [False, True])
def test_columns_may_stand_for_other_tokens(noisy: bool) -> None:
    logits = scores(3, 500)
    ids = torch.randperm(500, generator=torch.Generator().manual_seed(1))[:100].sort().values
    keys = noise(3) if noisy else [None] * 3
    ours = candidates(logits[:, ids].contiguous(), 2, keys, ids.to(torch.int32))
    assert ours[0] == reference.candidates(logits[:, ids], 2, keys, ids)[0]
    assert {token for row in ours[0] for token in row} <= set(ids.tolist())


def test_excluded_tokens_are_no_candidates() -> None:
    logits = scores(1, 64)
    logits[0, 3:] = -torch.inf
    for keys in ([None], noise(1)):
        tokens, chances = candidates(logits, 8, keys)
        assert set(tokens[0][:3]) == {0, 1, 2}
        assert max(chances[0][3:]) < 1e-6


def test_who_knows_the_scores_and_the_noise_knows_the_choice() -> None:
    logits = scores(200, 300)
    tokens, _ = candidates(logits, 1, noise(200))
    chosen = [int((row / 0.8 + gumbel(7, 0, position, 300, CPU)).argmax()) for position, row in enumerate(logits)]
    assert [row[0] for row in tokens] == chosen


def test_noise_makes_a_rough_guess_better_and_another_seed_does_not() -> None:
    logits = scores(1500, 50) / 2
    rough = logits + torch.randn(logits.shape, generator=torch.Generator().manual_seed(3)) / 2
    chosen = [int((row / 0.8 + gumbel(7, 0, position, 50, CPU)).argmax()) for position, row in enumerate(logits)]

    def hits(keys: list[Noise | None]) -> float:
        tokens, _ = candidates(rough, 1, keys)
        return sum(row[0] == token for row, token in zip(tokens, chosen, strict=True)) / len(chosen)

    blind, wrong = hits([None] * 1500), hits([Noise(0.8, 8, 0, position) for position in range(1500)])
    assert hits(noise(1500)) > 1.3 * blind
    assert wrong < blind
