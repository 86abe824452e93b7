"""Day zero: prompts in, the target answers, heads come out that a server finds."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pipelines.store import open_store
from speculator.kinds import HEADS
from speculator.static_heads import find_static_heads
from tests.trainer.scripted import GREEDY, TARGET, TOKENIZER, following, taught, text
from trainer.answers import Answer
from trainer.dayzero import first_weights
from trainer.dayzero_heads import HeadsBeginner
from trainer.dayzero_settings import HeadsSettings
from trainer.kept import Kept

PROMPTS = [text(4, random.Random(number)) for number in range(120)]
QUICK = HeadsSettings(num_heads=3, steps=60, rows_per_step=128, learning_rate=0.05, held_out=20, budget=3)
ANSWERS = [Answer(prompt, text(21, random.Random(following(prompt[-1])))[1:], GREEDY) for prompt in PROMPTS]


@pytest.mark.parametrize("kind", HEADS)
def test_heads_from_prompts_alone_are_found_by_a_server_and_say_what_they_are_worth(tmp_path: Path, kind: str) -> None:
    losses: list[float] = []
    settings = replace(QUICK, kind=kind)
    manifest = first_weights(
        HeadsBeginner(taught(), settings), ANSWERS, open_store(tmp_path), lambda _, loss: losses.append(loss)
    )
    assert len(losses) == 60
    assert losses[-1] < 0.2 * losses[0]
    found = find_static_heads(tmp_path, target=TARGET, tokenizer=TOKENIZER, kind=kind)
    assert found is not None
    assert found.manifest == manifest
    others = [other for other in HEADS if other != kind]
    assert [find_static_heads(tmp_path, target=TARGET, tokenizer=TOKENIZER, kind=other) for other in others] == [None]
    assert (manifest.parent, manifest.config["num_heads"]) == (None, 3)
    assert manifest.evaluation is not None
    assert manifest.evaluation.num_conversations == 20
    assert manifest.evaluation.tokens_per_step > 1.5 * manifest.evaluation.champion_tokens_per_step
    assert manifest.span.num_traces == 100


def test_it_stops_when_its_seconds_are_over(tmp_path: Path) -> None:
    steps: list[int] = []
    settings = HeadsSettings(num_heads=2, steps=10**9, seconds=0.3, rows_per_step=64, held_out=0)
    manifest = first_weights(HeadsBeginner(taught(), settings), ANSWERS, open_store(tmp_path), lambda step, _: steps.append(step))
    assert 0 < len(steps) < 10**6
    assert manifest.evaluation is None


def test_when_nothing_is_learnt_it_is_said_and_nothing_is_saved(tmp_path: Path) -> None:
    beginner = HeadsBeginner(taught(), QUICK)
    with torch.no_grad():
        next(iter(beginner.distiller.tensors().values())).view(-1)[0] = torch.nan
    with pytest.raises(ValueError, match=r"^step 20: 20 in a row were not finite"):
        first_weights(beginner, ANSWERS, open_store(tmp_path))
    assert not list(tmp_path.iterdir())


class Remembering(HeadsBeginner):
    """Notes what it is taught."""

    def __init__(self) -> None:
        super().__init__(taught(), replace(QUICK, steps=40))
        self.taught_of: set[int] = set()

    def teach(self, batch: Sequence[Kept]) -> None:
        self.taught_of |= {trace.number for trace in batch}
        super().teach(batch)


def test_what_is_kept_aside_is_never_taught(tmp_path: Path) -> None:
    beginner = Remembering()
    first_weights(beginner, ANSWERS, open_store(tmp_path))
    assert beginner.taught_of <= set(range(20, 120)), "the first twenty are kept aside"
    assert len(beginner.taught_of) > 50


def test_heads_of_no_known_kind_are_refused() -> None:
    with pytest.raises(ValueError, match="kind is 'eagle', expected one of medusa, hydra"):
        HeadsSettings(kind="eagle")


def test_prompts_without_answers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^prompts: 2, and no answer"):
        first_weights(
            HeadsBeginner(taught(), QUICK),
            [replace(ANSWERS[0], output=[1]), replace(ANSWERS[1], output=[])],
            open_store(tmp_path),
        )
    assert not list(tmp_path.iterdir())
