"""What learns from texts instead of rows: slices that stay short."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from models.eagle import layers_read
from tests.trainer.scripted import VOCAB, House, following, taught, trace
from trainer.assemble import TRADES
from trainer.excerpt import Excerpt
from trainer.kept import Kept
from trainer.sizing import Sizing
from trainer.slicing import finish
from trainer.teacher import LessonCache, ReplayTeacher
from trainer.trade import Trade


class Fixed:
    """A sizing that says the same always, and keeps what it was told."""

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self.work: list[int] = []

    @contextmanager
    def slice(self, num_rows: int) -> Iterator[None]:
        self.work.append(num_rows)
        yield


def chain(number: int, num_prompt: int, length: int) -> Kept:
    tokens = [number % VOCAB]
    while len(tokens) < num_prompt + length:
        tokens.append(following(tokens[-1]))
    return Kept.of(number, trace(number, prompt_ids=tuple(tokens[:num_prompt]), output_ids=tuple(tokens[num_prompt:])))


class Drawing:
    """Traces one after the other, round and round."""

    def __init__(self, traces: Sequence[Kept]) -> None:
        self._traces = traces
        self._at = 0

    def __call__(self, count: int) -> list[Kept]:
        self._at += count
        return [self._traces[at % len(self._traces)] for at in range(self._at - count, self._at)]

    def put_back(self, trace: Kept) -> None:
        self._at -= 1


Seen = list[list[Excerpt]]
"""What each slice taught."""
Making = Callable[..., tuple[Trade, Fixed, Seen]]


@pytest.fixture(params=["draft-lm", "eagle"])
def trade_of(request: pytest.FixtureRequest, build_house: Callable[..., House], monkeypatch: pytest.MonkeyPatch) -> Making:
    """Makes a trade that knows the lessons of some traces, and whose slices have room for so many rows of work."""

    def make(traces: Sequence[Kept], rows: int, **changes: Any) -> tuple[Trade, Fixed, Seen]:
        decoder = taught().decoder
        lessons = LessonCache(ReplayTeacher(decoder, Sizing(1.0, first=512), layers_read(decoder.config)), 1 << 20)
        for each in traces:
            finish(lessons.read(each))
        house = build_house(kind=request.param, **changes)
        house.add_static()
        trade, sizing = TRADES[request.param](house.settings, taught(), lessons, torch.Generator().manual_seed(0)), Fixed(rows)
        monkeypatch.setattr(trade, "_sizing", sizing)
        seen: Seen = []
        teach = trade.distiller.teach  # type: ignore[attr-defined]
        monkeypatch.setattr(trade.distiller, "teach", lambda excerpts: seen.append(list(excerpts)) or teach(excerpts))
        return trade, sizing, seen

    return make


def test_a_slice_teaches_as_many_texts_as_fit_and_none_is_passed_over(trade_of: Making) -> None:
    traces = [chain(1, 4, 20), chain(2, 4, 20), chain(3, 30, 60), chain(4, 4, 20)]
    trade, sizing, seen = trade_of(traces, 96)
    draw = Drawing(traces)
    rows = [trade.teach(draw) for _ in range(4)]
    assert [[len(each.tokens) for each in slice_] for slice_ in seen] == [[23, 23], [89], [23, 23, 23], [89]]
    assert rows == [40, 60, 60, 60], "of the answers, the prompts being context"
    assert sizing.work == [64, 96, 96, 96], "what fills shorter texts up is work too"


def test_a_text_that_does_not_fit_is_cut_wherever_its_answer_is_reached(trade_of: Making) -> None:
    text = chain(1, 20, 80)
    trade, sizing, seen = trade_of([text], 32)
    for _ in range(60):
        assert trade.teach(Drawing([text])) >= 1
    assert set(sizing.work) == {32}
    for [excerpt] in seen:
        assert len(excerpt.tokens) == 32
        rows = excerpt.tokens[-len(excerpt.hidden) :]
        assert torch.equal(excerpt.hidden, torch.nn.functional.one_hot(rows, VOCAB).float()), "the states are those of its tokens"
    assert {len(excerpt.hidden) for [excerpt] in seen} > {32}, "some reach back into the prompt, most lie within the answer"


def test_a_step_is_not_taught_more_than_it_takes(trade_of: Making) -> None:
    traces = [chain(number, 4, 20) for number in range(3)]
    trade, _, seen = trade_of(traces, 10_000, rows_per_step=50)
    assert trade.teach(Drawing(traces)) == 60
    assert trade.distiller.ready
    assert len(seen[0]) == 3
