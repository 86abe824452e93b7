"""Gate: whether a candidate is better than the champion, decided on conversations neither learnt from.

Pure: scores in, a judgement out. What is compared are the verification steps that the same tokens take, so the sign of the
mean difference in steps is the sign of the gain in tokens per step, over all conversations pooled.

The bound is a studentized paired bootstrap over conversations (bootstrap-t; Efron & Tibshirani, An Introduction to the
Bootstrap, chapter 12). At a nominal 1 % and without a gain, 64 differences with a long tail of losses (log-normal) pass it
in 2.5 % of simulations and the plain percentile bound in 5.3 %; of symmetric ones both let through 1 to 1.5 %.
Judging again and again until it passes would let anything through: look j since the last publication has only
`level / (j (j + 1))` of the error to spend, and these sum to `level` however many looks there are
(alpha spending; Lan & DeMets 1983, by Bonferroni).
"""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Decision = Literal["passed", "not enough evidence", "no gain", "regression in a group", "failed"]
"""`failed`: it passed, and could not be published all the same."""

_CHUNK = 1 << 19
"""Differences resampled in one slice: about 12 ms of one thread."""

Judging = Generator[None, None, "Judgement"]
"""Work in slices: yields after each but the last, returns the judgement."""


@dataclass(frozen=True, slots=True)
class Rules:
    """When a candidate passes."""

    level: float = 0.01
    """Chance, at most, that candidates without a gain ever pass between two publications."""
    min_conversations: int = 64
    min_group: int = 32
    """Conversations from which a domain or tenant counts as a group."""
    max_loss: float = 0.05
    """Share of its tokens per step that no group may lose."""
    worth_having: float = 0.01
    """Gain, relative to the champion, below which there is nothing in sight."""

    def spent_at(self, look: int) -> float:
        """Chance of error for look 1, 2, …"""
        return self.level / (look * (look + 1))


@dataclass(frozen=True, slots=True)
class Score:
    """One conversation under both."""

    tenant: str
    domain: str
    num_tokens: int
    champion_steps: int
    candidate_steps: int


@dataclass(frozen=True, slots=True)
class Judgement:
    decision: Decision
    num_conversations: int
    tokens_per_step: float = 1.0
    """Of the candidate, pooled over the conversations."""
    champion_tokens_per_step: float = 1.0
    gain_lower: float = 0.0
    """Lower bound on `gain` at the level this look may spend."""
    by_group: dict[str, float] = field(default_factory=dict)
    """Relative change for every group, as `domain:…` or `tenant:…`."""

    @property
    def gain(self) -> float:
        """In tokens per step."""
        return self.tokens_per_step - self.champion_tokens_per_step

    @property
    def relative_gain(self) -> float:
        return self.gain / self.champion_tokens_per_step

    def __str__(self) -> str:
        return (
            f"{self.decision}: {self.champion_tokens_per_step:.3f} -> {self.tokens_per_step:.3f} tokens per step, "
            f"gain at least {self.gain_lower:.3f}, {self.num_conversations} conversations"
        )


def judge(scores: Sequence[Score], rules: Rules, *, look: int, seed: int) -> Judging:
    """The judgement of look number `look` (from 1) since the last publication; `seed` makes the bootstrap repeatable."""
    if len(scores) < rules.min_conversations:
        return Judgement("not enough evidence", len(scores))
    tokens = sum(score.num_tokens for score in scores)
    saved = np.array([score.champion_steps - score.candidate_steps for score in scores], np.float64)
    champion = sum(score.champion_steps for score in scores)
    bound = len(scores) * (yield from lower_bound(saved, rules.spent_at(look), np.random.default_rng(seed)))
    groups = _by_group(scores, rules.min_group)
    measured = tokens / sum(score.candidate_steps for score in scores)
    return Judgement(
        _decide(bound, measured * champion / tokens - 1, groups, rules),
        len(scores),
        measured,
        tokens / champion,
        tokens / max(champion - bound, 1.0) - tokens / champion,
        groups,
    )


def lower_bound(sample: NDArray[np.float64], level: float, random: np.random.Generator) -> Generator[None, None, float]:
    """One-sided 1 - `level` lower confidence bound on the mean of [n] by bootstrap-t, in slices.

    Where all are equal it is their value.
    """
    size, mean, deviation = len(sample), float(sample.mean()), float(sample.std(ddof=1))
    if deviation == 0.0:
        return mean
    count, rows = num_resamples(level), max(1, _CHUNK // size)
    draws = []
    for start in range(0, count, rows):
        draws.append(_studentized(sample - mean, min(rows, count - start), random))
        yield
    # the conservative neighbour: the bound must hold at least as often as it says
    quantile = float(np.quantile(np.concatenate(draws), 1 - level, method="higher"))
    return mean - quantile * deviation / math.sqrt(size)


def num_resamples(level: float) -> int:
    """Enough for ten resamples beyond the bound."""
    return min(max(2000, math.ceil(10 / level)), 100_000)


def _studentized(centred: NDArray[np.float64], count: int, random: np.random.Generator) -> NDArray[np.float64]:
    """[count] t statistics of resamples of [n], whose mean is zero."""
    size = len(centred)
    drawn = centred.take(random.integers(size, size=(count, size)))
    mean = drawn.mean(axis=1)
    # the sum of squares in one pass: a third of the time of numpy's std
    variance = (np.einsum("ij,ij->i", drawn, drawn) / size - mean * mean) / (size - 1)
    # a resample without spread, as one that misses a rare loss, is as good as infinitely far from the mean
    far: NDArray[np.float64] = mean / np.sqrt(variance.clip(1e-24))
    return far


def _by_group(scores: Sequence[Score], least: int) -> dict[str, float]:
    members: dict[str, list[Score]] = {}
    for score in scores:
        members.setdefault(f"tenant:{score.tenant}", []).append(score)
        if score.domain:
            members.setdefault(f"domain:{score.domain}", []).append(score)
    return {name: _change(group) for name, group in sorted(members.items()) if len(group) >= least}


def _change(group: Sequence[Score]) -> float:
    champion = sum(score.champion_steps for score in group)
    return champion / sum(score.candidate_steps for score in group) - 1


def _decide(bound: float, gain: float, groups: dict[str, float], rules: Rules) -> Decision:
    if bound > 0 and any(change <= -rules.max_loss for change in groups.values()):
        return "regression in a group"
    if bound > 0:
        return "passed"
    return "not enough evidence" if gain >= rules.worth_having else "no gain"
