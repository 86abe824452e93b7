"""A server with a draft model among its sources: the bundled one, on the bundled target, in an engine as it is assembled."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from models.loading import Target, load_target
from models.source import bundled_target
from pipelines.registry import open_registry
from serving.assemble import build_engine
from serving.engine import Engine, FixedBudget
from serving.settings import EngineSettings
from tests.serving.bundled import asked_of

pytestmark = pytest.mark.slow

PROMPTS = (
    "One windy morning, Nora found a red kite near the barn.",
    "I would like to book a table for two at an Italian restaurant.",
    "Table players(name, goals)\nWrite a SQL query: Who scored 3 goals?",
    "Tom has 3 boxes with 4 apples each. How many apples does he have?",
)


@pytest.fixture(scope="module")
def loaded() -> Target:
    return load_target(str(bundled_target()))


def engine_of(loaded: Target, *sources: str, **settings: object) -> Engine:
    values = {"threads": 1, "max_cached_tokens": 2048, "page_size": 16, **settings}
    return build_engine(EngineSettings(target=str(bundled_target()), sources=sources, **values), loaded)  # type: ignore[arg-type]


def answers(engine: Engine, loaded: Target, temperature: float, at_once: int) -> dict[int, tuple[int, ...]]:
    said: dict[int, tuple[int, ...]] = {}
    waiting = asked_of(loaded, PROMPTS, temperature, 48)
    while waiting or engine.has_work:
        while waiting and engine.scheduler.num_running + engine.scheduler.num_waiting < at_once:
            assert engine.submit(waiting.pop(0)) is None
        for moved in engine.step():
            said[moved.id] = said.get(moved.id, ()) + moved.token_ids
    engine.audit()
    return said


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_with_a_draft_model_the_text_is_that_of_plain_decoding(loaded: Target, temperature: float) -> None:
    expected = answers(engine_of(loaded), loaded, temperature, 1)
    engine = engine_of(loaded, "hydra", "suffix", "draft-lm")
    assert engine.speculator.source_names == ("hydra", "hydra-static", "suffix", "draft-lm")
    assert answers(engine, loaded, temperature, 4) == expected, "as the controller likes"
    counters = engine.stats.counters
    for arm in (frozenset({"draft-lm"}), frozenset({"draft-lm", "suffix"}), None):
        engine.controller = FixedBudget(12, arm)
        before = dict(counters)
        assert answers(engine, loaded, temperature, 2) == expected
        accepted = counters["accepted_tokens"] - before["accepted_tokens"]
        assert accepted > 0.2 * sum(map(len, expected.values())), "it knows the first two of these domains"


def test_without_one_for_its_target_a_server_says_so_and_serves_with_the_rest(
    loaded: Target, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    engine = engine_of(loaded, "suffix", "draft-lm", draft=str(tmp_path))
    assert engine.speculator.source_names == ("suffix",)
    assert f"no draft model for this target in {tmp_path}" in caplog.text


@pytest.mark.parametrize("law", ["chain-rejection", "without-replacement"])
def test_with_drawn_drafts_greedy_text_is_that_of_plain_decoding_and_sampled_text_is_not(loaded: Target, law: str) -> None:
    for temperature in (0.0, 0.8):
        plain, engine = engine_of(loaded), engine_of(loaded, "draft-lm", law=law)
        engine.controller = FixedBudget(8)
        same = answers(engine, loaded, temperature, 2) == answers(plain, loaded, temperature, 2)
        assert same == (temperature == 0.0)
        assert engine.stats.counters["accepted_tokens"] > 10


def test_a_server_without_heads_says_that_it_runs_and_follows_the_slot_of_its_draft_model(loaded: Target, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'registry.db'}"
    places = {"registry": url, "checkpoints": str(tmp_path / "checkpoints"), "poll_seconds": 0.02}
    both = engine_of(loaded, "medusa", "draft-lm", **places)
    alone = engine_of(loaded, "draft-lm", name="alone", **places)
    registry = open_registry(url)
    try:
        assert [both.swap.slot.kind, *(each.slot.kind for each in both.further_swaps)] == ["medusa", "draft-lm"]
        assert (alone.swap.slot.kind, alone.further_swaps) == ("draft-lm", ())
        deadline = time.monotonic() + 30
        while not (found := [each for each in registry.presences(time.time()) if each.name == "serving:alone"]):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert found[0].version == alone.speculator.versions["draft-lm"]
    finally:
        both.close()
        alone.close()
        registry.close()
