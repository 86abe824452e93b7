"""From traffic to better drafts in service: a trainer publishes a version, and an engine takes it up in mid-text."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from models.decoder import Decoder
from models.eagle import EagleLayer, untrained_config
from pipelines.checkpoint import Checkpoint
from pipelines.registry import Kind, Slot, open_registry
from pipelines.store import open_store
from pipelines.trace import SamplingRecord, Trace
from pipelines.traffic_log import open_reader, open_writer
from serving.engine import Engine, FixedBudget
from serving.messages import Request
from serving.swap import Swap
from speculator.draft_lm import DraftModelSpeculator
from speculator.merged import MergedSpeculator
from speculator.protocol import Speculator
from speculator.static_eagle import eagle_source, served_layer
from tests.serving.rig import MAX_TREE, VOCAB, plain_engine, served, tiny_scheduler, tiny_target
from tests.speculator.draft_models import decoder_of, draft_model, runner_of
from tests.speculator.eagle_layers import NUM_PAGES, PAGE_SIZE, chain_decoder
from tests.trainer.scripted import train_until
from tests.wait import wait_until
from trainer.assemble import assemble
from trainer.settings import TrainerSettings
from trainer.taught import Taught

TARGET, TOKENIZER = "target-1", "tokenizer-1"


@dataclass(frozen=True)
class Start:
    """What server and trainer begin with."""

    kind: Kind
    decoder: Decoder
    static: Checkpoint | None
    source: Speculator
    config: Mapping[str, object]
    gain: float
    """Tokens per step, in multiples of those at first, that a trained version brings at least."""
    training: dict[str, Any] = field(default_factory=dict)


def saved(folder: Path, kind: Kind, config: Mapping[str, int | float | str | bool], tensors: Mapping[str, Tensor]) -> Checkpoint:
    store = open_store(folder)
    weights = {name: each.detach() for name, each in tensors.items()}
    manifest, _ = store.save(
        weights, kind=kind, parent=None, target=TARGET, tokenizer=TOKENIZER, config=config, created_at=1.0
    )
    return store.load(manifest.version, target=TARGET, tokenizer=TOKENIZER, kind=kind)


def draft(folder: Path) -> Start:
    model = draft_model(seed=5, scale=3.0)
    static = saved(folder, "draft-lm", model.config, model.tensors)
    source = DraftModelSpeculator(runner_of(model), version=static.manifest.version, max_tree=MAX_TREE, depth=4)
    training = {"min_steps": 200, "passes": 40, "learning_rate": 0.004}
    return Start("draft-lm", decoder_of(draft_model(seed=0, scale=10.0)), static, source, model.config, 1.15, training)


def eagle(folder: Path, *, parallel: bool = False) -> Start:
    """parallel: a static layer that is; without one, server and trainer begin with an untrained layer of the other form."""
    decoder = chain_decoder()
    layer = EagleLayer(untrained_config(decoder.config, parallel=parallel), decoder)
    static = saved(folder, "eagle", layer.config, layer.tensors) if parallel else None
    served_as = served_layer(static, decoder)
    source = eagle_source(served_as, version="untrained", max_tree=MAX_TREE, page_size=PAGE_SIZE, num_pages=NUM_PAGES)
    return Start("eagle", decoder, static, source, layer.config, 1.5, {"min_steps": 50, "learning_rate": 0.01})


def parallel_eagle(folder: Path) -> Start:
    return eagle(folder, parallel=True)


def requests(first: int, number: int) -> list[Request]:
    chance = random.Random(first)
    return [
        Request(
            id=each,
            prompt_ids=tuple(chance.randrange(VOCAB) for _ in range(chance.randint(2, 9))),
            max_tokens=24,
            temperature=0.0 if each % 2 else 0.6,
            seed=each,
        )
        for each in range(first, first + number)
    ]


def trace_of(request: Request, output: tuple[int, ...]) -> Trace:
    return Trace(
        trace_id=f"trace-{request.id}",
        conversation=str(request.id),
        started_at=time.time(),
        finished_at=time.time(),
        target=TARGET,
        tokenizer=TOKENIZER,
        prompt_ids=request.prompt_ids,
        output_ids=output,
        finish_reason="length",
        sampling=SamplingRecord(
            temperature=request.temperature, top_p=1.0, top_k=0, min_p=0.0, seed=request.seed, max_tokens=request.max_tokens
        ),
    )


def acceptance(engine: Engine, asked: list[Request], expected: dict[int, tuple[int, ...]]) -> float:
    """Tokens a step."""
    counters = engine.stats.counters
    before = counters["decode_tokens"], counters["decode_steps"]
    assert served(engine, asked) == expected, "whatever is drafted, the text is plain decoding's"
    return (counters["decode_tokens"] - before[0]) / (counters["decode_steps"] - before[1])


@pytest.mark.parametrize("begin", [draft, eagle, pytest.param(parallel_eagle, marks=pytest.mark.slow)])
def test_what_the_trainer_publishes_drafts_better_in_the_engine_that_takes_it_up(
    tmp_path: Path, begin: Callable[[Path], Start]
) -> None:
    start, traffic, slots = begin(tmp_path / "static"), f"sqlite:///{tmp_path / 'log.db'}", f"sqlite:///{tmp_path / 'slots.db'}"
    slot = Slot(target=TARGET, kind=start.kind)
    plain, asked, fresh = plain_engine(tiny_target(start.decoder)), requests(1, 160), requests(10_001, 30)
    answers, expected = served(plain, asked), served(plain, fresh)
    with closing(open_writer(traffic)) as writer:
        assert all(writer.append(trace_of(request, answers[request.id])) for request in asked)
    settings = TrainerSettings(
        target="tiny",
        traffic=traffic,
        registry=slots,
        checkpoints=str(tmp_path / "checkpoints"),
        state=str(tmp_path / "state"),
        heads=str(tmp_path / "static"),
        draft=str(tmp_path / "static"),
        kind=start.kind,
        held_out_fraction=0.3,
        min_conversations=24,
        rows_per_step=64,
        **start.training,
    )
    with ExitStack() as stack:
        target = tiny_target(start.decoder)
        engine = Engine(target, tiny_scheduler(target), MergedSpeculator([start.source], max_tree=MAX_TREE), FixedBudget(8))
        stack.callback(engine.close)
        registry = stack.enter_context(closing(open_registry(slots)))
        reader = stack.enter_context(closing(open_reader(traffic)))
        checkpoints = open_store(settings.checkpoints)
        engine.swap = Swap(slot, open_registry=lambda: open_registry(slots), store=checkpoints, interval=0.01)
        engine.swap.start()
        before = acceptance(engine, fresh, expected)

        taught = Taught(start.decoder, TARGET, TOKENIZER)
        trainer = assemble(settings, taught, reader, registry)
        train_until(trainer, lambda: trainer.record.progress.num_published >= 1, max_slices=20_000)
        trainer.save()
        champion = registry.state(slot).champion
        assert champion is not None
        manifest = registry.manifest(slot, champion)
        assert (manifest.kind, manifest.parent) == (start.kind, start.static.manifest.version if start.static else None)
        assert manifest.config == start.config
        assert manifest.evaluation is not None
        assert (manifest.evaluation.form, manifest.evaluation.budget) == ("chain", settings.lookahead)
        wait_until(lambda: served(engine, fresh[:1]) is not None and engine.speculator.versions == {start.kind: champion})
        assert acceptance(engine, fresh, expected) > start.gain * before
        again = assemble(settings, taught, reader, registry)
        assert again.record.progress.champion == champion
        assert again.distiller.num_steps == trainer.distiller.num_steps
