"""The bench from end to end, on a tiny target with random weights: what it measures, and what it refuses to."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from bench.house import House
from bench.options import Options
from bench.results import Report
from bench.rig import Answer, Ask, Client
from bench.run import run
from bench.sizes import QUICK
from bench.stack import Stack
from tests.bench.tiny import save_draft, save_target

SIZES = replace(QUICK, swap_seconds=0.1, swap_tokens=60, crowd_each=6, identity=6)


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A target and, in `heads/` beside it, its static heads."""
    place = tmp_path_factory.mktemp("tiny")
    save_target(place)
    return place


def options(target: Path, folder: Path, *only: str) -> Options:
    return Options(
        folder=folder / "data",
        out=folder / "out",
        only=frozenset(only),
        sizes=SIZES,
        target=str(target / "target"),
        heads=str(target / "heads"),
        threads=1,
    )


@pytest.fixture
def no_trainer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Stack, "start_trainer", lambda self: None)


@pytest.mark.slow
@pytest.mark.usefixtures("no_trainer")
def test_every_figure_that_needs_no_other_process_is_measured_and_written(target: Path, tmp_path: Path) -> None:
    names = ("identity", "transformers", "sharing", "acceptance", "window", "alone", "crowd", "swaps")
    report = run(options(target, tmp_path, *names))
    figures = {figure.goal.name: figure for figure in report.figures}
    apart = {"plain-batches", "sharing"}
    assert figures.keys() == apart | {"identity", "plain", "heads", "sources", "window", "alone", "crowd", "swap"}
    assert not any(figure.failures for figure in report.figures)
    for name in ("identity", "heads", "sources", "alone", "crowd"):
        assert {measure.temperature for measure in figures[name].measures} == {0.0, 0.8}, name
    for name in ("alone", "crowd", "swap"):
        assert {measure.trainer for measure in figures[name].measures} == {"off", "on"}, name
    assert {measure.concurrency for measure in figures["identity"].measures} == {1, SIZES.crowd}
    # heads that nobody trained are the static ones
    assert all(measure.ratio.value == 1.0 for measure in figures["heads"].measures)
    written = msgspec.json.decode((tmp_path / "out" / "report.json").read_bytes(), type=Report)
    assert written.figures == report.figures
    assert "| worst 50-request window" in (tmp_path / "out" / "report.md").read_text()


@pytest.mark.slow
def test_a_draft_model_that_nobody_trains_is_worth_what_it_was(
    target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(Stack, "start_trainer", lambda self, kind: asked.append(kind))
    without = run(options(target, tmp_path / "without", "draft-online"))
    assert "no draft model to compare with" in without.figures[0].failures[0]
    save_draft(target)
    monkeypatch.setenv("EVERDRAFT_ENGINE_DRAFT", str(target / "draft"))
    (figure,) = run(options(target, tmp_path, "draft-online")).figures
    assert asked == ["draft-lm"]
    assert {(measure.domain, measure.temperature) for measure in figure.measures} == {
        (domain, temperature) for domain in ("sql", "math") for temperature in (0.0, 0.8)
    }
    assert all(measure.ratio.value == 1.0 for measure in figure.measures)


def test_a_target_that_drafts_for_itself_says_the_same_of_long_texts(target: Path, tmp_path: Path) -> None:
    (figure,) = run(options(target, tmp_path, "long-context")).figures
    assert not figure.failures
    assert {measure.temperature for measure in figure.measures} == {0.0, 0.8}
    assert all("tokens a step" in measure.detail for measure in figure.measures if measure.loops)


@pytest.mark.usefixtures("no_trainer")
def test_swaps_are_measured_on_a_server_that_looks_seldom(target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVERDRAFT_ENGINE_POLL_SECONDS", "1.5")
    (figure,) = run(options(target, tmp_path, "swaps")).figures
    assert not figure.failures
    near = [measure for measure in figure.measures if measure.judged]
    assert len(near) == 2, "with the trainer off and on"


def test_a_wrong_output_is_a_failure_not_a_figure(target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Wrong(Client):
        """Says something else at the third token of the fourth answer."""

        def run(self, asks: Sequence[Ask], *args: object, **options: object) -> list[Answer]:  # type: ignore[override]
            answers = super().run(asks, *args, **options)  # type: ignore[arg-type]
            answers[3].token_ids[2] ^= 1
            return answers

    monkeypatch.setattr(House, "offline", lambda self: Wrong(self.adapting().engine))
    report = run(options(target, tmp_path, "identity"))
    (figure,) = report.figures
    assert figure.measures == ()
    assert not figure.reached
    assert "1 of 6 outputs differ" in figure.failures[0]
    assert "output position 2" in figure.failures[0]


def test_a_trainer_that_cannot_run_is_a_failure_not_a_figure(
    target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(self: Stack) -> None:
        self._trainer = self.child("train", {"no_such_option": "1"}, "trainer")
        time.sleep(0.2)

    monkeypatch.setattr(Stack, "start_trainer", start)
    report = run(replace(options(target, tmp_path, "window"), sizes=replace(SIZES, pause_seconds=1.0)))
    (figure,) = report.figures
    assert figure.measures == ()
    assert "train ended with 2" in figure.failures[0]


@pytest.mark.slow
def test_the_log_is_measured_through_two_servers_and_found_to_hold_every_request(target: Path, tmp_path: Path) -> None:
    report = run(options(target, tmp_path, "log"))
    (figure,) = report.figures
    assert not figure.failures
    assert {measure.temperature for measure in figure.measures} == {0.0, 0.8}
    assert (tmp_path / "out" / "logging.log").exists()
