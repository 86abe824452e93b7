"""Pace: how far and how widely to draft ahead, from what everything has been measured to take.

What a round brings is p E_hit + (1 - p) E_miss tokens, and it takes as long as the target verifies, since building is cut off
when the next question comes (arXiv 2603.03251, theorem 7, with its max(1, T_p) cut to 1). A longer lookahead raises E, a larger
fan-out raises p, and both have to fit into the time of one verification.

A miss can be made good by drafting while the target waits, which takes T_b of a verification and brings E again; where it pays
depends on what it holds up, so it is done only when every sequence that was asked about missed.
"""

from __future__ import annotations

from dataclasses import dataclass

from speculator.ssd.fanout import FanOut
from speculator.ssd.messages import Planned

FAN_OUTS = (4, 8, 12, 16, 24, 32, 48, 64)
"""Outcomes that are considered, as far as they are allowed, and the allowed number itself."""
_EVERY = 16
"""Rounds between two plans, each of which takes a millisecond or two."""
_KEEP = 0.9
_SLACK = 0.7
"""Of a verification that building may be planned to take: it varies."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Of a round."""

    lookahead: int
    fan_out: int
    hits: float = 0.0
    """Expected share of outcomes foreseen."""
    tokens: float = 1.0
    """Expected tokens of a round."""


class Mean:
    """Of what was seen lately; None before anything was."""

    value: float | None = None

    def see(self, value: float) -> None:
        self.value = value if self.value is None else _KEEP * self.value + (1 - _KEEP) * value


class Line:
    """Seconds as a + b x, by least squares with forgetting; a and b are never negative. Seen for one x alone: proportional above
    it, the same below."""

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
        if spread <= 1e-3 * max(1.0, mean_x**2):  # nothing to tell a slope by: the worst is assumed
            return mean_y * max(1.0, x / mean_x) if mean_x > 0 else mean_y
        slope = (self._xy / self._weight - mean_x * mean_y) / spread
        slope = min(max(slope, 0.0), mean_y / mean_x if mean_x > 0 else 0.0)
        return mean_y + slope * (x - mean_x)


class Pace:
    """adaptive: False: lookahead and fan-out are always as large as they are allowed to be, and nobody waits for a draft."""

    def __init__(self, fan_out: FanOut, *, adaptive: bool = True) -> None:
        self._fan_out = fan_out
        self._adaptive = adaptive
        self.verifying = Mean()
        """From an answer to the next question."""
        self.glue = Mean()
        self.level = Line()
        """One pass over so many branches."""
        self.spot = FanOut(fan_out.policy)
        """How drafts end that were made on the spot: where an outcome was not foreseen, the text is hard to draft for."""
        self._plan = Plan(0, 0)
        self._of: tuple[int, int, int] = (0, 0, 0)
        self._due = 0

    def plan(self, lookahead: int, fan_out: int, num_sequences: int) -> Plan:
        """The round's, within these limits."""
        asked = lookahead, fan_out, num_sequences
        self._due -= 1
        if asked != self._of or self._due <= 0:
            self._of, self._due = asked, _EVERY
            self._plan = self._best(lookahead, fan_out, num_sequences)
        return self._plan

    def expected(self, lookahead: int) -> float:
        """Tokens of a round whose draft is so long, the target's own included."""
        return _tokens(self._fan_out, lookahead)

    def on_the_spot(self, lookahead: int, num_sequences: int, patience: float) -> int:
        """Tokens that are worth drafting while the target waits, for that many sequences which all missed."""
        verifying, first, further = self.verifying.value, self.glue.value, self.level.at(num_sequences)
        if verifying is None or first is None or further is None or not self._adaptive:
            return 0
        rates = [
            (_tokens(self.spot, length) / (verifying + first + (length - 1) * further), length)
            for length in range(1, lookahead + 1)
            if first + (length - 1) * further < patience / 2
        ]
        best, length = max(rates, default=(0.0, 0))
        return length if best > 1.0 / verifying else 0

    def planned(self) -> Planned:
        """The plan as it stands, and why."""
        plan = self._plan
        seconds = self.level.at(plan.fan_out * self._of[2])
        return Planned(
            plan.lookahead, plan.fan_out, plan.hits, plan.tokens, self.verifying.value, self.glue.value, seconds
        )

    def _best(self, lookahead: int, fan_out: int, num_sequences: int) -> Plan:
        verifying, glue = self.verifying.value, self.glue.value if self._adaptive else None
        widths = sorted({each for each in FAN_OUTS if each < fan_out} | {fan_out})
        if verifying is None or glue is None or self.level.at(1) is None:
            return Plan(lookahead, fan_out)
        best = Plan(1, widths[0])
        for width in widths:
            level = self.level.at(width * num_sequences) or 0.0
            for length in range(1, lookahead + 1):
                if glue + length * level > _SLACK * verifying:
                    break
                hits = self._fan_out.expected_hits(self._fan_out.allot(length, width))
                tokens = 1.0 + hits * (self.expected(length) - 1.0)
                if tokens > best.tokens + 1e-3:
                    best = Plan(length, width, hits, tokens)
        return best


def _tokens(fan_out: FanOut, lookahead: int) -> float:
    return 1.0 + sum(k * chance for k, chance in enumerate(fan_out.outcomes(lookahead)))
