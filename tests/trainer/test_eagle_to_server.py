"""From traffic to a better EAGLE layer in service: a trainer publishes one, and an engine takes it up in mid-text."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from models.decoder import Decoder
from models.eagle import EagleLayer, untrained_config
from models.weights import expected_shapes
from pipelines.checkpoint import Checkpoint
from pipelines.registry import Slot, open_registry
from pipelines.store import open_store
from pipelines.traffic_log import open_reader, open_writer
from serving.engine import Engine, FixedBudget
from serving.swap import Swap
from speculator.merged import MergedSpeculator
from speculator.static_eagle import eagle_source, served_layer
from tests.serving.rig import VOCAB, plain_engine, tiny_config, tiny_scheduler, tiny_target
from tests.speculator.eagle_layers import NUM_PAGES, PAGE_SIZE
from tests.trainer.scripted import train_until
from tests.trainer.test_draft_to_server import acceptance, requests, served, trace_of
from tests.wait import wait_until
from trainer.assemble import assemble
from trainer.settings import TrainerSettings
from trainer.taught import Taught

SLOT = Slot(target="target-1", kind="eagle")


def chain_decoder() -> Decoder:
    """A target that is a Markov chain: after token x mostly comes (5 x + 3) mod 48, whatever came before."""
    config = tiny_config(hidden_size=VOCAB, head_dim=12, tie_embeddings=False)
    weights = {name: torch.zeros(shape) for name, shape in expected_shapes(config).items()}
    weights["model.embed_tokens.weight"] = torch.eye(VOCAB)
    weights["model.norm.weight"] = torch.ones(VOCAB)
    for token in range(VOCAB):
        weights["lm_head.weight"][(5 * token + 3) % VOCAB, token] = 1.0
    return Decoder(config, weights, torch.float32, torch.device("cpu"))


TARGET = chain_decoder()


def static_parallel(folder: Path) -> Checkpoint:
    """An untrained parallel layer, from which server and trainer start."""
    layer, store = EagleLayer(untrained_config(TARGET.config, parallel=True), TARGET), open_store(folder)
    tensors = {name: each.detach() for name, each in layer.tensors.items()}
    manifest, _ = store.save(
        tensors,
        kind="eagle",
        parent=None,
        target=SLOT.target,
        tokenizer="tokenizer-1",
        config=layer.config,
        created_at=1.0,
    )
    return store.load(manifest.version, target=SLOT.target, tokenizer="tokenizer-1", kind="eagle")


@pytest.mark.parametrize("parallel", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["token by token", "parallel"])
def test_what_the_trainer_publishes_drafts_better_in_the_engine_that_takes_it_up(tmp_path: Path, parallel: bool) -> None:
    places = {name: f"sqlite:///{tmp_path / name}.db" for name in ("traffic", "registry")}
    plain, asked = plain_engine(tiny_target(TARGET)), requests(1, 160)
    answers = served(plain, asked)
    writer = open_writer(places["traffic"])
    for request in asked:
        assert writer.append(trace_of(request, answers[request.id]))
    writer.close()

    target, static = tiny_target(TARGET), static_parallel(tmp_path / "static") if parallel else None
    source = eagle_source(
        served_layer(static, target.decoder), version="untrained", max_tree=12, page_size=PAGE_SIZE, num_pages=NUM_PAGES
    )
    engine = Engine(target, tiny_scheduler(target), MergedSpeculator([source], max_tree=12), FixedBudget(8))
    checkpoints = open_store(tmp_path / "checkpoints")
    engine.swap = Swap(SLOT, open_registry=lambda: open_registry(places["registry"]), store=checkpoints, interval=0.01)
    engine.swap.start()
    fresh = requests(10_001, 30)
    expected = served(plain, fresh)
    before = acceptance(engine, fresh, expected)

    settings = TrainerSettings(
        target="tiny",
        **places,
        checkpoints=str(tmp_path / "checkpoints"),
        state=str(tmp_path / "state"),
        heads=str(tmp_path / "static"),
        kind="eagle",
        held_out_fraction=0.3,
        min_conversations=24,
        min_steps=50,
        learning_rate=0.01,
        rows_per_step=64,
    )
    registry, reader = open_registry(places["registry"]), open_reader(places["traffic"])
    try:
        taught = Taught(TARGET, SLOT.target, "tokenizer-1")
        trainer = assemble(settings, taught, reader, registry)
        train_until(trainer, lambda: trainer.record.progress.num_published >= 1, max_slices=20_000)
        trainer.save()
        champion = registry.state(SLOT).champion
        assert champion is not None
        manifest = registry.manifest(SLOT, champion)
        assert (manifest.kind, manifest.parent) == ("eagle", static.manifest.version if static else None)
        assert manifest.config == source._runner.config
        assert ("parallel" in manifest.config) == parallel
        assert manifest.evaluation is not None
        assert (manifest.evaluation.form, manifest.evaluation.budget) == ("chain", 4)
        wait_until(lambda: served(engine, fresh[:1]) is not None and engine.speculator.versions == {"eagle": champion})
        assert acceptance(engine, fresh, expected) > 1.5 * before
        again = assemble(settings, taught, reader, registry)
        assert again.record.progress.champion == champion
        assert again.distiller.num_steps == trainer.distiller.num_steps
    finally:
        engine.close()
        registry.close()
        reader.close()
