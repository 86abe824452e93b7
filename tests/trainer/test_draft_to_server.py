"""From traffic to a better draft in service: a trainer publishes a draft model, and an engine takes it up."""

from __future__ import annotations

import random
import time
from pathlib import Path

from pipelines.registry import Slot, open_registry
from pipelines.store import open_store
from pipelines.trace import SamplingRecord, Trace
from pipelines.traffic_log import open_reader, open_writer
from serving.engine import Engine, FixedBudget
from serving.messages import Request
from serving.swap import Swap
from speculator.draft_lm import DraftModelSpeculator
from speculator.merged import MergedSpeculator
from tests.serving.rig import VOCAB, plain_engine, tiny_scheduler
from tests.speculator.draft_models import decoder_of, draft_model, runner_of, target_of
from tests.trainer.scripted import train_until
from tests.wait import wait_until
from trainer.assemble import assemble
from trainer.settings import TrainerSettings
from trainer.taught import Taught

TARGET = draft_model(seed=0, scale=10.0)
DRAFT = draft_model(seed=5, scale=3.0)
SLOT = Slot(target="target-1", kind="draft-lm")


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


def served(engine: Engine, asked: list[Request]) -> dict[int, tuple[int, ...]]:
    said: dict[int, tuple[int, ...]] = {}
    waiting = list(asked)
    while waiting or engine.has_work:
        if waiting and engine.scheduler.num_running + engine.scheduler.num_waiting < 2:
            assert engine.submit(waiting.pop()) is None
        for moved in engine.step():
            said[moved.id] = said.get(moved.id, ()) + moved.token_ids
    return said


def trace_of(request: Request, output: tuple[int, ...]) -> Trace:
    return Trace(
        trace_id=f"trace-{request.id}",
        conversation=str(request.id),
        started_at=time.time(),
        finished_at=time.time(),
        target=SLOT.target,
        tokenizer="tokenizer-1",
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


def test_what_the_trainer_publishes_drafts_better_in_the_engine_that_takes_it_up(tmp_path: Path) -> None:
    places = {name: f"sqlite:///{tmp_path / name}.db" for name in ("traffic", "registry")}
    store = open_store(static := tmp_path / "static")
    static_version = store.save(
        {name: tensor.detach() for name, tensor in DRAFT.tensors.items()},
        kind=SLOT.kind,
        parent=None,
        target=SLOT.target,
        tokenizer="tokenizer-1",
        config=DRAFT.config,
        created_at=1.0,
    )[0].version
    plain, asked = plain_engine(target_of(TARGET)), requests(1, 160)
    answers = served(plain, asked)
    writer = open_writer(places["traffic"])
    for request in asked:
        assert writer.append(trace_of(request, answers[request.id]))
    writer.close()

    target = target_of(TARGET)
    source = DraftModelSpeculator(runner_of(DRAFT), version=static_version, max_tree=12, depth=4)
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
        draft=str(static),
        kind="draft-lm",
        held_out_fraction=0.3,
        min_conversations=24,
        min_steps=200,
        passes=40,
        learning_rate=0.004,
        rows_per_step=64,
    )
    registry, reader = open_registry(places["registry"]), open_reader(places["traffic"])
    try:
        taught = Taught(decoder_of(TARGET), SLOT.target, "tokenizer-1")
        trainer = assemble(settings, taught, reader, registry)
        train_until(trainer, lambda: trainer.record.progress.num_published >= 1, max_slices=20_000)
        champion = registry.state(SLOT).champion
        assert champion is not None
        assert registry.manifest(SLOT, champion).parent == static_version
        wait_until(lambda: served(engine, fresh[:1]) is not None and engine.speculator.versions == {"draft-lm": champion})
        assert acceptance(engine, fresh, expected) > 1.15 * before
    finally:
        engine.close()
        registry.close()
        reader.close()
