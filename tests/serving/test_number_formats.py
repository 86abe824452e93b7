"""The bundled target in other numbers than float32, in an engine as it is assembled: drafts leave its text alone there too."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from models.loading import Target, load_target
from models.source import bundled_target
from pipelines.store import open_store
from serving.assemble import build_engine
from serving.engine import Engine, FixedBudget
from serving.settings import EngineSettings
from speculator import static_heads
from speculator.static_heads import KIND, find_static_heads
from tests.serving.bundled import asked_of
from tests.serving.rig import served

pytestmark = pytest.mark.slow

PROMPTS = (
    "One windy morning, Nora found a red kite near the barn.",
    "Table players(name, goals)\nWrite a SQL query: Who scored 3 goals?",
    "Tom has 3 boxes with 4 apples each. How many apples does he have?",
)
TIE = 0.25
"""Two steps of bfloat16 for logits of 16 to 32."""


@pytest.fixture(scope="module")
def in_int8() -> Target:
    return load_target(str(bundled_target()), dtype="int8")


def engine_of(loaded: Target, *sources: str, heads: str = "") -> Engine:
    settings = EngineSettings(target=str(bundled_target()), sources=sources, heads=heads, threads=1, max_cached_tokens=2048)
    return build_engine(settings, loaded)


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_drafts_leave_the_text_in_int8_as_it_is(in_int8: Target, temperature: float) -> None:
    asked = asked_of(in_int8, PROMPTS, temperature, 40)
    plain = engine_of(in_int8)
    expected = {number: said for request in asked for number, said in served(plain, [request]).items()}
    engine = engine_of(in_int8, "hydra", "suffix", "draft-lm")
    assert engine.speculator.source_names == ("hydra", "hydra-static", "suffix", "draft-lm"), "the bundled weights draft"
    assert served(engine, asked) == expected
    engine.controller = FixedBudget(12, None)
    before = dict(engine.stats.counters)
    assert served(engine, asked) == expected
    steps = engine.stats.counters["decode_steps"] - before["decode_steps"]
    assert steps < 0.7 * max(map(len, expected.values())), "drafts that were made for the float32 weights are accepted"


def test_heads_of_its_own_come_before_those_of_the_weights_as_stored(in_int8: Target, tmp_path: Path) -> None:
    made_for = {"tokenizer": in_int8.tokenizer.fingerprint}
    static = find_static_heads(static_heads.BUNDLED, target=in_int8.stored, **made_for)
    assert static is not None
    store = open_store(tmp_path)

    def kept(target: str, at: float) -> str:
        described = {"kind": KIND, "parent": None, "config": static.manifest.config, "span": static.manifest.span}
        return store.save(static.weights, target=target, created_at=at, **made_for, **described)[0].version  # type: ignore[arg-type]

    of_stored = kept(in_int8.stored, 2.0)
    assert engine_of(in_int8, "hydra", heads=str(tmp_path)).speculator.versions["hydra-static"] == of_stored
    own = kept(in_int8.fingerprint, 1.0)
    assert engine_of(in_int8, "hydra", heads=str(tmp_path)).speculator.versions["hydra-static"] == own
    whole = find_static_heads(tmp_path, target=in_int8.stored, **made_for)
    assert whole is not None
    assert whole.manifest.version == of_stored, "and are not taken for those of the float32 weights"


def test_in_bfloat16_drafts_move_the_text_at_near_ties_alone() -> None:
    loaded = load_target(str(bundled_target()), dtype="bfloat16")
    asked = asked_of(loaded, PROMPTS, 0.0, 40)
    expected = served(engine_of(loaded), asked)
    engine = engine_of(loaded, "hydra", "suffix", "draft-lm")
    engine.controller = FixedBudget(12, None)
    for number, said in served(engine, asked).items():
        plain = expected[number]
        assert len(said) > 5
        differing = next((at for at, pair in enumerate(zip(said, plain, strict=False)) if pair[0] != pair[1]), None)
        if differing is not None:
            text = torch.tensor([*asked[number].prompt_ids, *plain[:differing]])
            logits = loaded.decoder.logits(loaded.decoder.hidden_states(text)[-1])
            assert (logits[plain[differing]] - logits[said[differing]]).abs() <= TIE
            assert logits.max() - logits[said[differing]] <= TIE
    assert engine.stats.counters["decode_tokens"] > engine.stats.counters["decode_steps"]
