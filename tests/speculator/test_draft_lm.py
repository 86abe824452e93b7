"""The draft model as a source: what it drafts is what it thinks, and the text stays the target's own."""

from __future__ import annotations

import random

import pytest
import torch

from models.draft import DraftModel, DraftShape
from models.pages import PageTable
from pipelines.checkpoint import Checkpoint, Manifest
from pipelines.errors import ForeignCheckpoint
from serving.engine import Engine, FixedBudget
from serving.messages import Request
from speculator.draft_lm import DraftModelSpeculator
from speculator.merged import MergedSpeculator
from speculator.shadow import Shadow
from tests.serving.rig import VOCAB, plain_engine, tiny_config, tiny_scheduler
from tests.speculator.draft_models import decoder_of, draft_model, runner_of, target_of
from tests.wait import wait_until

TARGET = draft_model(seed=0)


def engine_with(draft: DraftModel, *, nodes: int = 8, depth: int = 4, width: int = 3, siblings: int = 4) -> Engine:
    """An engine on TARGET that drafts with `draft`."""
    target = target_of(TARGET)
    source = DraftModelSpeculator(
        runner_of(draft), version="v", max_tree=12, depth=depth, width=width, siblings=siblings
    )
    return Engine(target, tiny_scheduler(target, max_running=4), MergedSpeculator([source], max_tree=12), FixedBudget(nodes))


def requests(number: int, temperature: float, seed: int = 0) -> list[Request]:
    chance = random.Random(seed)
    return [
        Request(
            id=each,
            prompt_ids=tuple(chance.randrange(VOCAB) for _ in range(chance.randint(1, 20))),
            max_tokens=chance.randint(1, 30),
            temperature=temperature,
            top_p=0.9 if each % 3 == 0 else 1.0,
            seed=each,
        )
        for each in range(number)
    ]


def served(engine: Engine, asked: list[Request], chance: random.Random | None = None) -> dict[int, tuple[int, ...]]:
    """Answers by id. chance: they come in at random moments."""
    said: dict[int, tuple[int, ...]] = {}
    waiting = list(asked)
    while waiting or engine.has_work:
        while waiting and (chance is None or not engine.has_work or chance.random() < 0.3):
            assert engine.submit(waiting.pop(0)) is None
        for moved in engine.step():
            said[moved.id] = said.get(moved.id, ()) + moved.token_ids
    engine.audit()
    return said


@pytest.mark.parametrize("temperature", [0.0, 0.8])
@pytest.mark.parametrize(("nodes", "depth", "width"), [(1, 1, 1), (4, 4, 1), (8, 4, 3), (12, 3, 4)])
def test_the_text_is_the_targets_own(temperature: float, nodes: int, depth: int, width: int) -> None:
    asked = requests(10, temperature)
    expected = served(plain_engine(target_of(TARGET)), asked)
    for seed, draft in enumerate((draft_model(seed=0), draft_model(seed=5))):
        engine = engine_with(draft, nodes=nodes, depth=depth, width=width)
        assert served(engine, asked, random.Random(seed)) == expected


def test_it_may_be_asked_twice_in_a_step() -> None:
    """As it is when its drafts for some of many answers are scored."""
    target = target_of(TARGET)
    source = DraftModelSpeculator(runner_of(draft_model(seed=5)), version="v", max_tree=12)
    merged = MergedSpeculator([source], shadow=Shadow(every=1), max_tree=12)
    engine = Engine(target, tiny_scheduler(target, max_running=4), merged, FixedBudget(4))
    asked = requests(8, 0.8)
    assert served(engine, asked) == served(plain_engine(target_of(TARGET)), asked)
    assert merged.shadow.counters()["shadow_steps:draft-lm"] > 20


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_a_draft_that_is_the_target_is_always_right(temperature: float) -> None:
    """It knows the noise too, so every token that it drafts as the likeliest is chosen, until the answer ends."""
    asked = [Request(id=1, prompt_ids=(3, 1, 4), max_tokens=41, temperature=temperature, seed=7)]
    engine = engine_with(draft_model(seed=0), nodes=4, depth=4, width=1, siblings=1)
    served(engine, asked)
    counters = engine.stats.counters
    assert counters["accepted_tokens"] == counters["draft_tokens"] >= 30
    assert 8 <= counters["decode_steps"] <= 10, "forty tokens after the first, five a step where the way is likely enough"


