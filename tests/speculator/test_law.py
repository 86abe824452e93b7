"""The target's choice: processors against a plain oracle, and noise on top."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from speculator.batch import Sampling
from speculator.law import _FEW, Chooser, Foresight, noisy_scores, process


def oracle(logits: list[float], sampling: Sampling) -> list[bool]:
    """Which tokens survive, in plain Python and double precision."""
    scores = [logit / sampling.temperature for logit in logits]
    kept = [True] * len(scores)
    top = max(scores)
    if sampling.min_p > 0:
        kept = [math.exp(score - top) >= sampling.min_p for score in scores]
    if 0 < sampling.top_k < len(scores):
        alive = sorted((score for score, keep in zip(scores, kept, strict=True) if keep), reverse=True)
        if sampling.top_k <= len(alive):
            kept = [keep and score >= alive[sampling.top_k - 1] for score, keep in zip(scores, kept, strict=True)]
    if sampling.top_p < 1:
        weights = [math.exp(score - top) * keep for score, keep in zip(scores, kept, strict=True)]
        total, held, edge = sum(weights), 0.0, top
        for score, weight in sorted(zip(scores, weights, strict=True), reverse=True):
            if weight == 0 or held >= sampling.top_p:
                break
            edge, held = score, held + weight / total
        kept = [keep and score >= edge for score, keep in zip(scores, kept, strict=True)]
    return kept


# eighths: exact in both precisions, so that ties are ties; the thresholds are at no sum of their exponentials
logits_lists = st.lists(st.integers(-40, 40).map(lambda n: n / 8), min_size=1, max_size=40)


@settings(max_examples=400, deadline=None)
@given(
    logits_lists,
    st.sampled_from([0.5, 1.0, 2.0]),
    st.sampled_from([0, 1, 2, 5, 39, 40, 100]),
    st.sampled_from([0.0101, 0.3003, 0.5007, 0.9011, 0.9993, 1.0]),
    st.sampled_from([0.0, 0.0503, 0.2007, 0.9001]),
)
def test_processors_keep_what_a_plain_oracle_keeps(
    logits: list[float], temperature: float, top_k: int, top_p: float, min_p: float
) -> None:
    sampling = Sampling(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)
    scores = process(torch.tensor(logits), sampling)
    assert torch.isfinite(scores).tolist() == oracle(logits, sampling)
    finite = torch.isfinite(scores)
    assert torch.allclose(scores[finite], (torch.tensor(logits) / temperature)[finite])


def test_ties_at_an_edge_are_all_kept() -> None:
    logits = torch.tensor([1.0, 3.0, 2.0, 2.0, 2.0, 0.0])
    assert torch.isfinite(process(logits, Sampling(top_k=2))).tolist() == [False, True, True, True, True, False]
    # 3.0 alone holds 0.455, with one 2.0 it holds 0.62
    assert torch.isfinite(process(logits, Sampling(top_p=0.5))).tolist() == [False, True, True, True, True, False]


def test_the_likeliest_token_stays_whatever_top_p() -> None:
    scores = process(torch.tensor([0.0, 5.0, 1.0]), Sampling(top_p=1e-9))
    assert torch.isfinite(scores).tolist() == [False, True, False]


def test_top_p_reaches_beyond_the_tokens_it_looks_at_first() -> None:
    logits = torch.zeros(4 * _FEW)
    logits[: 2 * _FEW] = 1.0
    share = 2 * math.e / (2 * math.e + 2)  # of the half with the higher logit
    scores = process(logits, Sampling(top_p=share - 0.05))
    assert torch.isfinite(scores).sum() == 2 * _FEW
    assert torch.isfinite(process(logits, Sampling(top_p=share + 0.05))).all()


def test_processing_changes_neither_the_logits_nor_a_plain_temperature() -> None:
    logits = torch.randn(50)
    before = logits.clone()
    assert torch.equal(process(logits, Sampling(temperature=0.5)), before / 0.5)
    process(logits, Sampling(temperature=0.5, top_k=3, top_p=0.5, min_p=0.1))
    assert torch.equal(logits, before)


def test_choices_follow_the_processed_distribution() -> None:
    logits = torch.tensor([[1.0, 2.0, 0.0, -1.0, 1.5]])
    sampling = [Sampling(temperature=0.7, top_k=4, seed=seed) for seed in range(8000)]
    choose = Chooser(logits.expand(len(sampling), 5), sampling)
    counts = np.bincount([choose(row, row, 3) for row in range(len(sampling))], minlength=5)
    probs = process(logits[0], sampling[0]).double().softmax(-1).numpy()
    assert counts[3] == 0  # top_k = 4 excludes it
    assert stats.chisquare(counts[probs > 0], probs[probs > 0] * len(sampling)).pvalue > 1e-3


@pytest.mark.parametrize("sampling", [Sampling(temperature=0.0), Sampling(temperature=0.8, seed=4, top_p=0.9)])
def test_a_choice_depends_on_no_other_row(sampling: Sampling) -> None:
    logits = torch.randn(6, 300)
    alone = Chooser(logits[2:3], [sampling])(0, 0, 7)
    others = [Sampling(temperature=0.0), Sampling(temperature=1.3, seed=9), sampling]
    assert Chooser(logits, others)(2, 2, 7) == alone


def test_greedy_takes_the_first_of_the_largest_and_ignores_the_other_parameters() -> None:
    logits = torch.tensor([[0.0, 4.0, 4.0, 1.0]])
    assert Chooser(logits, [Sampling(temperature=0.0, top_p=0.1, top_k=1, min_p=0.5)])(0, 0, 0) == 1


def test_bfloat16_logits_are_judged_in_float32() -> None:
    logits = torch.randn(3, 64).bfloat16()
    sampling = Sampling(temperature=0.9, seed=2)
    assert Chooser(logits, [sampling])(0, 1, 5) == int(noisy_scores(logits[1].float(), sampling, 5).argmax())
    assert Chooser(logits, [Sampling(temperature=0.0)])(0, 1, 5) == int(logits[1].float().argmax())


@pytest.mark.parametrize("token", [0, 1, 3])
def test_what_is_foreseen_of_a_token_is_how_often_it_is_chosen(token: int) -> None:
    probs = torch.tensor([0.6, 0.25, 0.1, 0.05])
    foreseen, chosen = [], []
    for seed in range(6000):
        sampling = Sampling(temperature=1.0, seed=seed)
        foreseen.append(Foresight(sampling, 4).chance(3, token, float(probs[token])))
        chosen.append(Chooser(probs.log().unsqueeze(0), [sampling])(0, 0, 7) == token)
    chance, hit = np.array(foreseen), np.array(chosen)
    assert abs(chance.mean() - probs[token]) < 0.02
    for low, high in ((0.0, 0.2), (0.2, 0.5), (0.5, 0.8), (0.8, 1.0)):
        here = (chance >= low) & (chance < high)
        if here.sum() > 200:
            assert abs(hit[here].mean() - chance[here].mean()) < 0.08
    # and it tells the seeds apart
    likely, unlikely = hit[chance > np.quantile(chance, 0.9)].mean(), hit[chance < np.quantile(chance, 0.5)].mean()
    assert likely > unlikely + 0.2 * float(probs[token])
