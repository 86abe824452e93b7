"""The figures on task groups: what goes into each number, and each of them from end to end on a tiny target."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from bench.figures import ablation, arctic, fixed, shifts
from bench.groups import GROUPS
from bench.house import House
from bench.options import Options
from bench.results import Figure
from bench.rig import Answer, Ask, Client
from bench.run import run
from bench.sizes import QUICK, TEMPERATURES
from bench.stack import Stack
from serving.messages import Moved
from serving.settings import SOURCES, EngineSettings
from speculator.suffix import SuffixSpeculator
from tests.bench.tiny import save_draft, save_target


def answer(tokens_per_second: float, *, tokens: int = 20, temperature: float = 0.0) -> Answer:
    said = list(range(tokens))
    ask = Ask(1, "math", (1, 2), tokens, (), temperature)
    return Answer(ask, said, [Moved(1, tuple(said), "length", 0, 3)], tokens, tokens / tokens_per_second)


def test_the_grid_has_nothing_each_alone_and_all_together() -> None:
    found = fixed.grid(("medusa", "medusa-static", "suffix"), (4, 12))
    assert {name: (each.nodes, each.sources) for name, each in found.items()} == {
        "plain": (0, None),
        "medusa, 4 nodes": (4, frozenset({"medusa"})),
        "medusa, 12 nodes": (12, frozenset({"medusa"})),
        "suffix, 4 nodes": (4, frozenset({"suffix"})),
        "suffix, 12 nodes": (12, frozenset({"suffix"})),
        "all, 4 nodes": (4, frozenset({"medusa", "suffix"})),
        "all, 12 nodes": (12, frozenset({"medusa", "suffix"})),
    }
    assert list(fixed.grid(("suffix",), (4,))) == ["plain", "suffix, 4 nodes"]


def test_the_rival_of_the_controller_is_the_fastest_setting_over_all_of_the_group() -> None:
    answers = {
        fixed.OWN: [[answer(90)], [answer(90)]],
        "plain": [[answer(50)], [answer(50)]],
        "a": [[answer(200)], [answer(20)]],  # the fastest once, slow as a whole
        "b": [[answer(100)], [answer(100)]],
    }
    (found,) = fixed._compared(answers, "math", 0.0, loops=True)
    assert found.ratio.value == pytest.approx(0.9)
    assert "of b, best of 3; plain 50" in found.detail


def test_a_window_is_judged_by_the_better_rival_there() -> None:
    # ours keeps 100; the static heads win the first half, plain the second
    served = [shifts._Served(answer(100), {"static": answer(125), "plain": answer(50)}) for _ in range(5)]
    served += [shifts._Served(answer(100), {"static": answer(40), "plain": answer(160)}) for _ in range(5)]
    found = shifts._worst(served, 5, None, "off", loops=True)
    assert found.ratio.value == pytest.approx(100 / 160)
    assert "requests 6 to 10 of 10, against plain" in found.detail
    assert found.judged
    assert shifts._worst(served[:5], 5, None, "off", loops=True).ratio.value == pytest.approx(100 / 125)


def test_the_stream_shifts_four_times() -> None:
    assert len(shifts.STREAM) == 5
    assert all(a != b for a, b in zip(shifts.STREAM, shifts.STREAM[1:], strict=False))


def test_the_line_up_has_each_trained_source_alone_and_left_out_and_counts_no_copy() -> None:
    found = ablation.line_up(("medusa", "medusa-static", "hydra", "suffix", "recycling"))
    assert found == {
        "all sources": {"medusa", "suffix", "recycling"},  # nobody has trained the other heads
        "medusa alone": {"medusa"},
        "suffix alone": {"suffix"},
        "recycling alone": {"recycling"},
        "without medusa": {"suffix", "recycling"},
        "without suffix": {"medusa", "recycling"},
        "without recycling": {"medusa", "suffix"},
    }
    assert list(ablation.line_up(("suffix", "recycling"))) == ["all sources", "suffix alone", "recycling alone"]


def test_every_source_that_can_draft_here_is_asked_for_the_servers_own_first() -> None:
    settings = EngineSettings(target="x", sources=("hydra", "suffix"))
    found = ablation.possible(settings)
    assert found[:2] == ("hydra", "suffix")
    assert set(found) == set(SOURCES) - {"ssd", "rest", "self", "eagle"}
    assert "rest" in ablation.possible(replace(settings, rest="somewhere"))
    assert "eagle" in ablation.possible(replace(settings, sources=("eagle",)))


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A target, its static heads in `heads/` and a draft model in `draft/` beside it."""
    place = tmp_path_factory.mktemp("tiny")
    save_target(place)
    save_draft(place)
    return place


def figures(target: Path, folder: Path, *only: str, sources: str = "hydra,suffix,recycling") -> dict[str, Figure]:
    options = Options(
        folder=folder / "data",
        out=folder / "out",
        only=frozenset(only),
        sizes=QUICK,
        target=str(target / "target"),
        heads=str(target / "heads"),
        sources=sources,
        threads=1,
    )
    report = run(options)
    assert report.about["what drafts"] == sources.replace(",", ", ")
    return {figure.goal.name: figure for figure in report.figures}


