"""What is particular to draft models: texts instead of rows, and slices that stay short."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import pytest
import torch

from tests.trainer.scripted import SMALL, VOCAB, House, following, taught, trace, train_until
from trainer.draft_trade import DraftTrade
from trainer.excerpt import Excerpt
from trainer.kept import Kept
from trainer.sizing import Sizing
from trainer.slicing import finish
from trainer.teacher import LessonCache, ReplayTeacher

Build = Callable[..., House]


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


def trade_of(
    build: Build, traces: Sequence[Kept], rows: int, monkeypatch: pytest.MonkeyPatch, **changes: Any
) -> tuple[DraftTrade, Fixed, Seen]:
    """A trade that knows the lessons of the traces, and whose slices have room for so many rows of work."""
    lessons = LessonCache(ReplayTeacher(taught().decoder, Sizing(1.0, first=512)), 1 << 20)
    for each in traces:
        finish(lessons.read(each))
    house = build(kind="draft-lm", **changes)
    house.add_static()
    trade, sizing = DraftTrade(house.settings, taught(), lessons, torch.Generator().manual_seed(0)), Fixed(rows)
    trade._sizing = cast(Sizing, sizing)
    seen: Seen = []
    teach = trade.distiller.teach
    monkeypatch.setattr(trade.distiller, "teach", lambda excerpts: seen.append(list(excerpts)) or teach(excerpts))
    return trade, sizing, seen


def test_a_slice_teaches_as_many_texts_as_fit_and_none_is_passed_over(
    build_house: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    traces = [chain(1, 4, 20), chain(2, 4, 20), chain(3, 30, 60), chain(4, 4, 20)]
    trade, sizing, seen = trade_of(build_house, traces, 96, monkeypatch)
    draw = Drawing(traces)
    rows = [trade.teach(draw) for _ in range(4)]
    assert [[len(each.tokens) for each in slice_] for slice_ in seen] == [[23, 23], [89], [23, 23, 23], [89]]
    assert rows == [40, 60, 60, 60], "of the answers, the prompts being context"
    assert sizing.work == [64, 96, 96, 96], "what fills shorter texts up is work too"


def test_a_text_that_does_not_fit_is_cut_wherever_its_answer_is_reached(
    build_house: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = chain(1, 20, 80)
    trade, sizing, seen = trade_of(build_house, [text], 32, monkeypatch)
    for _ in range(60):
        assert trade.teach(Drawing([text])) >= 1
    assert set(sizing.work) == {32}
    for [excerpt] in seen:
        assert len(excerpt.tokens) == 32
        rows = excerpt.tokens[-len(excerpt.hidden) :]
        assert torch.equal(excerpt.hidden, torch.nn.functional.one_hot(rows, VOCAB).float()), "the states are those of its tokens"
    assert {len(excerpt.hidden) for [excerpt] in seen} > {32}, "some reach back into the prompt, most lie within the answer"


def test_a_step_is_not_taught_more_than_it_takes(build_house: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    traces = [chain(number, 4, 20) for number in range(3)]
    trade, _, seen = trade_of(build_house, traces, 10_000, monkeypatch, rows_per_step=50)
    assert trade.teach(Drawing(traces)) == 60
    assert trade.distiller.ready
    assert len(seen[0]) == 3


def test_without_a_draft_for_its_target_it_starts_from_the_targets_embeddings(build_house: Build) -> None:
    house = build_house(kind="draft-lm")
    house.write([trace(number) for number in range(400)])
    trainer = house.trainer()
    train_until(trainer, lambda: trainer.record.progress.num_published >= 1)
    [manifest] = house.registry.versions(house.slot)
    assert (manifest.kind, manifest.parent) == ("draft-lm", None)
    assert manifest.config["hidden_size"] == 128
    assert manifest.config["vocab_size"] == VOCAB


def test_a_version_says_that_it_was_judged_as_a_chain(build_house: Build) -> None:
    house = build_house(kind="draft-lm", lookahead=3)
    house.add_static()
    house.write([trace(number) for number in range(400)])
    trainer = house.trainer()
    train_until(trainer, lambda: trainer.record.progress.num_published >= 1)
    champion = house.registry.state(house.slot).champion
    assert champion is not None
    location = house.registry.location(house.slot, champion)
    checkpoint = house.store.load(location, target=house.slot.target, tokenizer="scripted-tokenizer", kind="draft-lm")
    judged = checkpoint.manifest.evaluation
    assert judged is not None
    assert (judged.form, judged.budget) == ("chain", 3)
    assert 1.0 < judged.tokens_per_step <= 4.0
    assert checkpoint.manifest.config == SMALL.config_for(taught().decoder.config)
    assert {tensor.dtype for tensor in checkpoint.weights.values()} == {torch.bfloat16}


def test_a_canary_that_no_server_can_try_out_waits_to_be_promoted(build_house: Build) -> None:
    house = build_house(kind="draft-lm", promote="canary")
    house.add_static()
    house.write([trace(number) for number in range(400)])
    trainer = house.trainer()
    train_until(trainer, lambda: house.registry.state(house.slot).candidate is not None)
    state = house.registry.state(house.slot)
    assert (state.champion, state.share) == (None, 0.0)
    candidate = state.candidate or ""
    house.registry.promote(house.slot, candidate)
    train_until(trainer, lambda: trainer.record.progress.champion == candidate)


def test_trainers_of_both_kinds_share_a_log_a_registry_and_a_folder(build_house: Build) -> None:
    houses = [build_house(), build_house(kind="draft-lm")]
    for house in houses:
        house.add_static()
    houses[0].write([trace(number) for number in range(400)])
    trainers = [house.trainer() for house in houses]
    for trainer in trainers:
        train_until(trainer, lambda: trainer.record.progress.num_published >= 1)  # noqa: B023
        trainer.save()
    champions = [house.registry.state(house.slot).champion for house in houses]
    assert None not in champions
    assert set(houses[0].registry.slots()) == {house.slot for house in houses}
    again = [house.trainer() for house in houses]
    assert [each.record.progress.champion for each in again] == champions
    assert [each.record.progress.num_steps for each in again] == [each.distiller.num_steps for each in trainers]