def test_what_it_has_read_is_what_a_fresh_reading_gives() -> None:
    """After steps of drafts accepted and refused, its keys are those of the text alone."""
    draft = draft_model(seed=5)
    engine = engine_with(draft, nodes=8)
    source = engine.speculator._sources[0]
    assert isinstance(source, DraftModelSpeculator)
    engine.submit(Request(id=1, prompt_ids=(3, 1, 4, 1, 5, 9), max_tokens=30, temperature=0.8, seed=3))
    for _ in range(9):
        engine.step()
        (sequence,) = engine.scheduler.running
        track = source._tracks[1]
        if track.num_read:
            runner = source._runner
            keys = runner._pages.keys[:, :, runner._rows._keys(track, track.num_read)]
            fresh = runner_of(draft)
            again = type(track)(PageTable(runner.page_size, range(20)))
            fresh.read([(again, sequence.tokens[: track.num_read])])
            assert torch.allclose(keys, fresh._pages.keys[:, :, fresh._rows._keys(again, track.num_read)], atol=1e-5)


def test_a_long_prompt_is_read_in_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("speculator.draft_lm.MOST_READ", 5)
    asked = [Request(id=1, prompt_ids=tuple(range(18)), max_tokens=20, temperature=0.0)]
    engine = engine_with(draft_model(seed=0), nodes=4, depth=4, width=1)
    said = served(engine, asked)
    assert said == served(plain_engine(target_of(TARGET)), asked)
    assert engine.stats.counters["accepted_tokens"] > 0


def test_others_weights_are_taken_between_two_steps_or_refused() -> None:
    engine = engine_with(draft_model(seed=5))
    asked = requests(4, 0.8)
    expected = served(plain_engine(target_of(TARGET)), asked)
    for request in asked:
        engine.submit(request)
    said: dict[int, tuple[int, ...]] = {}
    steps = 0
    while engine.has_work:
        for moved in engine.step():
            said[moved.id] = said.get(moved.id, ()) + moved.token_ids
        steps += 1
        if steps % 4 == 0:
            engine.speculator.load(checkpoint(draft_model(seed=steps)))
    assert said == expected
    last = checkpoint(draft_model(seed=steps))
    engine.speculator.load(last)
    wait_until(lambda: served(engine, asked) == expected and engine.speculator.versions["draft-lm"] == last.manifest.version)
    before = engine.speculator.versions
    wrong = checkpoint(draft_model(seed=1))
    spoilt = Checkpoint(wrong.manifest, {**wrong.weights, "model.norm.weight": torch.ones(3)})
    with pytest.raises(ForeignCheckpoint, match="shape"):
        engine.speculator.load(spoilt)
    smaller = DraftShape(hidden_size=32, intermediate_size=48, num_layers=1, num_heads=4, num_kv_heads=2)
    with pytest.raises(ForeignCheckpoint, match="shape"):  # else its keys would not fit the pages
        engine.speculator.load(checkpoint(DraftModel(smaller.config_for(tiny_config(vocab_size=VOCAB)))))
    assert served(engine, asked) == expected
    assert engine.speculator.versions == before


def checkpoint(model: DraftModel) -> Checkpoint:
    manifest = Manifest(
        version=f"draft-{id(model)}",
        kind="draft-lm",
        parent=None,
        target="target-1",
        tokenizer="tokenizer-1",
        created_at=0.0,
        weights_sha256="0" * 64,
        num_parameters=1,
        config=model.config,
    )
    return Checkpoint(manifest, {name: tensor.detach() for name, tensor in model.tensors.items()})


def test_the_oracle_of_these_tests_is_another_network() -> None:
    tokens = torch.tensor([1, 2, 3])
    ours, theirs = decoder_of(TARGET).hidden_states(tokens), decoder_of(draft_model(seed=5)).hidden_states(tokens)
    assert not torch.allclose(ours, theirs, atol=0.1)
