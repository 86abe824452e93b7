"""Candidates: what plain torch finds, and better guesses for those who know the noise."""

from __future__ import annotations

import pytest
import torch

from kernels.candidates import Noise, candidates, reference
from kernels.gumbel import gumbel
from kernels.native import library

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


@pytest.mark.parametrize("noisy", [False, True])
@pytest.mark.parametrize("wrong", [torch.nan, torch.inf, -torch.inf])
def test_scores_that_are_no_numbers_give_tokens_of_no_chance(wrong: float, noisy: bool) -> None:
    keys = noise(3) if noisy else [None] * 3
    ids = torch.arange(500, 600, dtype=torch.int32)
    logits = scores(3, 100)
    logits[1] = wrong
    for found in (candidates(logits, 4, keys, ids), reference.candidates(logits, 4, keys, ids)):
        tokens, chances = found
        assert all(500 <= token < 600 for row in tokens for token in row)
        assert chances[1] == [0.0] * 4
        assert min(chances[0][0], chances[2][0]) > 0.05
    assert candidates(logits, 4, keys, ids)[0][::2] == candidates(logits[::2], 4, keys[::2], ids)[0]


@pytest.mark.parametrize("place", [0, 20, 99])
@pytest.mark.parametrize("wrong", [torch.nan, torch.inf])
def test_one_score_that_is_no_number_leaves_tokens_and_chances(wrong: float, place: int) -> None:
    logits = scores(1, 100)
    logits[0, place] = wrong
    for keys in ([None], noise(1)):
        tokens, chances = candidates(logits, 64, keys)
        assert all(0 <= token < 100 for token in tokens[0])
        assert all(0 <= chance <= 1.0001 for chance in chances[0])


@pytest.mark.skipif(library() is None, reason="no C compiler")
def test_ids_are_as_c_reads_them() -> None:
    many = torch.arange(200, dtype=torch.int32)
    for ids in (many[:100].long(), many[:99], many[::2]):
        with pytest.raises(AssertionError):
            candidates(scores(1, 100), 2, [None], ids)


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
