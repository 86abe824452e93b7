"""A worker in the test's own process, which works exactly as long as it is let."""

from __future__ import annotations

from collections import deque

import msgspec

from models.draft import DraftModel
from models.pages import PagePool
from serving.engine import Engine, FixedBudget
from speculator.drafts import Law
from speculator.merged import MergedSpeculator
from speculator.ssd.builder import OTHERS
from speculator.ssd.fanout import FanOut
from speculator.ssd.messages import Ask, FromWorker, ToWorker
from speculator.ssd.speculator import SsdSpeculator
from speculator.ssd.worker import Worker
from tests.serving.rig import VOCAB, tiny_scheduler
from tests.speculator.draft_models import NUM_PAGES, PAGE_SIZE, runner_of, target_of

ROOM = 80
_to_worker = msgspec.msgpack.Decoder(ToWorker)
_from_worker = msgspec.msgpack.Decoder(FromWorker)


class Beside:
    """A `Link`. passes: how many the worker makes between an answer and the next question; -1: as many as there are."""

    def __init__(
        self,
        draft: DraftModel,
        *,
        passes: int = -1,
        fan_out: FanOut | None = None,
        num_pages: int = 4 * NUM_PAGES,
        law: Law = Law.POINT_MASS,
        saguaro: float = 1.0,
        adaptive: bool = False,
        room: int = ROOM,
    ) -> None:
        self.passes = passes
        self.shape = draft.shape
        self.pool = PagePool(num_pages, PAGE_SIZE)
        self.asked = 0
        self._inbox: deque[ToWorker] = deque()
        self._outbox: list[FromWorker] = []
        self.worker = Worker(
            _End(self._inbox, self._outbox),  # type: ignore[arg-type]
            runner_of(draft, num_pages),
            self.pool,
            "v1",
            fan_out=fan_out,
            room=room,
            law=law,
            saguaro=saguaro,
            adaptive=adaptive,
        )
        self.worker._wire.send(_ready())

    def send(self, message: ToWorker) -> None:
        if isinstance(message, Ask):
            self.asked += 1
            self._work()
        self._inbox.append(_to_worker.decode(msgspec.msgpack.encode(message)))

    def receive(self, seconds: float) -> list[FromWorker]:
        if self._inbox:
            self.worker.take([self._inbox.popleft() for _ in range(len(self._inbox))])
        said, self._outbox[:] = list(self._outbox), []
        return said

    def close(self) -> None:
        self._inbox.clear()

    def _work(self) -> None:
        left = self.passes
        while left:
            self.worker.turn()
            left -= 1
            if self.worker._building is None and not self._inbox:
                return


class _End:
    """The worker's end of the wire."""

    def __init__(self, inbox: deque[ToWorker], outbox: list[FromWorker]) -> None:
        self._inbox = inbox
        self._outbox = outbox

    def send(self, message: msgspec.Struct) -> None:
        self._outbox.append(_from_worker.decode(msgspec.msgpack.encode(message)))

    def receive(self, timeout: float) -> list[ToWorker]:
        return [self._inbox.popleft() for _ in range(len(self._inbox))]


def _ready() -> FromWorker:
    from speculator.ssd.messages import Ready

    return Ready("v1")


def engine_beside(target: DraftModel, link: Beside, *, lookahead: int = 4, fan_out: int = 12) -> Engine:
    """An engine on that target, its drafts from the worker alone."""
    source = SsdSpeculator(lambda: link, version="v0", shape=link.shape, vocab_size=VOCAB, lookahead=lookahead, fan_out=fan_out)
    source._link = link
    served, nodes = target_of(target), (1 + OTHERS) * lookahead  # room for a whole draft, whatever its tokens' chances
    scheduler = tiny_scheduler(served, max_running=4, max_tree=nodes)
    return Engine(served, scheduler, MergedSpeculator([source], max_tree=nodes), FixedBudget(nodes))


def source_of(engine: Engine) -> SsdSpeculator:
    (source,) = engine.speculator._sources
    assert isinstance(source, SsdSpeculator)
    return source
