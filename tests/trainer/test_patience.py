"""When to judge, when to train, when to give the accelerator back, and what wakes it again."""

from __future__ import annotations

from typing import cast

import pytest

from trainer.drift import Drift
from trainer.gate import Decision
from trainer.patience import Patience
from trainer.settings import TrainerSettings
from trainer.state import Progress

SETTINGS = TrainerSettings(
    target="t", traffic="x", registry="x", checkpoints="x", state="x", min_traces=10, passes=4, min_steps=50
)


def patience(**values: int) -> tuple[Patience, Progress]:
    progress = Progress(**{"rows_received": 1000, "num_steps": 200, **values})  # type: ignore[arg-type]
    return Patience(SETTINGS, progress), progress


def test_it_collects_then_trains_until_each_trace_was_studied_often_enough() -> None:
    subject, progress = patience()
    assert subject.activity(9) == "collecting"
    assert subject.activity(10) == "training"
    progress.rows_taught = 4000
    assert subject.activity(10) == "caught up"
    progress.rows_received += 1
    assert subject.activity(11) == "training"


def test_it_judges_first_when_there_are_steps_and_conversations_enough() -> None:
    subject, _ = patience(num_steps=49)
    assert not subject.due(64, 64)
    subject, _ = patience(num_steps=50)
    assert not subject.due(63, 63)
    assert subject.due(64, 64)


def test_after_a_look_it_waits_for_steps_and_for_new_conversations() -> None:
    subject, progress = patience(looks=1)
    subject.judged("not enough evidence", 100, 64)
    assert not subject.due(80, 80), "no steps since"
    progress.num_steps += 50
    assert not subject.due(79, 79)
    assert subject.due(86, 86)


def test_the_less_there_is_to_gain_the_more_evidence_it_waits_for() -> None:
    subject, progress = patience(looks=1)
    subject.judged("no gain", 100, 64)
    progress.num_steps += 50
    assert not subject.due(90, 90)
    assert subject.due(128, 128)


def test_without_a_gain_twice_in_a_row_it_gives_the_accelerator_back_ever_longer() -> None:
    subject, progress = patience(looks=1)
    subject.judged("no gain", 100, 64)
    assert subject.activity(100) == "training", "once may be bad luck"
    waits = []
    for _ in range(12):
        subject.judged("no gain", 1000, 64)
        assert subject.activity(1000) == "no gain in sight"
        waits.append(progress.resume_at - 1000)
        assert subject.activity(progress.resume_at) == "training"
    assert waits[:3] == [64, 128, 256]
    assert max(waits) == 4096


@pytest.mark.parametrize("decision", ["passed", "not enough evidence"])
def test_a_gain_in_sight_makes_it_patient_again(decision: str) -> None:
    subject, progress = patience(looks=3)
    subject.judged("no gain", 100, 64)
    subject.judged(cast(Decision, decision), 100, 64)
    subject.judged("no gain", 100, 64)
    assert subject.activity(100) == "training"
    assert progress.fruitless == 1


def test_a_regression_is_no_gain_either() -> None:
    subject, _ = patience()
    subject.judged("regression in a group", 100, 64)
    subject.judged("no gain", 100, 64)
    assert subject.activity(100) == "no gain in sight"


def test_a_shift_of_the_traffic_wakes_it() -> None:
    subject, _ = patience()
    subject.judged("no gain", 100, 64)
    subject.judged("no gain", 100, 64)
    subject.shifted()
    assert subject.activity(100) == "training"


def test_a_publication_starts_the_count_of_looks_anew() -> None:
    subject, progress = patience(looks=5)
    subject.judged("passed", 100, 64)
    assert progress.looks == 0


def lengths(level: float, count: int) -> list[float]:
    """Acceptance lengths about a level, half of them 40 % above and half 40 % below."""
    return [level * (1.4 if number % 2 else 0.6) for number in range(count)]


def test_a_fall_of_acceptance_is_noticed_while_it_falls_and_then_no_more() -> None:
    drift = Drift()
    assert not any(drift.see(length) for length in lengths(2.5, 400))
    assert any([drift.see(length) for length in lengths(1.5, 200)])  # noqa: C419, all are to be seen
    assert not any(drift.see(length) for length in lengths(1.5, 400))


def test_noise_and_a_rise_are_no_shift() -> None:
    drift = Drift()
    assert not any(drift.see(length) for length in lengths(2.0, 300) + lengths(3.0, 300))
