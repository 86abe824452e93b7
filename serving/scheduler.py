"""Scheduler: who takes part in the next step, and what became of the last one.

Requests join and leave between steps. A request is admitted when pages for all it could ever need are free, so that nothing
that runs can stall for want of one; a request that could never fit is refused at once.
"""

from __future__ import annotations

from collections import deque

from models.pages import PagePool
from serving.messages import FinishReason, Refused, Request
from speculator.batch import Batch, Chunk, Sampling, Sequence
from speculator.edits import processors_of
from speculator.verify import Verdicts


class Scheduler:
    """Owns every sequence from `submit` until it is finished or aborted.

    max_prompt_tokens: prompt tokens per step (a chunk), so that a long prompt does not stall those decoding.
    max_tree: most nodes of one draft, root not counted: slots kept free behind each sequence.
    """

    def __init__(
        self, pool: PagePool, *, max_running: int = 32, max_waiting: int = 1024, max_prompt_tokens: int = 256, max_tree: int = 64
    ) -> None:
        self.pool = pool
        self.max_tree = max_tree
        self._max_running = max_running
        self._max_waiting = max_waiting
        self._max_prompt_tokens = max_prompt_tokens
        self._waiting: deque[Sequence] = deque()
        self._running: list[Sequence] = []

    @property
    def running(self) -> tuple[Sequence, ...]:
        return tuple(self._running)

    @property
    def waiting(self) -> tuple[Sequence, ...]:
        return tuple(self._waiting)

    @property
    def num_waiting(self) -> int:
        return len(self._waiting)

    @property
    def num_running(self) -> int:
        return len(self._running)

    @property
    def has_work(self) -> bool:
        return bool(self._running or self._waiting)

    def submit(self, request: Request) -> Sequence | Refused:
        """Queues a request, or says why it will never run."""
        needed = self.pool.pages_for(len(request.prompt_ids) + request.max_tokens + self.max_tree)
        if needed > self.pool.num_pages:
            message = (
                f"prompt of {len(request.prompt_ids)} tokens with max_tokens {request.max_tokens} needs {needed} pages of "
                f"{self.pool.page_size} tokens; the server has {self.pool.num_pages}"
            )
            return Refused(request.id, "too_large", message)
        if len(self._waiting) >= self._max_waiting:
            return Refused(request.id, "queue_full", f"{self._max_waiting} requests are waiting already")
        sequence = _sequence(request)
        self._waiting.append(sequence)
        return sequence

    def abort(self, request_id: int) -> Sequence | None:
        """Takes a sequence out and frees everything it holds; None if it is not here (any more)."""
        for sequence in self._running:
            if sequence.id == request_id:
                self._leave(sequence)
                return sequence
        for sequence in self._waiting:
            if sequence.id == request_id:
                self._waiting.remove(sequence)
                return sequence
        return None

    def schedule(self) -> Batch:
        """The next step: every decoding sequence, and prompt chunks up to the limit, first come first served."""
        self._admit()
        room = self._max_prompt_tokens
        chunks: list[Chunk] = []
        for sequence in self._running:
            if not sequence.decoding and room > 0:
                chunks.append(Chunk(sequence, min(room, sequence.num_unwritten)))
                room -= chunks[-1].num_tokens
        return Batch(tuple(sequence for sequence in self._running if sequence.decoding), tuple(chunks))

    def commit(self, batch: Batch, verdicts: Verdicts) -> list[FinishReason | None]:
        """Moves the sequences on by what was emitted; one finish reason for each of `batch.choosing`. The finished leave."""
        for sequence in batch.decoding:
            sequence.num_written += 1
        for chunk in batch.chunks:
            chunk.sequence.num_written += chunk.num_tokens
        reasons: list[FinishReason | None] = []
        for sequence, accepted, emitted in zip(batch.choosing, verdicts.accepted, verdicts.emitted, strict=True):
            sequence.num_written += len(accepted)
            sequence.tokens.extend(emitted)
            reasons.append(_finish_reason(sequence))
            if reasons[-1] is not None:
                self._leave(sequence)
        return reasons

    def _admit(self) -> None:
        while self._waiting and len(self._running) < self._max_running:
            sequence = self._waiting[0]
            pages = self.pool.pages_for(sequence.num_prompt + sequence.sampling.max_tokens + self.max_tree)
            if pages > self.pool.num_free:
                return  # first come, first served: nobody overtakes
            sequence.pages = self.pool.allocate(pages)
            self._running.append(self._waiting.popleft())

    def _leave(self, sequence: Sequence) -> None:
        self._running.remove(sequence)
        self.pool.release(sequence.pages)
        sequence.pages = []


def _finish_reason(sequence: Sequence) -> FinishReason | None:
    if sequence.tokens[-1] in sequence.sampling.stop_ids:
        return "stop"
    return "length" if sequence.num_left <= 0 else None


def _sequence(request: Request) -> Sequence:
    sampling = Sampling(
        temperature=request.temperature,
        top_p=request.top_p,
        top_k=request.top_k,
        min_p=request.min_p,
        seed=request.seed,
        choice=request.choice,
        max_tokens=request.max_tokens,
        stop_ids=frozenset(request.stop_ids),
        edits=request.edits,
        logprobs=request.logprobs,
        prompt_logprobs=request.prompt_logprobs,
    )
    return Sequence(
        id=request.id,
        tenant=request.tenant,
        tokens=list(request.prompt_ids),
        num_prompt=len(request.prompt_ids),
        sampling=sampling,
        learn=request.learn,
        speculative=request.speculative,
        lot=request.lot,
        processors=processors_of(sampling, request.prompt_ids),
    )
