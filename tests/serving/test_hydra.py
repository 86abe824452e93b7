"""Hydra heads in an engine: the text is plain decoding's, alone and beside others, and an engine is assembled with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from models.loading import Target, load_target
from models.source import bundled_target
from pipelines.store import open_store
from serving.assemble import build_engine
from serving.engine import Engine, FixedBudget
from serving.messages import Request
from serving.settings import EngineSettings
from speculator.heads import HeadsSpeculator
from speculator.merged import MergedSpeculator
from speculator.static_heads import heads_of, heads_source, untrained_config
from speculator.vocabulary import DraftVocabulary
from tests.serving.rig import generate, plain_engine, tiny_decoder, tiny_scheduler, tiny_target
from tests.serving.test_engine_exactness import request
from trainer.distil import Distiller, Recipe
from trainer.lessons import Lesson, Passage
from trainer.shortlist import Shortlist

DECODER = tiny_decoder()


def source(kind: str, seed: int, vocabulary: int | None = None) -> HeadsSpeculator[Any]:
    heads = heads_of(kind, untrained_config(kind, DECODER.config, num_heads=3), DECODER)
    with torch.no_grad():
        for weight in heads.parameters():
            weight.copy_(0.1 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(seed)))
    known = DraftVocabulary(DECODER.output_embeddings(), vocabulary) if vocabulary else None
    return heads_source(heads, DECODER.logits, name=kind, version="v", max_tree=12, vocabulary=known)


def engine_of(*sources: HeadsSpeculator[Any]) -> Engine:
    target = tiny_target(DECODER)
    return Engine(target, tiny_scheduler(target), MergedSpeculator(sources, max_tree=12), FixedBudget(9))


@pytest.mark.parametrize("temperature", [0.0, 0.8])
@pytest.mark.parametrize("kinds", [("hydra",), ("medusa", "hydra")])
def test_output_is_plain_decodings_whatever_hydra_heads_draft(kinds: tuple[str, ...], temperature: float) -> None:
    requests = [request(number, temperature, 3 + 2 * number) for number in range(4)]
    joins = [0, 0, 3, 9]
    expected = {number: plain for each in requests for number, plain in generate(engine_of(), [each], [0]).items()}
    for seed in range(3):
        engine = engine_of(*(source(kind, seed, vocabulary=16 if seed else None) for kind in kinds))
        assert generate(engine, requests, joins) == expected
        assert engine.stats.counters["draft_tokens"] > 100


def test_heads_that_learnt_what_the_target_says_are_accepted_so_that_the_above_is_not_vacuous() -> None:
    requests = [request(number, 0.8, 5) for number in range(4)]
    prompts = {each.id: each.prompt_ids for each in requests}
    expected = generate(plain_engine(tiny_target(DECODER)), requests, [0] * 4)
    heads = heads_of("hydra", untrained_config("hydra", DECODER.config, num_heads=3), DECODER)
    shortlist = Shortlist(DECODER.output_embeddings(), 100, 1, torch.Generator())
    distiller = Distiller(heads, shortlist, Recipe(rows_per_step=1, learning_rate=0.02))
    runs = []
    for number, said in expected.items():
        hidden = DECODER.hidden_states(torch.tensor((*prompts[number], *said)[:-1]))[len(prompts[number]) - 1 :]
        runs.append(Lesson(hidden, torch.tensor(said)))
    for _ in range(50):
        distiller.teach(Passage.of(runs))
        distiller.step()
    engine = engine_of(heads_source(heads, DECODER.logits, name="hydra", version="v", max_tree=12))
    assert generate(engine, requests, [0] * 4) == expected
    assert engine.stats.counters["accepted_tokens"] > sum(map(len, expected.values())) / 3


@pytest.fixture(scope="module")
def bundled() -> Target:
    return load_target(str(bundled_target()))


@pytest.mark.slow
def test_an_engine_is_assembled_with_hydra_heads_and_their_floor(bundled: Target, tmp_path: Path) -> None:
    config = untrained_config("hydra", bundled.config, num_heads=3)
    manifest, _ = open_store(tmp_path).save(
        dict(heads_of("hydra", config, bundled.decoder).named_parameters()),
        kind="hydra",
        parent=None,
        target=bundled.fingerprint,
        tokenizer=bundled.tokenizer.fingerprint,
        config=config,
        created_at=1.0,
    )
    values = {"target": str(bundled_target()), "threads": 1, "max_cached_tokens": 2048, "page_size": 16}
    places = {"registry": f"sqlite:///{tmp_path / 'registry.db'}", "checkpoints": str(tmp_path / "checkpoints")}
    plain = build_engine(EngineSettings(sources=(), **values), bundled)  # type: ignore[arg-type]
    settings = EngineSettings(sources=("hydra", "suffix"), heads=str(tmp_path), **places, **values)  # type: ignore[arg-type]
    engine = build_engine(settings, bundled)
    try:
        assert engine.speculator.source_names == ("hydra", "hydra-static", "suffix")
        assert engine.speculator.versions["hydra"] == manifest.version
        assert engine.swap.slot.kind == "hydra"
        engine.controller = FixedBudget(9, frozenset({"hydra"}))
        asked = [Request(id=number, prompt_ids=(5, 6, 7), max_tokens=20, temperature=0.8, seed=number) for number in range(2)]
        assert generate(engine, asked, [0, 0]) == generate(plain, asked, [0, 0])
        assert engine.stats.counters["draft_tokens"] > 0
    finally:
        engine.close()
        plain.close()


@pytest.mark.slow
def test_without_heads_of_their_kind_a_server_says_so_and_starts_with_untrained_ones(
    bundled: Target, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = EngineSettings(target=str(bundled_target()), threads=1, sources=("medusa",), heads=str(tmp_path))
    engine = build_engine(settings, bundled)
    assert engine.speculator.versions == {"medusa": "untrained"}
    assert "see `everdraft dayzero --kind medusa`" in caplog.text
    engine.close()
