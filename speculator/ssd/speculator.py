"""SsdSpeculator: the engine's side. It asks, waits no longer than it pays, and goes on without a worker that does not answer."""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable

import msgspec
import safetensors.torch

from models.config import DecoderConfig
from pipelines.wire import WireClosed
from speculator.batch import Batch, Sequence
from speculator.belief import Belief
from speculator.draft_lm import KIND, check_fits
from speculator.drafts import Drafts, Tree
from speculator.preparing import Preparing
from speculator.protocol import Budget, Checkpoint
from speculator.ssd.messages import Ask, Begin, Drafted, End, FromWorker, Ready, Reply, Row, Weights
from speculator.ssd.transport import Link
from speculator.verify import Verdicts

log = logging.getLogger(__name__)

NAME = "ssd"

_FIRST_WAIT, _LONGEST_WAIT = 0.5, 30.0
"""Seconds before a worker is started again; doubled each time it fails within a minute."""
_STEADY = 60.0
PIECE = 1 << 17
"""Bytes of newer weights that are sent at a time, one piece a step: a socket takes so many without anybody reading, so that the
next question need not wait for its turn."""
_COUNTED = (
    *(f"ssd_{what}:{outcome}" for what in ("rounds", "tokens") for outcome in ("hit", "miss")),
    *(f"ssd_{what}" for what in ("wait_seconds", "build_seconds", "idle_seconds", "late", "failures")),
)


