"""Teacher: reads a trace and says what the target thought at every token of its answer."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Generator, Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor

from kernels.attention import Span, Spans
from models.decoder import Decoder, Rows, Scores
from models.pages import KeyValuePages
from trainer.kept import Kept
from trainer.lessons import Lesson
from trainer.sizing import Sizing, padded

Slices = Generator[None, None, Lesson]
"""Work in slices: yields after each but the last, returns the lesson."""


class Teacher(Protocol):
    """Where lessons come from. Heads need the target's states, and the states hold its distributions too (the
    unembedding is frozen), so a lesson is states alone: re-read here, or by a target elsewhere."""

    def read(self, trace: Kept) -> Slices: ...


class ReplayTeacher:
    """Reads traces again with the target itself.

    One dense pass where that fits a slice; longer traces in chunks, over keys and values that live as long as
    the reading. Padding goes behind the text, where no row of it looks.
    """

    def __init__(self, decoder: Decoder, sizing: Sizing, layers: Sequence[int] = ()) -> None:
        """layers: of the target, whose states go into lessons too."""
        self._decoder = decoder
        self._sizing = sizing
        self._layers = tuple(layers)

    def read(self, trace: Kept) -> Slices:
        length = len(trace.tokens) - 1  # the state after the last token chose nothing
        tokens = torch.zeros(padded(length), dtype=torch.int64, device=self._decoder.device)
        tokens[:length] = torch.tensor(trace.tokens[:-1])
        first = len(trace.trace.prompt_ids) - 1  # its state chose the first output token
        chosen = torch.tensor(trace.trace.output_ids, device=tokens.device)
        if len(tokens) <= self._sizing.rows:
            with self._sizing.slice(len(tokens)):
                hidden, captured = self._decoder.read(tokens, self._layers)
                return Lesson(hidden[first:length].clone(), chosen, self._joined(captured, length))
        states, captured = yield from self._in_chunks(tokens, first)
        return Lesson(states[: length - first].clone(), chosen, self._joined(captured, length))

    def _joined(self, captured: Mapping[int, Tensor], length: int) -> Tensor | None:
        return torch.cat([captured[layer][:length] for layer in self._layers], -1) if self._layers else None

    def _in_chunks(self, tokens: Tensor, first: int) -> Generator[None, None, tuple[Tensor, dict[int, Tensor]]]:
        decoder = self._decoder
        pages = KeyValuePages(decoder.config, len(tokens), decoder.dtype, decoder.device)
        read: list[Scores] = []
        start = 0
        while start < len(tokens):
            stop = min(len(tokens), start + self._sizing.rows)
            with self._sizing.slice(stop - start):
                read.append(decoder.forward(_chunk(tokens, start, stop, first), pages, self._layers))
            start = stop
            if start < len(tokens):
                yield
        layers = {layer: torch.cat([each.layers[layer] for each in read]) for layer in self._layers}
        return torch.cat([each.hidden for each in read]), layers


def _chunk(tokens: Tensor, start: int, stop: int, first: int) -> Rows:
    """Rows `start` to `stop` of one sequence; those from `first` on are scored."""
    positions = torch.arange(start, stop, device=tokens.device)
    spans = Spans([Span(0, stop - start, slice(0, stop))])
    scored = torch.arange(min(max(first - start, 0), stop - start), stop - start, device=tokens.device)
    return Rows(tokens[start:stop], positions, positions, spans, scored)


class LessonCache:
    """Lessons in memory, the ones longest unused forgotten first. Nothing of it is ever written down."""

    def __init__(self, teacher: Teacher, max_bytes: int) -> None:
        self._teacher = teacher
        self._max_bytes = max_bytes
        self._lessons: OrderedDict[int, Lesson] = OrderedDict()
        self._bytes = 0

    @property
    def num_bytes(self) -> int:
        return self._bytes

    def read(self, trace: Kept) -> Slices:
        """The lesson of a trace; no slice is spent on one that is known."""
        lesson = self._lessons.get(trace.number)
        if lesson is None:
            lesson = yield from self._teacher.read(trace)
            self._lessons[trace.number] = lesson
            self._bytes += lesson.num_bytes
        self._lessons.move_to_end(trace.number)
        while self._bytes > self._max_bytes and len(self._lessons) > 1:
            self._bytes -= self._lessons.popitem(last=False)[1].num_bytes
        return lesson

    def knows(self, trace: Kept) -> bool:
        return trace.number in self._lessons

    def known(self, trace: Kept) -> Lesson:
        """The lesson of a trace that `knows` knows."""
        self._lessons.move_to_end(trace.number)
        return self._lessons[trace.number]

    def forget(self, number: int) -> None:
        lesson = self._lessons.pop(number, None)
        self._bytes -= lesson.num_bytes if lesson else 0
