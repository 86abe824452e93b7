"""The teacher: what it reads is what the engine saw, in one pass or in chunks."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from models.decoder import Decoder
from models.loading import load_target
from tests.models.families import VOCAB, random_tokens, save_model
from tests.trainer.scripted import trace
from trainer.kept import Kept
from trainer.lessons import Lesson
from trainer.sizing import Sizing
from trainer.slicing import finish
from trainer.teacher import LessonCache, ReplayTeacher, Slices


def kept(prompt: int, output: int, number: int = 1) -> Kept:
    tokens = tuple(random_tokens(prompt + output, seed=number).tolist())
    return Kept.of(number, trace(number, prompt_ids=tokens[:prompt], output_ids=tokens[prompt:]))


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> object:
    folder: Path = tmp_path_factory.mktemp("target")
    save_model("llama", folder)
    return load_target(str(folder)).decoder


def states(decoder: object, each: Kept) -> Tensor:
    """The states that chose the output tokens, from one pass over everything."""
    hidden: Tensor = decoder.hidden_states(torch.tensor(each.tokens))  # type: ignore[attr-defined]
    return hidden[len(each.trace.prompt_ids) - 1 : -1]


@pytest.mark.parametrize("rows", [32, 64, 1024])
@pytest.mark.parametrize(("prompt", "output"), [(1, 2), (5, 20), (30, 3), (16, 17), (40, 60), (90, 7)])
def test_chunks_of_any_size_read_the_same_states(decoder: object, prompt: int, output: int, rows: int) -> None:
    each = kept(prompt, output)
    teacher = ReplayTeacher(decoder, _Fixed(rows))  # type: ignore[arg-type]
    lesson = finish(teacher.read(each))
    assert len(lesson) == output
    torch.testing.assert_close(lesson.hidden, states(decoder, each), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("rows", [32, 1024])
def test_layers_that_are_asked_for_are_those_of_the_whole_text_side_by_side(decoder: Decoder, rows: int) -> None:
    each = kept(30, 41)
    lesson = finish(ReplayTeacher(decoder, _Fixed(rows), (0, 2)).read(each))
    _, captured = decoder.read(torch.tensor(each.tokens[:-1]), (0, 2))
    assert lesson.layers is not None
    torch.testing.assert_close(lesson.layers, torch.cat((captured[0], captured[2]), -1), rtol=1e-4, atol=1e-4)
    assert lesson.num_bytes == 4 * (lesson.hidden.numel() + lesson.layers.numel()) + 8 * 41


class _Fixed(Sizing):
    """Slices of one size."""

    def __init__(self, rows: int) -> None:
        super().__init__(1.0)
        self._fixed = rows

    @property
    def rows(self) -> int:
        return self._fixed


def test_a_long_trace_is_read_in_as_many_slices_as_it_needs(decoder: object) -> None:
    reading = ReplayTeacher(decoder, _Fixed(32)).read(kept(90, 51))  # type: ignore[arg-type]
    assert len(list(reading)) == 4  # 140 rows: five slices, the last of which returns


def test_the_target_would_choose_the_text_again(decoder: object) -> None:
    """Row j is the state that chose output token j: greedy text is its own argmax."""
    tokens = random_tokens(6).tolist()
    while len(tokens) < 20:
        hidden = decoder.hidden_states(torch.tensor(tokens))  # type: ignore[attr-defined]
        tokens.append(int(decoder.logits(hidden[-1]).argmax()))  # type: ignore[attr-defined]
    each = Kept.of(1, trace(1, prompt_ids=tuple(tokens[:6]), output_ids=tuple(tokens[6:])))
    lesson = finish(ReplayTeacher(decoder, _Fixed(32)).read(each))  # type: ignore[arg-type]
    assert decoder.logits(lesson.hidden).argmax(-1).tolist() == tokens[6:]  # type: ignore[attr-defined]
    assert lesson.tokens.tolist() == tokens[6:]
    assert max(tokens) < VOCAB


class Counting:
    """A teacher that counts what it reads."""

    def __init__(self) -> None:
        self.num_read = 0

    def read(self, trace: Kept) -> Slices:
        self.num_read += 1
        yield
        return Lesson(torch.zeros(trace.num_rows, 2), torch.zeros(trace.num_rows, dtype=torch.int64))


def test_lessons_are_read_once_while_they_fit_in_memory() -> None:
    teacher = Counting()
    cache = LessonCache(teacher, max_bytes=3 * 20 * 4 * 4)
    traces = [Kept.of(number, trace(number)) for number in range(4)]
    for each in (*traces[:3], traces[0], traces[2]):
        finish(cache.read(each))
    assert teacher.num_read == 3
    finish(cache.read(traces[3]))  # the one longest unused makes room
    assert [cache.knows(each) for each in traces] == [True, False, True, True]
    assert cache.num_bytes == 3 * 20 * 4 * 4


def test_a_lesson_larger_than_the_memory_is_kept_until_the_next() -> None:
    cache = LessonCache(Counting(), max_bytes=10)
    one, two = (Kept.of(number, trace(number)) for number in range(2))
    finish(cache.read(one))
    assert len(cache.known(one)) == 20
    finish(cache.read(two))
    assert not cache.knows(one)
    cache.forget(two.number)
    assert cache.num_bytes == 0
