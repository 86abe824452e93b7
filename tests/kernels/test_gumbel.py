"""The noise: from the right distribution, and a function of its key alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from kernels.gumbel import chosen, gumbel, reference
from kernels.gumbel.cpu import gumbel_cpu

CPU = torch.device("cpu")


@pytest.mark.parametrize("seed", [0, 1, -1, 2**63 - 1, -(2**63)])
@pytest.mark.parametrize("vocab_size", [1, 7, 8192])
def test_the_fast_noise_is_the_plain_noise(seed: int, vocab_size: int) -> None:
    for choice, position in ((0, 0), (3, 1), (0, 100_000)):
        plain = reference.gumbel(seed, choice, position, vocab_size, CPU)
        assert torch.equal(gumbel(seed, choice, position, vocab_size, CPU), plain)


def test_noise_has_the_gumbel_distribution() -> None:
    noise = np.concatenate([gumbel_cpu(5, 0, position, 4096) for position in range(25)])
    # 102,400 draws: a shift of 0.01 would push the p-value below 1e-3
    assert stats.kstest(noise, "gumbel_r").pvalue > 1e-3


def test_the_largest_of_noisy_scores_follows_the_softmax() -> None:
    scores = np.array([2.0, 1.0, 0.5, 0.0, -1.0, -3.0], np.float32)
    draws = [int((scores + gumbel_cpu(seed, 0, 9, len(scores))).argmax()) for seed in range(20_000)]
    probs = np.exp(scores.astype(np.float64))
    probs /= probs.sum()
    assert stats.chisquare(np.bincount(draws, minlength=len(scores)), probs * len(draws)).pvalue > 1e-3


def test_noise_is_independent_across_seeds_choices_and_positions() -> None:
    keys = [(1, 0, 0), (2, 0, 0), (1, 1, 0), (1, 0, 1), (1, 0, 2), (0, 1, 1), (257, 0, 0)]
    noise = np.array([gumbel_cpu(*key, 50_000) for key in keys])
    correlation = np.corrcoef(noise) - np.eye(len(keys))
    # of independent draws the standard deviation is 1 / sqrt(50,000) = 0.0045
    assert np.abs(correlation).max() < 0.02


def test_successive_choices_at_successive_positions_are_independent() -> None:
    # the pair (argmax at t, argmax at t + 1) of four equal scores is uniform over sixteen cells
    counts = np.zeros((4, 4))
    for seed in range(8000):
        first, second = (int(gumbel_cpu(seed, 0, position, 4).argmax()) for position in (10, 11))
        counts[first, second] += 1
    assert stats.chisquare(counts.ravel()).pvalue > 1e-3


def test_a_tokens_noise_does_not_depend_on_the_size_of_the_vocabulary() -> None:
    assert (gumbel_cpu(3, 1, 4, 1000) == gumbel_cpu(3, 1, 4, 5000)[:1000]).all()


def test_the_noise_given_out_may_be_written_to() -> None:
    first = gumbel(9, 0, 0, 100, CPU)
    kept = first.clone()
    first.zero_()
    assert torch.equal(gumbel(9, 0, 0, 100, CPU), kept)


@pytest.mark.parametrize("bits", [0, 1, 2**31, 2**32 - 2, 2**32 - 1])
def test_no_hash_gives_infinite_noise(bits: int) -> None:
    uniform = (torch.tensor([bits]).double() + 0.5) * 2.0**-32
    assert torch.isfinite(-(-uniform.log()).log()).all()
    assert 0.0 < uniform.item() < 1.0


@pytest.mark.parametrize("temperature", [0.01, 0.3, 0.8, 1.0, 1.7])
@pytest.mark.parametrize("vocab_size", [1, 15, 16, 100, 8192])
def test_the_choice_is_the_argmax_of_the_noisy_scores(vocab_size: int, temperature: float) -> None:
    generator = torch.Generator().manual_seed(vocab_size)
    for position, spread in enumerate((0.0, 0.1, 1.0, 3.0, 30.0) * 10):
        logits = spread * torch.randn(vocab_size, generator=generator)
        noise = gumbel(7, 2, position, vocab_size, CPU)
        expected = int(reference.scores(logits, temperature, noise).argmax())
        assert chosen(logits, temperature, 7, 2, position) == expected


def test_the_choice_passes_over_what_is_excluded() -> None:
    logits = torch.full((100,), -torch.inf)
    logits[[17, 60]] = torch.tensor([0.0, 1.0])
    choices = [chosen(logits, 1.0, seed, 0, 0) for seed in range(2000)]
    # the chance of the second is 1 / (1 + e^-1) = 0.731, with a standard deviation of 0.01
    assert set(choices) == {17, 60}
    assert abs(choices.count(60) / len(choices) - 0.731) < 0.04
