"""The worker: answers at once with what it has, then drafts ahead until it is asked again."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence

import safetensors.torch

from models.draft import check_draft_weights
from models.pages import OutOfPages, PagePool, PageTable
from pipelines.wire import WireClosed
from speculator.batch import Sampling
from speculator.calibration import Calibration
from speculator.draft_runner import DraftRunner, Prepared, Track
from speculator.drafts import Law
from speculator.preparing import Preparing
from speculator.ssd.builder import Builder, Draftee
from speculator.ssd.fanout import FanOut
from speculator.ssd.messages import Ask, Begin, Drafted, End, Ready, Reply, Row, Stop, ToWorker, Weights
from speculator.ssd.pace import Limits
from speculator.ssd.prepared import Node, likeliest, way
from speculator.ssd.transport import WorkerLink

log = logging.getLogger(__name__)

_IDLE_SECONDS = 0.05


class Worker:
    """room: positions behind each text, for drafts and branches."""

    def __init__(
        self,
        wire: WorkerLink,
        runner: DraftRunner,
        pool: PagePool,
        version: str,
        *,
        fan_out: FanOut | None = None,
        room: int = 160,
        law: Law = Law.POINT_MASS,
        saguaro: float = 1.0,
        adaptive: bool = True,
    ) -> None:
        self._wire = wire
        self._runner = runner
        self._pool = pool
        self._version = version
        self._fan_out = fan_out or FanOut()
        self._room = room
        self._calibration = Calibration(1)
        self._builder = Builder(runner, self._fan_out, self._calibration, law=law, saguaro=saguaro, adaptive=adaptive)
        self._building: Iterator[None] | None = None
        self._refilling: Iterator[None] | None = None
        """What older weights have read is read again whenever there is nothing to prepare."""
        self._arriving = bytearray()
        """The part of newer weights that has come."""
        self._preparing: Preparing[tuple[str, Prepared]] = Preparing("weights refused, those before stay")
        self._draftees: dict[int, Draftee] = {}
        self._new: list[Draftee] = []
        """Those that nothing was prepared for yet."""
        self._limits: Limits | None = None
        """Of the last round."""
        self._build_seconds = self._idle_seconds = 0.0
        self._running = True

    def run(self) -> None:
        """Until it is told to stop, or the engine is gone."""
        self._wire.send(Ready(self._version))
        try:
            while self._running:
                self.turn()
        except WireClosed:
            log.info("the engine is gone")

    def turn(self) -> None:
        """Takes what has come, and makes one pass if there is anything to prepare."""
        started = time.perf_counter()
        busy = self._building is not None or self._refilling is not None
        messages = self._wire.receive(0.0 if busy else _IDLE_SECONDS)
        if not busy:
            self._idle_seconds += time.perf_counter() - started
        self.take(messages)
        self._take_weights()
        if self._building is None and self._new and self._limits is not None:
            self._building = self._builder.build(self._taken_new(), self._limits, time.perf_counter())
        started = time.perf_counter()
        if self._building is not None:
            if next(self._building, self) is self:
                self._building = None
            self._build_seconds += time.perf_counter() - started
        elif self._refilling is not None and next(self._refilling, self) is self:
            self._refilling = None

    def take(self, messages: Sequence[ToWorker]) -> None:
        """Does what it is told, in order."""
        for message in messages:
            match message:
                case Ask():
                    self._answer(message)
                case Begin():
                    self._begin(message)
                case End():
                    self._end(message.sequence)
                case Weights():
                    self._take_piece(message)
                case Stop():
                    self._running = False

    def _answer(self, ask: Ask) -> None:
        """Whatever was under construction is left as it is: it may do all the same, for fewer tokens."""
        self._building = None
        pace = self._builder.pace
        if ask.since > 0:  # not by our own clock: the question may have lain here while a pass was made
            pace.verifying.see(ask.since)
        rows = tuple(self._drafted(row, ask) for row in ask.rows)
        if rows and not any(row.tokens for row in rows):
            rows = self._on_the_spot(ask, rows)
        reply = Reply(
            round=ask.round,
            rows=rows,
            version=self._version,
            build_seconds=self._build_seconds,
            idle_seconds=self._idle_seconds,
            measured=pace.measured(),
        )
        self._wire.send(reply)
        replied = time.perf_counter()
        self._build_seconds = self._idle_seconds = 0.0
        self._limits = Limits(ask.lookahead, ask.fan_out)
        asked = [self._draftees[row.sequence] for row in ask.rows if row.sequence in self._draftees]
        new = [each for each in self._taken_new() if each not in asked]
        self._building = self._builder.build([*asked, *new], self._limits, replied)

    def _on_the_spot(self, ask: Ask, rows: tuple[Drafted, ...]) -> tuple[Drafted, ...]:
        """Nobody's outcome was foreseen, so nobody is held up: drafts now, if that takes less than it brings."""
        draftees = [self._draftees[row.sequence] for row in rows if row.sequence in self._draftees]
        length = self._builder.pace.on_the_spot(ask.lookahead, len(draftees), ask.patience)
        if not length or not ask.fan_out:
            return rows
        self._builder.draft_now(draftees, length, ask.fan_out)
        found = {each.number: self._handed(each, length, ask.nodes, hit=False) for each in draftees}
        for each in draftees:
            each.on_the_spot = True
        return tuple(found.get(row.sequence, row) for row in rows)

    def _drafted(self, row: Row, ask: Ask) -> Drafted:
        draftee = self._draftees.get(row.sequence)
        if draftee is None:
            return Drafted(row.sequence, False, (), (), ())
        self._learn(draftee, row.emitted)
        node = draftee.root.walk(row.emitted)
        draftee.tokens += row.emitted
        self._runner.vocabulary.see(row.emitted)
        # what is prepared below stays so, should there be no time to prepare anew
        draftee.root, draftee.ranked = node or Node(), []
        # nothing emitted: it has just entered, and there was nothing to foresee
        hit = node is not None and node.main is not None and bool(row.emitted)
        return self._handed(draftee, ask.lookahead, ask.nodes, hit=hit)

    def _handed(self, draftee: Draftee, lookahead: int, nodes: int, *, hit: bool) -> Drafted:
        """What is prepared behind its text: the likeliest part of a tree; a chain where it was drawn, or where that is all."""
        draftee.on_the_spot, draftee.offered = False, None
        tree = draftee.root.tree(min(lookahead, nodes))
        if not tree.beliefs:
            draftee.offered = tree
            tree = likeliest(tree, self._calibration.chances(0, tree, not draftee.sampling.greedy), nodes)
        draftee.handed, draftee.draft = tree, way(tree)
        return Drafted(
            draftee.number,
            hit,
            tuple(tree.tokens[1:]),
            tuple(tree.parent[1:]),
            tuple(tree.confidence[1:]),
            tuple(tree.beliefs.get(parent) for parent in tree.parent[1:]) if tree.beliefs else (),
        )

    def _learn(self, draftee: Draftee, emitted: tuple[int, ...]) -> None:
        """How the draft before came out, if all that could be prepared for it was; and what its chances were worth."""
        if draftee.offered is not None and emitted:
            self._calibration.observe(0, draftee.offered, emitted, not draftee.sampling.greedy)
        draft, k = draftee.draft, 0
        while k < min(len(draft), len(emitted)) and draft[k] == emitted[k]:
            k += 1
        if draftee.ranked and k < len(emitted):
            ranked = draftee.ranked[k]
            fan_out = self._builder.fan_out(draftee)
            fan_out.observe(len(draft), k, ranked.index(emitted[k]) if emitted[k] in ranked else None)

    def _begin(self, begin: Begin) -> None:
        self._end(begin.sequence)
        longest = begin.num_prompt + begin.max_tokens + self._room
        try:
            pages = PageTable(self._pool.page_size, self._pool.allocate(self._pool.pages_for(longest)))
        except OutOfPages:
            return  # it is served without drafts from here
        sampling = Sampling(
            temperature=begin.temperature,
            top_p=begin.top_p,
            top_k=begin.top_k,
            min_p=begin.min_p,
            seed=begin.seed,
            choice=begin.choice,
            max_tokens=begin.max_tokens,
        )
        draftee = Draftee(begin.sequence, list(begin.tokens), begin.num_prompt, sampling, Track(pages), self._room)
        self._draftees[begin.sequence] = draftee
        self._new.append(draftee)
        self._runner.vocabulary.see(begin.tokens)

    def _end(self, sequence: int) -> None:
        draftee = self._draftees.pop(sequence, None)
        if draftee is not None:
            self._pool.release(draftee.track.pages.ids)
            draftee.ended = True
            self._new = [each for each in self._new if each is not draftee]

    def _taken_new(self) -> list[Draftee]:
        new, self._new = self._new, []
        return new

    def _take_piece(self, weights: Weights) -> None:
        """Collects what comes in pieces, and has the whole prepared: no question shall wait for that."""
        if weights.at == 0:
            self._arriving = bytearray()
        if len(self._arriving) != weights.at:
            return  # of what was begun before this worker was there
        self._arriving += weights.data
        if len(self._arriving) < weights.total:
            return
        version, data, runner = weights.version, bytes(self._arriving), self._runner
        self._arriving = bytearray()

        def prepare() -> tuple[str, Prepared]:
            found = safetensors.torch.load(data)
            check_draft_weights(found, runner.shape)
            return version, runner.prepared(found)

        self._preparing.want(prepare)

    def _take_weights(self) -> None:
        """Between two passes, once they are prepared."""
        found = self._preparing.taken()
        if found is not None:
            self._version, prepared = found
            self._runner.take(prepared)
            self._refilling = self._builder.refill(list(self._draftees.values()))
