"""Scheduler: who takes part in the next step, and what became of the last one.

Requests join and leave between steps. A sequence gets pages as it grows; where none are left, those that are used by nobody are
taken, then those of whoever came last, who comes back later and reads its text again (preemption by recomputation: vLLM,
arXiv 2309.06180). The first in rank always goes on, so that everybody finishes; what could never fit is refused at once.
"""

from __future__ import annotations

import bisect
from collections import Counter
from collections.abc import Hashable
from itertools import count

from models.pages import PagePool, PageTable
from serving.messages import FinishReason, Refused, Request
from serving.prefix_cache import PrefixCache
from speculator.batch import Batch, Chunk, PageCopy, Sampling, Sequence
from speculator.edits import processors_of
from speculator.verify import Verdicts

_RECENT = 0.02
"""Weight of the newest answer's step in the running mean."""


class Scheduler:
    """Owns every sequence from `submit` until it is finished or aborted.

    max_prompt_tokens: text read in a step, in tokens. max_prompt_tokens_beside: the same while answers are being generated, for
    each token that one of them gets in a step, so that a long prompt does not stall them. max_tree: most nodes of one draft, root
    not counted: slots kept free behind each sequence. share_prefixes: whether pages are kept for who comes with the same text.
    """

    def __init__(
        self,
        pool: PagePool,
        *,
        max_running: int = 32,
        max_waiting: int = 1024,
        max_prompt_tokens: int = 256,
        max_prompt_tokens_beside: int = 64,
        max_tree: int = 64,
        share_prefixes: bool = True,
    ) -> None:
        self.pool = pool
        self.cache = PrefixCache(pool)
        self.max_tree = max_tree
        self.counters: Counter[str] = Counter()
        """`preemptions`; `prefix_cache_queries` and `prefix_cache_hits`: tokens to be read, and of them found in pages."""
        self._max_running = max_running
        self._max_waiting = max_waiting
        self._max_prompt_tokens = max_prompt_tokens
        self._max_prompt_tokens_beside = max_prompt_tokens_beside
        self._pace = 1.0
        """Tokens that an answer gets in a step: a running mean."""
        self._share_prefixes = share_prefixes
        self._arrivals = count()
        self._waiting: list[Sequence] = []  # both by rank
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
        sequence.rank = request.priority, next(self._arrivals)
        bisect.insort(self._waiting, sequence, key=_rank)
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
        """The next step: every sequence that decodes, and stretches of text up to the limit for those that read."""
        self._admit()
        stretches = self._stretches()
        decoding: list[Sequence] = []
        chunks: list[Chunk] = []
        copies: list[PageCopy] = []
        for sequence in self.running:
            num_tokens = stretches.get(sequence.id, 0)
            if sequence not in self._running:
                continue  # had to make room for one before it
            if sequence.decoding and self._reserve(sequence, sequence.num_written + 1 + self.max_tree):
                decoding.append(sequence)
            elif num_tokens and (copied := self._copied(sequence)):
                copies.append(copied)
                chunks.append(Chunk(sequence, 1))
            elif num_tokens and self._reserve(sequence, sequence.num_written + num_tokens):
                chunks.append(Chunk(sequence, num_tokens))
        return Batch(tuple(decoding), tuple(chunks), tuple(copies))

    def commit(self, batch: Batch, verdicts: Verdicts) -> list[FinishReason | None]:
        """Moves the sequences on by what was emitted; one finish reason for each of `batch.choosing`. The finished leave."""
        for sequence, emitted in zip(batch.decoding, verdicts.emitted, strict=False):
            sequence.num_written += 1
            self._pace += _RECENT * (len(emitted) - self._pace)
        for chunk in batch.chunks:
            chunk.sequence.num_written += chunk.num_tokens
            self._hand_in(chunk.sequence)
        reasons: list[FinishReason | None] = []
        for sequence, accepted, emitted in zip(batch.choosing, verdicts.accepted, verdicts.emitted, strict=True):
            sequence.num_written += len(accepted)
            sequence.tokens.extend(emitted)
            reasons.append(_finish_reason(sequence))
            if reasons[-1] is not None:
                self._leave(sequence)
        return reasons

    def check(self) -> None:
        """What must hold whenever nothing runs: every page is free, or kept and held by nobody."""
        self.pool.check()
        assert self.cache.num_idle == len(self.cache) == self.pool.num_used, "idle, but pages are held"

    @property
    def num_pages_held(self) -> int:
        """Pages that sequences hold."""
        return self.pool.num_used - self.cache.num_idle

    def _admit(self) -> None:
        """Takes in who waits, by rank: nobody overtakes. More urgent ones push others out."""
        while self._waiting:
            first = self._waiting[0]
            if len(self._running) < self._max_running and self._fits(first):
                self._enter(self._waiting.pop(0))
            elif self._running and self._running[-1].rank[0] > first.rank[0]:
                self._preempt(self._running[-1])
            else:
                return

    def _fits(self, sequence: Sequence) -> bool:
        """Whether there are pages for its text and its first draft, and one more for everybody that runs to grow into."""
        num_known, num_idle = self.cache.known(sequence) if self._share_prefixes else (0, 0)
        wanted = self.pool.pages_for(len(sequence.tokens) + 1 + self.max_tree) - num_known + len(self._running)
        return not self._running or wanted <= self.pool.num_free + self.cache.num_idle - num_idle

    def _enter(self, sequence: Sequence) -> None:
        sequence.pages = PageTable(self.pool.page_size)
        if not sequence.num_output:
            sequence.num_cached = 0
        self.cache.begin(sequence)
        bisect.insort(self._running, sequence, key=_rank)
        self.counters["prefix_cache_queries"] += sequence.num_to_read

    def _stretches(self) -> dict[int, int]:
        """How many tokens each sequence that reads is to read: equal shares of the limit, what one does not need going to the
        others, so that a short prompt never waits for the whole of a long one. Who would read what another reads waits for it."""
        reading: list[Sequence] = []
        pages: set[Hashable] = set()
        for sequence in self._running:
            if sequence.decoding:
                continue
            if self._share_prefixes:
                self._found(sequence, self.cache.adopt(sequence))
                page = self.cache.next_page(sequence)
                if page in pages:
                    continue
                pages.update([page] if page is not None else [])
            reading.append(sequence)
        room = self._max_prompt_tokens
        if any(sequence.decoding for sequence in self._running):
            # the more tokens drafts bring a step, the fewer steps there are to read prompts in: else answers would soon wait for
            # new ones to begin, and a step would serve half of those that run
            room = min(room, int(self._max_prompt_tokens_beside * self._pace))
        shares: dict[int, int] = {}
        for num_served, sequence in enumerate(sorted(reading, key=lambda each: each.num_to_read)):
            shares[sequence.id] = self._share(sequence, max(room // (len(reading) - num_served), min(room, 1)))
            room -= shares[sequence.id]
        return shares

    def _copied(self, sequence: Sequence) -> PageCopy | None:
        """Gives it a page with the end of its prompt, up to the last token, if that is to be had."""
        tail = self.cache.tail(sequence) if self._share_prefixes else None
        if tail is None or not self._reserve(sequence, len(sequence.tokens)):
            return None
        sequence.num_written += tail.num_tokens
        self._found(sequence, tail.num_tokens)
        assert sequence.pages.last is not None
        return PageCopy(tail.page, sequence.pages.last, tail.num_tokens)

    def _found(self, sequence: Sequence, num_tokens: int) -> None:
        """Books tokens that a sequence need not read."""
        self.counters["prefix_cache_hits"] += num_tokens
        sequence.num_cached += num_tokens * (sequence.num_output == 0)

    def _share(self, sequence: Sequence, num_tokens: int) -> int:
        """At most so many tokens, up to the end of a page where that is not the end of the text."""
        if num_tokens >= sequence.num_to_read:
            return sequence.num_to_read
        behind = (sequence.num_written + num_tokens) % self.pool.page_size
        return num_tokens - behind if behind < num_tokens else num_tokens

    def _reserve(self, sequence: Sequence, num_slots: int) -> bool:
        """Gives it pages for so many slots, taking them from who ranks behind it; False: it has to wait."""
        wanted = self.pool.pages_for(num_slots) - len(sequence.pages)
        while wanted > self.pool.num_free:
            if self.cache.num_idle:
                self.cache.evict(wanted - self.pool.num_free)
            elif self._running[-1] is not sequence:
                self._preempt(self._running[-1])
            else:
                return False
        if wanted > 0:
            sequence.pages.extend(self.pool.allocate(wanted, after=sequence.pages.last))
        return True

    def _preempt(self, sequence: Sequence) -> None:
        """It gives its pages up and waits again."""
        self._leave(sequence)
        sequence.num_written = 0
        bisect.insort(self._waiting, sequence, key=_rank)
        self.counters["preemptions"] += 1

    def _leave(self, sequence: Sequence) -> None:
        self._hand_in(sequence)
        self._running.remove(sequence)
        self.cache.end(sequence)
        sequence.pages = PageTable(self.pool.page_size)

    def _hand_in(self, sequence: Sequence) -> None:
        if self._share_prefixes:
            self.cache.hand_in(sequence)


def _rank(sequence: Sequence) -> tuple[int, int]:
    return sequence.rank


def _finish_reason(sequence: Sequence) -> FinishReason | None:
    if sequence.tokens[-1] in sequence.sampling.stop_ids:
        return "stop"
    return "length" if sequence.num_left <= 0 else None


def sampling_of(request: Request) -> Sampling:
    """How its tokens are chosen."""
    return Sampling(
        temperature=request.temperature,
        top_p=request.top_p,
        top_k=request.top_k,
        min_p=request.min_p,
        seed=request.seed,
        choice=request.choice,
        max_tokens=request.max_tokens,
        stop_ids=frozenset(request.stop_ids),
        edits=request.edits,
        lossy=request.lossy,
        logprobs=request.logprobs,
        prompt_logprobs=request.prompt_logprobs,
    )


def _sequence(request: Request) -> Sequence:
    sampling = sampling_of(request)
    return Sequence(
        id=request.id,
        tenant=request.tenant,
        tokens=list(request.prompt_ids),
        num_prompt=len(request.prompt_ids),
        sampling=sampling,
        learn=request.learn,
        speculative=request.speculative,
        domain=request.domain,
        lot=request.lot,
        processors=processors_of(sampling, request.prompt_ids),
    )
