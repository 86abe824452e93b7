"""Answer: one choice on its way from the engine to the client."""

from __future__ import annotations

from dataclasses import dataclass, field

from pipelines.trace import Consent
from serving.messages import FinishReason, Moved, Request
from serving.text import AnswerText, Piece
from serving.traffic import Outcome
from speculator.scored import Scored


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
    scored: tuple[Scored, ...]
    """Of its tokens, if that was asked for."""


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
    prompt_text: str | None = None
    """As the client sent it, if it sent a text."""
    heard: bool = True
    """False: only the prompt was asked about, and the client sees nothing of what follows."""
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
    def num_cached(self) -> int:
        """Of the prompt's tokens, those that did not have to be read."""
        return self.moves[0].num_cached if self.moves else 0

    @property
    def token_ids(self) -> tuple[int, ...]:
        return tuple(self.output_ids[: self.num_emitted])

    @property
    def scored(self) -> tuple[Scored, ...]:
        """Of its tokens, if that was asked for."""
        return tuple(each for moved in self.moves for each in moved.scored)[: self.num_emitted]

    @property
    def prompt_scored(self) -> tuple[Scored, ...]:
        return self.moves[0].prompt_scored

    def take(self, moved: Moved, now: float) -> Delta:
        """Moves on by one step of the engine."""
        piece = self._piece(moved)
        first = not self.moves
        self.moves.append(moved)
        self.output_ids += moved.token_ids
        self.num_cut = piece.num_cut
        self.text += piece.text
        self.first_at = now if self.first_at is None else self.first_at
        self.last_at = now
        if piece.stop is not None:
            self.finish_reason, self.stop_reason = "stop", piece.stop
        elif not self.heard:
            self.finish_reason = "length"
        elif moved.finish_reason is not None:
            self.finish_reason = moved.finish_reason
            if moved.finish_reason == "stop" and moved.token_ids[-1] not in self.end_ids:
                self.stop_reason = moved.token_ids[-1]
        shown, scored = moved.token_ids[: piece.num_emitted], moved.scored[: piece.num_emitted]
        return Delta(piece.text, shown, first, self.finish_reason, self.stop_reason, scored)

    def _piece(self, moved: Moved) -> Piece:
        if not self.heard:
            return Piece("", 0, len(moved.token_ids))
        return self.assembler.push(moved.token_ids, moved.finish_reason)

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
