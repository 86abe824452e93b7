"""A toy drafter in a real worker: its belief is a fixed function of the last two tokens of whatever a row may look at."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from models.pages import PagePool
from speculator.batch import Batch, Sampling
from speculator.batch import Sequence as Served
from speculator.draft_runner import Branch, Track
from speculator.drafts import Law
from speculator.law import Chooser
from speculator.protocol import Budget
from speculator.ssd.messages import FromWorker, Ready, ToWorker
from speculator.ssd.speculator import SsdSpeculator
from speculator.ssd.worker import Worker
from speculator.verify import verify
from tests.speculator.draft_models import draft_model
from tests.speculator.ssd.beside import _End
from tests.speculator.toys import ToyTarget

Text = tuple[int, ...]


class ToyRunner:
    """What `DraftRunner` does, by remembering which token lies where; also its vocabulary, which is everything."""

    ids = None
    page_size = 16

    def __init__(self, drafter: ToyTarget) -> None:
        self.drafter = drafter
        self._tokens: dict[tuple[int, int], int] = {}
        self._seen: list[Text] = []

    @property
    def vocabulary(self) -> ToyRunner:
        return self

    def see(self, tokens: Iterable[int]) -> None:
        pass

    def swap(self, drafter: ToyTarget) -> None:
        self.drafter = drafter

    def scores(self, states: Tensor) -> Tensor:
        return torch.stack([self.drafter.logits(self._seen[int(state)]) for state in states])

    def read(self, texts: Sequence[tuple[Track, Sequence[int]]], *, scored: Sequence[int] | None = None) -> Tensor:
        contexts = []
        for (track, following), count in zip(texts, scored or [1] * len(texts), strict=True):
            for token in following:
                self._tokens[id(track), track.num_read] = token
                track.num_read += 1
            contexts += [self._text(track, track.num_read - count + at + 1) for at in range(count)]
        return self._states(contexts)

    def grow(self, branches: Sequence[Branch]) -> Tensor:
        contexts = []
        for branch in branches:
            self._tokens[id(branch.track), branch.place] = branch.token
            behind = tuple(self._tokens[id(branch.track), place] for place in (*branch.behind, branch.place))
            contexts.append((*self._text(branch.track, branch.text_length), *behind))
        return self._states(contexts)

    def _text(self, track: Track, length: int) -> Text:
        return tuple(self._tokens[id(track), place] for place in range(length))

    def _states(self, contexts: list[Text]) -> Tensor:
        self._seen = contexts
        return torch.arange(len(contexts))


class ToyLink:
    """A `Link` to a worker around a toy drafter. passes: as in `Beside`."""

    def __init__(self, drafter: ToyTarget, *, law: Law, saguaro: float = 1.0, passes: int = -1) -> None:
        self.runner = ToyRunner(drafter)
        self._passes = passes
        self._inbox: deque[ToWorker] = deque()
        self._outbox: list[FromWorker] = [Ready("v1")]
        self.worker = Worker(
            _End(self._inbox, self._outbox),
            self.runner,  # type: ignore[arg-type]
            PagePool(16, 32),
            "v1",
            law=law,
            saguaro=saguaro,
            adaptive=False,
        )

    def send(self, message: ToWorker) -> None:
        self.worker.take([message])

    def receive(self, seconds: float) -> list[FromWorker]:
        said, self._outbox[:] = list(self._outbox), []
        return said

    def work(self) -> None:
        """What the worker gets done while the target verifies."""
        left = self._passes
        while left and (self.worker._building is not None or self.worker._new):
            self.worker.turn()
            left -= 1

    def close(self) -> None:
        pass


class ToyEngine:
    """One answer of a toy target, drafts from the worker. chooser: as in `verify`."""

    def __init__(
        self,
        target: ToyTarget,
        link: ToyLink,
        sampling: Sampling,
        *,
        lookahead: int,
        fan_out: int,
        chooser: type[Chooser] = Chooser,
    ) -> None:
        self.source = SsdSpeculator(
            lambda: link,
            version="v0",
            shape=draft_model().shape,  # of no use here: no weights come
            vocab_size=target.vocab_size,
            lookahead=lookahead,
            fan_out=fan_out,
        )
        self.source._link = link
        self._link = link
        self._target = target
        self._chooser = chooser
        self._sequence = Served(1, "default", [0, 1], 1, sampling)
        self.source.begin(self._sequence)

    def step(self) -> Text:
        """What a round emits."""
        sequence, batch = self._sequence, Batch((self._sequence,))
        drafts = self.source.propose(batch, Budget(8))
        self._link.work()
        scores = self._target.scores(sequence.tokens, drafts.tree(0))
        verdicts = verify(drafts, scores, [sequence.sampling], [sequence.num_output], self._chooser)
        sequence.tokens += verdicts.emitted[0]
        self.source.observe(batch, drafts, verdicts)
        return verdicts.emitted[0]
