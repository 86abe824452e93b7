"""Engine and worker by clocks that only our own costs move: who waits for whom is then exact, on any machine.

The worker is the real one and drafts with a real model; its passes take what they are said to take, by its own clock, and it
works on for as long as the engine's clock has run. The target is real too, and its passes take what they are said to.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace

import msgspec
import pytest
import torch
from torch import Tensor

from models.decoder import Scores
from models.draft import DraftModel
from models.pages import PagePool
from serving.engine import Engine, FixedBudget
from serving.messages import Request
from serving.target import Target
from speculator.draft_runner import Branch, DraftRunner, Track
from speculator.merged import MergedSpeculator
from speculator.ssd.builder import OTHERS
from speculator.ssd.messages import FromWorker, Ready, ToWorker
from speculator.ssd.speculator import SsdSpeculator
from speculator.ssd.worker import Worker
from tests.serving.rig import VOCAB, tiny_scheduler
from tests.speculator.draft_models import NUM_PAGES, PAGE_SIZE, decoder_of
from tests.speculator.ssd.beside import ROOM


@dataclass(frozen=True, kw_only=True)
class Costs:
    """Seconds."""

    verify: float
    glue: float = 0.002
    level: float = 0.002
    branch: float = 0.0
    """Of each branch in a pass, beside `level`."""

    def build(self, lookahead: int) -> float:
        """All that is prepared for a round."""
        return self.glue + lookahead * self.level


@dataclass(frozen=True, slots=True)
class Round:
    seconds: float
    num_tokens: int
    hit: bool | None
    """None: no draft came."""


class Timed:
    """A `Link`."""

    def __init__(self, draft: DraftModel, costs: Costs, *, adaptive: bool = False) -> None:
        self.now = 0.0
        """By the engine's clock."""
        self.worked = 0.0
        """By the worker's."""
        self._until = 0.0
        self._said: deque[tuple[float, FromWorker]] = deque([(0.0, Ready("v1"))])
        self._told: deque[tuple[float, ToWorker]] = deque()
        self.worker = Worker(
            _WorkersEnd(self),  # type: ignore[arg-type]
            _Runner(draft, costs, self),
            PagePool(4 * NUM_PAGES, PAGE_SIZE),
            "v1",
            room=ROOM,
            adaptive=adaptive,
        )

    def send(self, message: ToWorker) -> None:
        self._told.append((self.now, msgspec.msgpack.decode(msgspec.msgpack.encode(message), type=ToWorker)))

    def receive(self, seconds: float) -> list[FromWorker]:
        self._until = self.now + seconds
        while self.worked < self._until and not (self._said and self._said[0][0] <= self._until):
            self.worker.turn()
        waited = self._said[0][0] if self._said else self._until
        self.now = max(self.now, min(waited, self._until))
        heard = []
        while self._said and self._said[0][0] <= self.now:
            heard.append(self._said.popleft()[1])
        return heard

    def close(self) -> None: ...

    def hear(self, seconds: float) -> list[ToWorker]:
        """The worker's own waiting."""
        if not (self._told and self._told[0][0] <= self.worked):
            comes = self._told[0][0] if self._told else self._until
            self.worked = max(self.worked, min(comes, self.worked + seconds, self._until))
        heard = []
        while self._told and self._told[0][0] <= self.worked:
            heard.append(self._told.popleft()[1])
        return heard

    def say(self, message: msgspec.Struct) -> None:
        self._said.append((self.worked, msgspec.msgpack.decode(msgspec.msgpack.encode(message), type=FromWorker)))


class _WorkersEnd:
    def __init__(self, link: Timed) -> None:
        self.send = link.say
        self.receive = link.hear

    def close(self) -> None: ...


class _Runner(DraftRunner):
    def __init__(self, draft: DraftModel, costs: Costs, link: Timed) -> None:
        super().__init__(
            draft, page_size=PAGE_SIZE, num_pages=4 * NUM_PAGES, device=torch.device("cpu"), dtype=torch.float32
        )
        self._costs = costs
        self._link = link

    def read(self, texts: Sequence[tuple[Track, Sequence[int]]], *, scored: Sequence[int] | None = None) -> Tensor:
        self._link.worked += self._costs.glue
        return super().read(texts, scored=scored)

    def grow(self, branches: Sequence[Branch]) -> Tensor:
        self._link.worked += self._costs.level + self._costs.branch * len(branches)
        return super().grow(branches)


class _Target(Target):
    def __init__(self, model: DraftModel, costs: Costs, link: Timed) -> None:
        super().__init__(decoder_of(model), PagePool(NUM_PAGES, PAGE_SIZE))
        self._costs = costs
        self._link = link

    def wait(self) -> Scores:
        self._link.now += self._costs.verify
        return super().wait()


def rounds(
    monkeypatch: pytest.MonkeyPatch,
    target: DraftModel,
    draft: DraftModel,
    costs: Costs,
    *,
    lookahead: int = 4,
    fan_out: int = 12,
    patience: float = 0.02,
    adaptive: bool = False,
    num_tokens: int = 100,
    temperature: float = 0.0,
) -> tuple[list[Round], tuple[int, ...]]:
    """One answer, round by round, from the first that was asked about on; and the answer."""
    link = Timed(draft, costs, adaptive=adaptive)
    for module in ("worker", "builder"):
        monkeypatch.setattr(f"speculator.ssd.{module}.time", SimpleNamespace(perf_counter=lambda: link.worked))
    source = SsdSpeculator(
        lambda: link,
        version="v1",
        shape=draft.shape,
        vocab_size=VOCAB,
        lookahead=lookahead,
        fan_out=fan_out,
        patience=patience,
        hang=1e9,
        clock=lambda: link.now,
    )
    source._link = link
    served = _Target(target, costs, link)
    nodes = min((1 + OTHERS) * lookahead, 24)  # room for a whole draft, whatever its tokens' chances
    engine = Engine(
        served,
        tiny_scheduler(served, max_tree=nodes),
        MergedSpeculator([source], max_tree=nodes),
        FixedBudget(nodes),
        clock=lambda: link.now,
    )
    engine.submit(Request(id=1, prompt_ids=(3, 1, 4), max_tokens=num_tokens, temperature=temperature, seed=7))
    found: list[Round] = []
    answer: list[int] = []
    while engine.has_work:
        started = link.now
        moved = engine.step()
        answer += [token for each in moved for token in each.token_ids]
        if source._round:
            hit = source._handed.get(1)
            tokens = sum(len(each.token_ids) for each in moved)
            found.append(Round(link.now - started, tokens, None if hit is None else hit[0]))
    return found, tuple(answer)
