"""How speculation went for one request, in the shape of vLLM's per-request statistics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import zip_longest

import msgspec

from serving.messages import Moved


class SpeculativeDecoding(msgspec.Struct, frozen=True, kw_only=True):
    """Steps without a draft are counted apart: they say nothing about drafts."""

    mean_acceptance_length: float | None
    """Tokens per step with a draft, the bonus token included; null without any."""
    draft_acceptance_rate: float | None
    """Accepted over drafted tokens; a tree drafts more than one for a position."""
    acceptance_histogram: tuple[int, ...]
    """Entry i: steps that accepted i drafted tokens."""
    num_spec_steps: int
    num_accepted_draft_tokens: int
    num_draft_tokens: int
    num_plain_steps: int
    steps: dict[str, dict[str, int]]
    """By source and version: the steps in which it had a draft."""


class RequestMetrics(msgspec.Struct, frozen=True):
    speculative_decoding: SpeculativeDecoding


def num_accepted(moved: Moved) -> int:
    """Drafted tokens that a verification step kept, whichever source had them.

    Usually one less than it emitted, but an accepted stop token is the last: nothing of the target's follows it.
    """
    return sum(map(any, zip_longest(*(source.accepted for source in moved.sources), fillvalue=0)))


def request_metrics(moves: Iterable[Moved]) -> RequestMetrics:
    """Statistics over every step of a request, all its answers together."""
    verified = [moved for moved in moves if moved.nodes >= 0 and moved.token_ids]
    drafted = [moved for moved in verified if moved.nodes > 0]
    accepted = Counter(num_accepted(moved) for moved in drafted)
    total = sum(count * times for count, times in accepted.items())
    nodes = sum(moved.nodes for moved in drafted)
    steps: dict[str, dict[str, int]] = {}
    for source in (source for moved in drafted for source in moved.sources if any(source.proposed)):
        versions = steps.setdefault(source.source, {})
        versions[source.version] = versions.get(source.version, 0) + 1
    return RequestMetrics(
        SpeculativeDecoding(
            mean_acceptance_length=1 + total / len(drafted) if drafted else None,
            draft_acceptance_rate=total / nodes if nodes else None,
            acceptance_histogram=tuple(accepted[count] for count in range(max(accepted, default=-1) + 1)),
            num_spec_steps=len(drafted),
            num_accepted_draft_tokens=total,
            num_draft_tokens=nodes,
            num_plain_steps=len(verified) - len(drafted),
            steps=steps,
        )
    )
