"""Typed messages between the HTTP side and the engine process. Neither side ever waits for the other.

To the engine: Submit, Abort, Command. From the engine: Progress (one a step, for all sequences that moved), Refused,
Snapshot, Stopped.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from pipelines.trace import NO_EDITS, Edits, Typical
from speculator.constraint.constraint import Constraint
from speculator.scored import Scored

FinishReason = Literal["stop", "length", "abort"]


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One choice to generate, resolved: token ids in, every default filled in, the seed drawn."""

    id: int
    """Unique within the server; the HTTP side numbers them."""
    prompt_ids: tuple[int, ...]
    tenant: str = "default"
    domain: str = ""
    """What the client says it is about."""
    max_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    seed: int = 0
    choice: int = 0
    stop_ids: tuple[int, ...] = ()
    """Emitted and then finish the choice; `ignore_eos` has already taken the target's own end tokens out of it."""
    edits: Edits = NO_EDITS
    lossy: Typical | None = None
    """How drafts are accepted that the target did not choose; None: the answer is exact."""
    logprobs: int | None = None
    """See `speculator.batch.Sampling`; so is `prompt_logprobs`."""
    prompt_logprobs: int | None = None
    priority: int = 0
    """Where not all can be served at once, less goes first."""
    learn: bool = True
    """Whether anything may learn from it (store, tenant policy): decided before it gets here."""
    speculative: bool = True
    constraint: Constraint | None = None
    """What the answer has to look like."""
    lot: float | None = None
    """A number from 0 to 1, the same for all of a conversation: who falls below a share is served by what is tried out."""


class Submit(msgspec.Struct, frozen=True, tag=True):
    request: Request


class Abort(msgspec.Struct, frozen=True, tag=True):
    """Frees everything of a request; unknown ids are ignored. Answered by a Moved that says `abort` if it was here."""

    id: int


class Command(msgspec.Struct, frozen=True, tag=True):
    """`speculation`: `value` on or off; `drain`: finish what runs, take no more, then stop; `stop`: stop now;
    `snapshot`: answer with a Snapshot at once."""

    action: Literal["speculation", "drain", "stop", "snapshot"]
    value: str = ""


ToEngine = Submit | Abort | Command


class SourceStep(msgspec.Struct, frozen=True, array_like=True):
    """What one source did in one step of one sequence, by depth from 1 (see `pipelines.trace.SourceRecord`)."""

    source: str
    version: str
    proposed: tuple[int, ...]
    reached: tuple[int, ...]
    accepted: tuple[int, ...]


class Moved(msgspec.Struct, frozen=True, array_like=True):
    """One sequence's share of one step."""

    id: int
    token_ids: tuple[int, ...]
    """What the step emitted; empty for an abort."""
    finish_reason: FinishReason | None
    batch_size: int
    nodes: int
    """Drafted nodes verified for it; -1: no verification step (the first token, from the prompt, or an abort)."""
    sources: tuple[SourceStep, ...] = ()
    scored: tuple[Scored, ...] = ()
    """What the target thought of each token of the step, if that was asked for."""
    prompt_scored: tuple[Scored, ...] = ()
    """The same of the prompt's tokens from the second on, with the first token of the output."""
    num_cached: int = 0
    """Of the prompt's tokens, those whose keys and values were there already; with the first token."""


class Progress(msgspec.Struct, frozen=True, tag=True):
    moved: tuple[Moved, ...]


class Refused(msgspec.Struct, frozen=True, tag=True):
    """A request that will never run. `code`: `too_large` (needs more pages than the pool has), `draining`, `queue_full`,
    `constraint` (cannot be followed, or no further: then the request may have run)."""

    id: int
    code: Literal["too_large", "draining", "queue_full", "constraint"]
    message: str


class Snapshot(msgspec.Struct, frozen=True, tag=True):
    """The engine's state, sent about four times a second and when asked: what `/metrics` and `/health` show.

    Counters only grow.
    """

    at: float
    num_running: int
    num_waiting: int
    pages_used: int
    pages_total: int
    num_steps: int
    step_seconds: float
    """Time spent in steps, in all."""
    busy: bool
    versions: dict[str, str]
    """Version in service for each source."""
    generation: int
    num_swaps: int
    num_swap_failures: int
    last_swap_at: float
    last_swap_error: str
    speculation: bool
    counters: dict[str, float] = {}
    """Further counters: `drafts`, `draft_tokens`, `accepted_tokens`, `shadow_steps:<source>`, `shadow_tokens:<source>`
    (counterfactual acceptance: tokens per step the source would have had), `audits`, `audit_failures`, …"""
    gauges: dict[str, float] = {}
    target: str = ""
    """Fingerprint of the target, which the HTTP side writes into traces."""
    kind: str = ""
    """Of the speculator that is swapped: with the target it names the slot."""


class Stopped(msgspec.Struct, frozen=True, tag=True):
    """The engine's last word. `error`: empty when it was asked to stop."""

    error: str = ""


FromEngine = Progress | Refused | Snapshot | Stopped
