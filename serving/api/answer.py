"""Answer: one choice on its way from the engine to the client."""

from __future__ import annotations

from dataclasses import dataclass, field

from pipelines.trace import Consent
from serving.messages import FinishReason, Moved, Request
from serving.text import AnswerText
from serving.traffic import Outcome


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an answer belongs in the traffic log; decided when the request arrives."""

    trace_id: str
    consent: Consent | None
    conversation: str
    domain: str | None


@dataclass(frozen=True, slots=True)
class Delta:
    """What one step adds to an answer, which may be further on by the time this is sent."""

    text: str
    token_ids: tuple[int, ...]
    first: bool
    finish_reason: FinishReason | None
    stop_reason: str | int | None


@dataclass(slots=True, eq=False)
class Answer:
    """Takes the engine's steps and knows what the client may see of them.

    Times are seconds of `time.perf_counter`, unless said otherwise.
    """

    index: int
    request: Request
    origin: Origin
    assembler: AnswerText
    end_ids: frozenset[int]
    """The model's own end tokens, where they end it."""
    created_at: float
    """Unix seconds."""
    arrived_at: float
    moves: list[Moved] = field(default_factory=list)
    output_ids: list[int] = field(default_factory=list)
    """Every token the engine emitted; the last `num_cut` of them came after a stop string."""
    num_cut: int = 0
    text: str = ""
    finish_reason: FinishReason | None = None
    stop_reason: str | int | None = None
    """The stop string or stop token that ended it; None for the model's own end token."""
    first_at: float | None = None
    last_at: float | None = None

    @property
    def num_emitted(self) -> int:
        """Tokens that count: as many as plain decoding would have generated."""
        return len(self.output_ids) - self.num_cut

    @property
    def token_ids(self) -> tuple[int, ...]:
        return tuple(self.output_ids[: self.num_emitted])

    def take(self, moved: Moved, now: float) -> Delta:
        """Moves on by one step of the engine."""
        piece = self.assembler.push(moved.token_ids, moved.finish_reason)
        first = not self.moves
        self.moves.append(moved)
        self.output_ids += moved.token_ids
        self.num_cut = piece.num_cut
        self.text += piece.text
        self.first_at = now if self.first_at is None else self.first_at
        self.last_at = now
        if piece.stop is not None:
            self.finish_reason, self.stop_reason = "stop", piece.stop
        elif moved.finish_reason is not None:
            self.finish_reason = moved.finish_reason
            if moved.finish_reason == "stop" and moved.token_ids[-1] not in self.end_ids:
                self.stop_reason = moved.token_ids[-1]
        shown = moved.token_ids[: piece.num_emitted]
        return Delta(piece.text, shown, first, self.finish_reason, self.stop_reason)

    def outcome(self, now: float) -> Outcome:
        """What the traffic log is told of it; unfinished means aborted. now: Unix seconds."""
        return Outcome(
            trace_id=self.origin.trace_id,
            request=self.request,
            consent=self.origin.consent,
            conversation=self.origin.conversation,
            domain=self.origin.domain,
            started_at=self.created_at,
            finished_at=now,
            output_ids=tuple(self.output_ids),
            num_cut=self.num_cut,
            finish_reason=self.finish_reason or "abort",
            moves=tuple(self.moves),
        )
