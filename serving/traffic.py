"""TrafficRecorder: who may learn from an answer, and the trace that enters the log when it may.

Consent is decided before the engine sees a request; what nobody may learn from is never written.
"""

from __future__ import annotations

import hashlib
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from pipelines.trace import LOSSY_SCHEMA, SCHEMA, Consent, FinishReason, SamplingRecord, SourceRecord, StepRecord, Trace
from pipelines.traffic_log import LogCounters, TrafficWriter
from serving.messages import Moved, Request

Policy = Literal["off", "tenant", "shared"]
"""Who may learn from a tenant's traffic: nobody, this tenant's speculators only, or everyone's."""

POLICIES: tuple[Policy, ...] = ("off", "tenant", "shared")


@dataclass(frozen=True, slots=True)
class TenantPolicy:
    """What applies where a request says nothing. Raises ValueError for a policy that does not exist."""

    default: Policy = "shared"
    tenants: Mapping[str, Policy] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, policy in {"default": self.default, **self.tenants}.items():
            if policy not in POLICIES:
                raise ValueError(f"traffic policy of {name} is {policy!r}, expected one of {', '.join(POLICIES)}")

    def of(self, tenant: str) -> Policy:
        return self.tenants.get(tenant, self.default)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One choice of a finished or aborted request, as the HTTP side saw it."""

    trace_id: str
    request: Request
    consent: Consent | None
    """None: opted out."""
    conversation: str
    domain: str | None
    started_at: float
    finished_at: float
    output_ids: tuple[int, ...]
    num_cut: int
    finish_reason: FinishReason
    moves: tuple[Moved, ...]
    """Everything the engine reported of it, in order."""


@dataclass(frozen=True, slots=True)
class TrafficCounters:
    """What became of every finished or aborted choice."""

    finished: int = 0
    opted_out: int = 0
    unlogged: int = 0
    """Finished while no log was configured."""
    appended: int = 0
    written: int = 0
    dropped: int = 0
    pending: int = 0
    spooled: int = 0
    lost: int = 0
    """Of those written, as `spooled`: see `LogCounters`."""

    @property
    def balanced(self) -> bool:
        """Whether nothing was lost or counted twice."""
        known = self.opted_out + self.unlogged + self.written + self.dropped + self.pending
        return self.finished == known


_NO_LOG = LogCounters(appended=0, written=0, dropped=0, pending=0)


class TrafficRecorder:
    """Writes what may be written. Thread-safe; never blocks on the log."""

    def __init__(
        self,
        writer: TrafficWriter | None,
        policy: TenantPolicy,
        target_fingerprint: str,
        tokenizer_fingerprint: str,
    ) -> None:
        self._writer = writer
        self._policy = policy
        self._target = target_fingerprint
        self._tokenizer = tokenizer_fingerprint
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()

    def allowed(self, tenant: str, store: bool | None) -> Consent | None:
        """Who may learn from a request; None: nobody. `store`, the request's own word, can only opt out."""
        policy = self._policy.of(tenant)
        return None if store is False or policy == "off" else policy

    def record(self, outcome: Outcome) -> None:
        """Takes in a finished or aborted choice; call it once for each."""
        with self._lock:
            self._counts["finished"] += 1
            if outcome.consent is None:
                self._counts["opted_out"] += 1
            elif self._writer is None:
                self._counts["unlogged"] += 1
            else:
                self._writer.append(_trace(outcome, outcome.consent, self._target, self._tokenizer))

    def counters(self) -> TrafficCounters:
        """The counts as they stand, one consistent picture: they are always `balanced`."""
        with self._lock:
            log = _NO_LOG if self._writer is None else self._writer.counters()
            return TrafficCounters(
                **self._counts,
                appended=log.appended,
                written=log.written,
                dropped=log.dropped,
                pending=log.pending,
                spooled=log.spooled,
                lost=log.lost,
            )

    def flush(self, timeout: float) -> bool:
        """Waits until everything recorded is durable; False after `timeout` seconds."""
        return self._writer is None or self._writer.flush(timeout)


def conversation_id(name: str | None, user: str | None, opening: Sequence[int] | str) -> str:
    """Groups retries and later turns of a conversation.

    name: what the client calls it, if it does; else the user's name and the opening (the first user message,
    or a bare prompt's tokens) decide. Hashed: neither names nor text enter the log.
    """
    if name is not None:
        key = f"name {name}"
    else:
        words = opening if isinstance(opening, str) else " ".join(map(str, opening))
        key = f"user {user or ''}\n{words}"
    return hashlib.blake2b(key.encode(), digest_size=12).hexdigest()


def _trace(outcome: Outcome, consent: Consent, target: str, tokenizer: str) -> Trace:
    request = outcome.request
    return Trace(
        schema=SCHEMA if request.lossy is None else LOSSY_SCHEMA,
        trace_id=outcome.trace_id,
        tenant=request.tenant,
        conversation=outcome.conversation,
        consent=consent,
        started_at=outcome.started_at,
        finished_at=outcome.finished_at,
        target=target,
        tokenizer=tokenizer,
        prompt_ids=request.prompt_ids,
        output_ids=outcome.output_ids,
        num_cut=outcome.num_cut,
        finish_reason=outcome.finish_reason,
        sampling=SamplingRecord(
            temperature=request.temperature,
            top_p=request.top_p,
            top_k=request.top_k,
            min_p=request.min_p,
            seed=request.seed,
            choice=request.choice,
            max_tokens=request.max_tokens,
            stop_ids=request.stop_ids,
            edits=request.edits,
            constrained=request.constraint is not None,
            lossy=request.lossy,
        ),
        steps=_steps(outcome.moves),
        domain=outcome.domain,
    )


def _steps(moves: Sequence[Moved]) -> tuple[StepRecord, ...]:
    """One record for each verification step: the first token, which the prompt gives, has none."""
    steps: list[StepRecord] = []
    start = 0
    for moved in moves:
        if moved.nodes >= 0:
            sources = tuple(
                SourceRecord(
                    source=each.source,
                    version=each.version,
                    proposed=each.proposed,
                    reached=each.reached,
                    accepted=each.accepted,
                )
                for each in moved.sources
            )
            steps.append(
                StepRecord(
                    start=start,
                    emitted=len(moved.token_ids),
                    batch_size=moved.batch_size,
                    nodes=moved.nodes,
                    sources=sources,
                )
            )
        start += len(moved.token_ids)
    return tuple(steps)
