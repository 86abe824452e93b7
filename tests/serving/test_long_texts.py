"""A server whose target drafts for itself, as it is assembled: on the bundled target, with a view small enough for it."""

from __future__ import annotations

import pytest

from models.loading import Target, load_target
from models.source import bundled_target
from serving.assemble import build_engine
from serving.engine import Engine, FixedBudget
from serving.messages import Request
from serving.settings import EngineSettings
from speculator.sparse_self import SparseSelfSpeculator
from tests.serving.rig import served

pytestmark = pytest.mark.slow

STORY = "One windy morning, Nora found a red kite near the barn. She ran to the hill with it and let it fly above the trees. "


@pytest.fixture(scope="module")
def loaded() -> Target:
    return load_target(str(bundled_target()))


def engine_of(loaded: Target, *sources: str) -> Engine:
    settings = EngineSettings(target=str(bundled_target()), sources=sources, threads=1, max_cached_tokens=4096)
    return build_engine(settings, loaded)


def answers(engine: Engine, loaded: Target, temperature: float) -> dict[int, tuple[int, ...]]:
    asked = []
    for number in range(3):
        content = STORY * (8 + number) + "What did Nora find?"
        prompt = tuple(loaded.tokenizer.apply_chat_template([{"role": "user", "content": content}]))
        asked.append(Request(id=number, prompt_ids=prompt, max_tokens=40, temperature=temperature, seed=number))
    return served(engine, asked)


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_a_target_that_drafts_for_itself_says_what_it_says_plainly(loaded: Target, temperature: float) -> None:
    expected = answers(engine_of(loaded), loaded, temperature)
    engine = engine_of(loaded, "self", "suffix")
    assert engine.speculator.source_names == ("suffix", "self")
    assert answers(engine, loaded, temperature) == expected, "texts below 2,048 tokens are left alone"
    own = engine.speculator._sources[1]
    assert isinstance(own, SparseSelfSpeculator)
    assert own.counters["self_views"] == 0
    own._count, own._fewest = 64, 128
    engine.controller = FixedBudget(4, frozenset({"self"}))
    before = dict(engine.stats.counters)
    assert answers(engine, loaded, temperature) == expected
    new = {name: engine.stats.counters[name] - before[name] for name in ("draft_tokens", "accepted_tokens")}
    assert new["accepted_tokens"] > 0.4 * new["draft_tokens"] > 0
    assert own.counters["self_views"] >= 3