@pytest.mark.slow
def test_speculation_is_measured_on_every_group_and_judged_by_the_mean(
    target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[bool] = []
    recorded: list[Answer] = []
    monkeypatch.setattr(Stack, "start_trainer", lambda self: started.append(True))
    monkeypatch.setattr(Stack, "record", lambda self, answers: recorded.extend(answers))
    (figure,) = figures(target, tmp_path, "groups").values()
    assert not figure.failures
    assert started == [True]
    lessons = recorded[: len(GROUPS) * QUICK.group_lessons]
    assert {(each.ask.domain, each.ask.temperature) for each in lessons} == set(itertools.product(GROUPS, TEMPERATURES))
    measured = len(GROUPS) * len(TEMPERATURES) * (QUICK.group_pairs + 1) * QUICK.group_each
    assert len(recorded) == len(lessons) + measured, "while the trainer is there it hears of everything"
    for trainer, temperature in itertools.product(("off", "on"), TEMPERATURES):
        cases = [
            measure
            for measure in figure.measures
            if (measure.trainer, measure.temperature, measure.loops) == (trainer, temperature, True)
        ]
        assert [case.domain for case in cases] == [*GROUPS, "mean of 6 groups"]
        assert [case.judged for case in cases] == [False] * 6 + [True]
        assert cases[-1].ratio.value == pytest.approx(sum(case.ratio.value for case in cases[:-1]) / 6)


@pytest.mark.slow
def test_transformers_is_measured_with_prompt_lookup_and_with_our_draft_model(
    target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (without,) = figures(target, tmp_path / "without", "groups-transformers").values()
    assert "no draft model to assist transformers" in without.failures[0]
    assert {measure.what for measure in without.measures} == {"ours against transformers with prompt lookup"}
    monkeypatch.setenv("EVERDRAFT_ENGINE_DRAFT", str(target / "draft"))
    (figure,) = figures(target, tmp_path, "groups-transformers").values()
    assert not figure.failures
    assert sum(measure.domain == "mean of 6 groups" and measure.loops for measure in figure.measures) == 2


@pytest.mark.slow
def test_crowds_fixed_settings_and_sources_are_measured(
    target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVERDRAFT_ENGINE_DRAFT", str(target / "draft"))
    found = figures(target, tmp_path, "concurrency", "fixed", "ablation")
    assert not any(figure.failures for figure in found.values())
    crowds = [found[f"crowd-{num}"].measures for num in (8, 16, 32, 64)]
    assert [{measure.concurrency for measure in each} for each in crowds] == [{num} for num in QUICK.crowds]
    cases = {(measure.domain, measure.temperature) for measure in found["fixed"].measures}
    assert cases == {(group, temperature) for group in GROUPS for temperature in TEMPERATURES}
    rivals = {measure.what.partition(" against ")[2]: measure.judged for measure in found["ablation"].measures}
    assert {name for name, judged in rivals.items() if judged} == {
        f"{name} alone" for name in ("hydra", "suffix", "recycling", "draft-lm")
    }
    assert {"without draft-lm", "prompt lookup (a baseline)", "lookahead decoding (a baseline)"} <= rivals.keys()


@pytest.mark.slow
def test_a_stream_is_measured_with_and_without_a_trainer(
    target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[bool] = []
    monkeypatch.setattr(Stack, "start_trainer", lambda self: started.append(True))
    (figure,) = figures(target, tmp_path, "shifts").values()
    assert not figure.failures
    assert started == [True]
    judged = [measure for measure in figure.measures if measure.judged and measure.loops]
    assert [measure.trainer for measure in judged] == ["off", "on"]


@pytest.mark.slow
def test_where_arctic_is_not_installed_that_is_a_note_and_no_failure(
    target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "arctic_inference.suffix_decoding", None)
    (figure,) = figures(target, tmp_path, "arctic").values()
    assert (figure.measures, figure.failures) == ((), ())
    assert "arctic-inference is not installed" in figure.notes[0]
    assert not figure.reached
    assert "Not measured: arctic-inference is not installed" in (tmp_path / "out" / "report.md").read_text()


@pytest.mark.slow
def test_a_wrong_token_is_a_failure_of_every_figure_that_times_anything(
    target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Wrong(Client):
        """Begins its last answer with another token."""

        def run(self, asks: Sequence[Ask], *args: object, **options: object) -> list[Answer]:  # type: ignore[override]
            answers = super().run(asks, *args, **options)  # type: ignore[arg-type]
            answers[-1].token_ids[0] ^= 1
            return answers

    offline, variant = House.offline, House.variant
    for name in ("offline", "adapting"):
        monkeypatch.setattr(House, name, lambda self, **changes: Wrong(offline(self).engine))

    def made(self: House, **changes: object) -> Client:
        engine = variant(self, **changes).engine
        return Client(engine) if changes.get("sources") == () else Wrong(engine)  # plain decoding stays right

    monkeypatch.setattr(House, "variant", made)
    monkeypatch.setattr(Stack, "start_trainer", lambda self: None)
    found = figures(target, tmp_path, "groups", "groups-transformers", "concurrency", "fixed", "ablation", "shifts")
    assert {name: figure.measures for name, figure in found.items()} == dict.fromkeys(
        ("groups", "groups-transformers", "crowd-8", "fixed", "ablation", "shifts"), ()
    )
    assert all("outputs differ" in why for figure in found.values() for why in figure.failures)


class _Twin(SuffixSpeculator):
    """In the place of theirs: our own, which is exactly as good."""

    def __init__(self, *, trees: bool) -> None:
        super().__init__(max_tree=16)
        self.name = f"twin-{trees}"


@pytest.mark.slow
def test_suffix_decoding_is_compared_on_the_same_texts(
    target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arctic, "ArcticSpeculator", _Twin)
    found = figures(target, tmp_path, "arctic")
    assert {measure.ratio.value for measure in found["arctic"].measures} == {1.0}
    assert all(measure.ratio.value > 0 for measure in found["arctic-time"].measures)
    assert {measure.what for measure in found["arctic"].measures} == {"against twin-True", "against twin-False"}
