"""The four things the demo claims. They are fixed, and the command fails when one does not hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from cli.demo.gains import Pair, gain
from cli.demo.traffic import Exchange
from speculator.law import NEAR_TIE

MIN_CHECKED = 50

Verdict = Literal["identical", "near tie", "different"]


class Claim(msgspec.Struct, frozen=True):
    name: str
    held: bool
    detail: str
    """The figures it rests on, in words."""


class Plain(msgspec.Struct, frozen=True):
    """An answer by plain decoding, one token a forward pass."""

    ids: tuple[int, ...]
    gaps: tuple[float, ...]
    """By position: the difference between the two best scores the choice was made from (or to the edge of
    what top-p or top-k leaves in)."""


def compare(served: Sequence[int], plain: Plain) -> Verdict:
    """Whether a served answer is plain decoding's, token for token. Only a near-tie excuses a difference."""
    if tuple(served) == plain.ids:
        return "identical"
    pairs = zip(served, plain.ids, strict=False)
    first = next((at for at, (ours, theirs) in enumerate(pairs) if ours != theirs), None)
    return "near tie" if first is not None and plain.gaps[first] < NEAR_TIE else "different"


def identical_output(verdicts: Sequence[Verdict]) -> Claim:
    """Output identical to plain decoding on every answer checked, at least MIN_CHECKED of them."""
    same, ties, different = (verdicts.count(verdict) for verdict in ("identical", "near tie", "different"))
    detail = f"{len(verdicts)} answers checked: {same} identical, {different} different, {ties} at a near-tie"
    if len(verdicts) < MIN_CHECKED:
        detail += f"; at least {MIN_CHECKED} are needed"
    return Claim("Output identical to plain decoding", len(verdicts) >= MIN_CHECKED and not different, detail)


def no_failure(exchanges: Sequence[Exchange]) -> Claim:
    """No failed request."""
    failed = [exchange for exchange in exchanges if exchange.error is not None]
    detail = f"{len(exchanges)} requests, {len(failed)} failed"
    if failed:
        detail += f"; the first: {failed[0].error}"
    return Claim("No failed request", bool(exchanges) and not failed, detail)


def swapped(num_swaps: int, gate_bounds: Sequence[float]) -> Claim:
    """At least one version passed the gate and was swapped into the running server.

    gate_bounds: for each published version that was in service, the gate's lower bound on its gain (tokens
    per step).
    """
    passed = [bound for bound in gate_bounds if bound > 0.0]
    detail = f"{num_swaps} swaps while serving; {len(passed)} versions in service had passed the gate"
    if passed:
        detail += f", gaining at least {min(passed):.3f} tokens per step by the gate's own bound"
    return Claim("New weights swapped in after passing the gate", num_swaps > 0 and bool(passed), detail)


def heads_gain(pairs: Sequence[Pair]) -> Claim:
    """The adaptive heads alone beat the static ones by a paired 95 % bound, looping answers left out."""
    name = "The heads alone draft better than at the start"
    judged = gain([pair for pair in pairs if not pair.looping])
    everything = gain(pairs)
    if judged is None or everything is None:
        return Claim(name, False, "no answers to compare on")
    detail = (
        f"{judged.static:.2f} tokens per step before, {judged.adaptive:.2f} now: {judged.ratio:.2f} times "
        f"(95 %: {judged.low:.2f} to {judged.high:.2f}) on {judged.num_answers} answers never learnt from "
        f"({everything.ratio:.2f} times with the looping ones)"
    )
    return Claim(name, judged.low > 1.0, detail)
