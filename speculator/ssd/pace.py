"""Pace: how far and how widely to draft ahead, from what everything has been measured to take.

What a round brings is p E_hit + (1 - p) E_miss tokens, and it takes as long as the target verifies, since building is cut off
when the next question comes (arXiv 2603.03251, theorem 7, with its max(1, T_p) cut to 1). A longer lookahead raises E, a larger
fan-out raises p; both are passes of the draft model. To read a token that the text goes through with some chance brings about so
many tokens, whichever of the two it serves, so every pass reads as many of the likeliest as bring the most in its time, and there
are as many passes as the verification has time for.

A miss can be made good by drafting while the target waits, which takes T_b of a verification and brings E again; where it pays
depends on what it holds up, so it is done only when every sequence that was asked about missed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from speculator.ssd.fanout import FanOut
from speculator.ssd.messages import Measured

_KEEP = 0.9
_LAST = 0.9
"""Of a verification after which no pass may still be under way: the next question would wait for it."""
_TRIED = 16
"""In one of so many rounds the first pass is wider than seems best, or made although none seems to fit."""
_OUTLIER = 3.0
"""Times as long as expected, beyond which a pass was held up by something else."""
_WORTH = 0.03
"""Expected tokens of a sequence for which a pass is made: the target's core feels the worker's."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Of what is prepared for a round."""

    lookahead: int
    """Tokens of a draft."""
    fan_out: int
    """Outcomes, for each sequence."""


class Mean:
    """Of what was seen lately; None before anything was."""

    value: float | None = None

    def see(self, value: float) -> None:
        self.value = value if self.value is None else _KEEP * self.value + (1 - _KEEP) * value


class Line:
    """Seconds as a + b x, by least squares with forgetting; a and b are never negative. Seen for one x alone: proportional above
    it, half of it so below."""

    def __init__(self) -> None:
        self._weight = self._x = self._y = self._xx = self._xy = 0.0

    def see(self, x: float, y: float) -> None:
        weights = (self._weight, self._x, self._y, self._xx, self._xy)
        new = (1.0, x, y, x * x, x * y)
        keep = 0.98
        self._weight, self._x, self._y, self._xx, self._xy = (keep * old + more for old, more in zip(weights, new, strict=True))

    def at(self, x: float) -> float | None:
        if self._weight == 0:
            return None
        mean_x, mean_y = self._x / self._weight, self._y / self._weight
        spread = self._xx / self._weight - mean_x**2
        if spread <= 1e-3 * max(1.0, mean_x**2):  # nothing to tell a slope by
            part = x / mean_x if mean_x > 0 else 1.0
            return mean_y * max(part, (1.0 + part) / 2)
        slope = (self._xy / self._weight - mean_x * mean_y) / spread
        slope = min(max(slope, 0.0), mean_y / mean_x if mean_x > 0 else 0.0)
        return mean_y + slope * (x - mean_x)


class Pace:
    """adaptive: False: as in the paper: chains of the full length for as many outcomes as are allowed, however long that takes,
    and nobody waits for a draft."""

    def __init__(self, fan_out: FanOut, *, adaptive: bool = True) -> None:
        self.adaptive = adaptive
        self.verifying = Mean()
        """From an answer to the next question."""
        self.glue = Mean()
        self.level = Line()
        """One pass over so many branches."""
        self.spot = FanOut(fan_out.policy)
        """How drafts end that were made on the spot: where an outcome was not foreseen, the text is hard to draft for."""
        self._rounds = 0
        self._passes, self._outcomes, self._hits, self._first = Mean(), Mean(), Mean(), Mean()

    def see_pass(self, number: int, branches: int, seconds: float) -> None:
        """A round's pass of that number, from 0."""
        expected = self.level.at(branches)
        seconds = seconds if expected is None else min(seconds, _OUTLIER * expected)
        self.level.see(branches, seconds)
        if not number:
            self._first.see(seconds)

    def see_round(self, passes: int, outcomes: float, hits: float) -> None:
        """What a round came to: the outcomes prepared for each sequence, and the chance that one of them comes."""
        for mean, value in ((self._passes, passes), (self._outcomes, outcomes), (self._hits, hits)):
            mean.see(value)

    def measured(self) -> Measured:
        """What rounds come to lately, and what takes how long."""
        means = self._passes, self._outcomes, self._hits, self.verifying, self.glue, self._first
        return Measured(*(mean.value for mean in means))

    def width(self, reaches: Sequence[float], limits: Limits, num_sequences: int, *, made: int, passed: float) -> int:
        """How many branches to read in the next pass: as many as bring the most tokens a second and are through before the next
        question is likely to come; 0: none, and nothing more is prepared for this round.

        reaches: the chance that the text goes through each, falling. made: passes of the round. passed: seconds since the answer.
        """
        most = min(len(reaches), limits.fan_out * num_sequences)
        verifying, first, second = self.verifying.value, self.level.at(1), self.level.at(2)
        if verifying is None or first is None or second is None or not self.adaptive:
            return most if made < limits.lookahead else 0
        left, worth = _LAST * verifying - passed, _WORTH * num_sequences
        self._rounds += not made
        wider = self._rounds % _TRIED == 0  # now and then, as what is known of passes may be out of date
        best, width, brought = 0.0, 0, 0.0
        for count, reach in enumerate(reaches[:most], 1):
            seconds = first + (count - 1) * (second - first)
            if seconds > left:
                break
            too_little, brought = brought < worth, brought + reach
            if brought / seconds > best or too_little:
                best, width = max(best, brought / seconds), count
        if brought < worth:
            width = 0
        if wider and not made:
            return min(most, max(2 * width, num_sequences))
        return width

    def on_the_spot(self, lookahead: int, num_sequences: int, patience: float) -> int:
        """Tokens that are worth drafting while the target waits, for that many sequences which all missed."""
        verifying, first, further = self.verifying.value, self.glue.value, self.level.at(num_sequences)
        if verifying is None or first is None or further is None or not self.adaptive:
            return 0
        rates = [
            (_tokens(self.spot, length) / (verifying + first + (length - 1) * further), length)
            for length in range(1, lookahead + 1)
            if first + (length - 1) * further < patience / 2
        ]
        best, length = max(rates, default=(0.0, 0))
        return length if best > 1.0 / verifying else 0


def _tokens(fan_out: FanOut, lookahead: int) -> float:
    return 1.0 + sum(k * chance for k, chance in enumerate(fan_out.outcomes(lookahead)))