class SsdSpeculator:
    """start: starts a worker, or waits for one; called from a thread. stop: ends that wait. shape: of the draft model.
    vocab_size: of the target: no other token is ever drafted.

    lookahead, fan_out: tokens of a draft and outcomes prepared for each sequence, at most: see `speculator.ssd.pace`. patience:
    seconds that a round waits for its reply; the worker answers between two passes. hang: seconds without any reply after which
    it is given up.
    """

    needs_hidden = False
    needs_layers: tuple[int, ...] = ()
    kind = KIND
    """Of the checkpoints that it takes."""

    def __init__(
        self,
        start: Callable[[], Link],
        *,
        name: str = NAME,
        version: str,
        shape: DecoderConfig,
        vocab_size: int,
        lookahead: int = 4,
        fan_out: int = 24,
        patience: float = 0.02,
        hang: float = 2.0,
        clock: Callable[[], float] = time.perf_counter,
        stop: Callable[[], None] = lambda: None,
    ) -> None:
        self.name = name
        self.version = version
        self.lookahead = lookahead
        self.fan_out = fan_out
        self.counters: defaultdict[str, float] = defaultdict(float, dict.fromkeys(_COUNTED, 0.0))
        """What is shown in metrics; they only grow."""
        self.gauges: dict[str, float] = {}
        """What the worker's rounds come to, and what takes how long there."""
        self._start = start
        self._stop = stop
        self._shape = shape
        self._vocab_size = vocab_size
        self._patience = patience
        self._hang = hang
        self._clock = clock
        self._link: Link | None = None
        self._ready = False
        self._starting: list[Link | BaseException] | None = None
        """Empty while a thread starts a worker; then what came of it."""
        self._starter: threading.Thread | None = None
        self._wait = _FIRST_WAIT
        self._start_at = 0.0
        self._started_at = 0.0
        self._round = 0
        self._replied_at: float | None = None
        """When the reply to the question before was there, if it was."""
        self._steps = 0
        """Taken since then."""
        self._unanswered_since: float | None = None
        self._live: dict[int, tuple[Sequence, int]] = {}
        """Sequences, and how many of their tokens the worker knows."""
        self._handed: dict[int, tuple[bool, int]] = {}
        """By sequence: whether the last draft was a hit, and its length."""
        self._weights: tuple[str, bytes] | None = None
        """The newest version, for this worker and for those that come after it."""
        self._sent = 0
        """Bytes of it that this worker was told."""
        self._packing: Preparing[tuple[str, bytes]] = Preparing("newer weights not sent")

    def start(self) -> None:
        """Has a worker started now, rather than with the first draft that is asked for. Waits for nothing."""
        if self._link is None:
            self._try_to_start(self._clock())

    @property
    def up(self) -> bool:
        """Whether a worker is there."""
        return self._ready

    def begin(self, sequence: Sequence) -> None:
        self._live[sequence.id] = (sequence, len(sequence.tokens))
        if self._ready:
            self._say(_begin(sequence))

    def propose(self, batch: Batch, budget: Budget) -> Drafts:
        """A tree for each decoding sequence whose outcome was foreseen; empty for the others."""
        trees = [Tree.rooted(sequence.tokens[-1]) for sequence in batch.decoding]
        self._handed = {}
        asked = {
            sequence.id: row
            for row, sequence in enumerate(batch.decoding)
            if sequence.speculative and sequence.num_left > 1 and sequence.id in self._live
        }
        if asked and budget.allows(self.name) and self._present():
            share, certain = budget.share(len(asked)), budget.nodes // len(asked) or 1
            for drafted in self._replied(batch, asked, share):
                row = asked.get(drafted.sequence)
                if row is not None:
                    # what was drawn is not pruned any more
                    most = min(certain if drafted.beliefs else share, budget.max_depth)
                    trees[row] = self._tree(batch.decoding[row], drafted, most)
        return Drafts.pack(trees, (self.name,), {self.name: self.version})

    def verifying(self, batch: Batch, drafts: Drafts) -> None:
        """The worker drafts ahead since it answered, untold. There is time for a piece of newer weights, though."""
        packed = self._packing.taken()
        if packed is not None:
            self._weights, self._sent = packed, 0
        if self._ready and self._weights is not None:
            version, data = self._weights
            if self._sent < len(data):
                piece = data[self._sent : self._sent + PIECE]
                self._say(Weights(version=version, data=piece, at=self._sent, total=len(data)))
                self._sent += len(piece)

    def observe(self, batch: Batch, drafts: Drafts, verdicts: Verdicts) -> None:
        self._steps += 1
        for sequence, emitted in zip(batch.decoding, verdicts.emitted, strict=False):
            found = self._handed.get(sequence.id)
            if found is not None:
                kind = "hit" if found[0] else "miss"
                self.counters[f"ssd_rounds:{kind}"] += 1
                self.counters[f"ssd_tokens:{kind}"] += len(emitted)

    def end(self, sequence: Sequence) -> None:
        if self._live.pop(sequence.id, None) is not None and self._ready:
            self._say(End(sequence.id))

    def load(self, checkpoint: Checkpoint) -> None:
        """Hands the weights on, in pieces while the target verifies; the worker takes them between two passes.

        Raises ForeignCheckpoint, handing on nothing, for weights that do not fit.
        """
        check_fits(checkpoint, self._shape)

        def pack() -> tuple[str, bytes]:
            data = safetensors.torch.save({name: tensor.contiguous() for name, tensor in checkpoint.weights.items()})
            return checkpoint.manifest.version, data

        self._packing.want(pack)

    def cost(self, rows: int) -> float:
        return 0.0

    def close(self) -> None:
        """Ends the worker, and the wait for one."""
        self._ready = False
        if self._link is not None:
            self._link.close()
            self._link = None
        self._stop()
        if self._starter is not None:
            self._starter.join()
        for came in self._starting or ():  # and was never taken up
            if not isinstance(came, BaseException):
                came.close()
        self._starting = None

    # The worker's life.

    def _present(self) -> bool:
        """Whether there is a worker to ask; starts one if it is time, and never waits for it."""
        if self._ready:
            return True
        now = self._clock()
        if self._link is None:
            self._try_to_start(now)
        if self._link is not None:
            for message in self._heard(0.0):
                if isinstance(message, Ready):
                    self._welcome(message)
        return self._ready

    def _try_to_start(self, now: float) -> None:
        if self._starting is None:
            if now < self._start_at:
                return
            box: list[Link | BaseException] = []
            self._starting = box

            def start() -> None:
                try:
                    box.append(self._start())
                except BaseException as error:
                    box.append(error)

            self._starter = threading.Thread(target=start, name="ssd-start", daemon=True)
            self._starter.start()
        if not self._starting:
            return
        (came,), self._starting = self._starting, None
        if isinstance(came, BaseException):
            self._failed(f"it does not start: {came}")
        else:
            self._link, self._started_at = came, now

    def _welcome(self, ready: Ready) -> None:
        self._ready = True
        self._replied_at = None
        self.version = ready.version
        self._unanswered_since = None
        self._sent = 0
        for sequence, _ in list(self._live.values()):
            self._live[sequence.id] = (sequence, len(sequence.tokens))
            self._say(_begin(sequence))
        log.info("the drafting worker is there")

    def _failed(self, why: str) -> None:
        now = self._clock()
        if self._ready and now - self._started_at >= _STEADY:
            self._wait = _FIRST_WAIT
        log.error("the drafting worker is given up, decoding goes on without it: %s; it starts again in %.1f s", why, self._wait)
        self.counters["ssd_failures"] += 1
        link, self._link = self._link, None
        self._ready = False
        self.gauges = {}
        self._start_at = now + self._wait
        self._wait = min(2 * self._wait, _LONGEST_WAIT)
        if link is not None:
            threading.Thread(target=link.close, name="ssd-close", daemon=True).start()

    # Rounds.

    def _replied(self, batch: Batch, asked: dict[int, int], nodes: int) -> tuple[Drafted, ...]:
        """What the worker has for the sequences asked about; nothing if it does not say so in time. nodes: of a tree."""
        rows = []
        for identity, row in asked.items():
            tokens, known = batch.decoding[row].tokens, self._live[identity][1]
            rows.append(Row(identity, tuple(tokens[known:])))
            self._live[identity] = (batch.decoding[row], len(tokens))
        self._round += 1
        started = self._clock()
        ask = Ask(
            round=self._round,
            rows=tuple(rows),
            lookahead=self.lookahead,
            fan_out=self.fan_out,
            nodes=nodes,
            patience=self._patience,
            # with other steps or a pause between them it would not be the time of one verification
            since=started - self._replied_at if self._replied_at is not None and self._steps == 1 else 0.0,
        )
        self._replied_at = None
        self._say(ask)
        until = started + self._patience
        while self._ready:
            left = until - self._clock()
            for message in self._heard(max(0.0, left)):
                if isinstance(message, Reply):
                    self._unanswered_since = None
                    if message.round == self._round:
                        return self._counted(message, self._clock() - started)
                    self.counters["ssd_late"] += 1  # an older round's: what it says is out of date
            if left <= 0:
                break
        if self._unanswered_since is None:
            self._unanswered_since = started
        elif self._ready and self._clock() - self._unanswered_since > self._hang:
            self._failed(f"no answer for {self._hang:g} s")
        return ()

    def _counted(self, reply: Reply, waited: float) -> tuple[Drafted, ...]:
        self.version = reply.version
        self._replied_at, self._steps = self._clock(), 0
        self.counters["ssd_wait_seconds"] += waited
        self.counters["ssd_build_seconds"] += reply.build_seconds
        self.counters["ssd_idle_seconds"] += reply.idle_seconds
        measured = msgspec.structs.asdict(reply.measured)
        self.gauges = {f"ssd_{name}": value for name, value in measured.items() if value is not None}
        return reply.rows

    def _tree(self, sequence: Sequence, drafted: Drafted, most: int) -> Tree:
        """What was drafted, to the depth of so many tokens."""
        tree, depth = Tree.rooted(sequence.tokens[-1]), min(most, sequence.num_left - 1)
        places: list[int | None] = [0]  # by number of token, where it is in the tree, if it is
        beliefs = drafted.beliefs or (None,) * len(drafted.tokens)
        for token, parent, chance, belief in zip(drafted.tokens, drafted.parents, drafted.chances, beliefs, strict=False):
            wrong = _wrong(token, chance, belief, self._vocab_size)
            if not wrong and not 0 <= parent < len(places):
                wrong = f"token {token} behind number {parent} of {len(places) - 1}"
            if wrong:
                self._failed(f"it drafted {wrong}")
                return Tree.rooted(sequence.tokens[-1])
            at = places[parent]
            if at is None or tree.depth[at] >= depth or tree.child(at, token) is not None:
                places.append(None)  # too deep, or the same again
                continue
            if belief is not None:
                tree.beliefs[at] = belief
            places.append(tree.add(at, token, chance, 1))
        self._handed[sequence.id] = (drafted.hit, len(tree) - 1)
        return tree

    def _say(self, message: Begin | End | Ask | Weights) -> None:
        if self._link is not None:
            try:
                self._link.send(message)
            except WireClosed as error:
                self._failed(f"it is gone: {error}")

    def _heard(self, seconds: float) -> list[FromWorker]:
        if self._link is None:
            return []
        try:
            return self._link.receive(seconds)
        except WireClosed as error:
            self._failed(f"it is gone: {error}")
        except (msgspec.DecodeError, msgspec.ValidationError, ValueError) as error:
            self._failed(f"it says what cannot be understood: {error}")
        return []


def _wrong(token: int, chance: float, belief: Belief | None, vocab_size: int) -> str:
    """What is wrong with it, in words; empty: nothing."""
    if not 0 <= token < vocab_size or not 0.0 <= chance <= 1.0:
        return f"token {token} of chance {chance}"
    if belief is not None and not belief.holds(token, vocab_size):
        return f"token {token}, which its belief does not hold"
    return ""


def _begin(sequence: Sequence) -> Begin:
    sampling = sequence.sampling
    return Begin(
        sequence=sequence.id,
        tokens=tuple(sequence.tokens),
        num_prompt=sequence.num_prompt,
        max_tokens=sampling.max_tokens,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        top_k=sampling.top_k,
        min_p=sampling.min_p,
        seed=sampling.seed,
        choice=sampling.choice,
    )
