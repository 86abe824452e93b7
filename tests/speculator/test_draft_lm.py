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
from speculator.draft_runner import Track
from speculator.merged import MergedSpeculator
from speculator.shadow import Shadow
from tests.serving.rig import VOCAB, plain_engine, served, tiny_config, tiny_scheduler
from tests.speculator.draft_models import NUM_PAGES, PAGE_SIZE, decoder_of, draft_model, runner_of, target_of
from tests.wait import wait_until

TARGET = draft_model(seed=0)


def engine_with(
    draft: DraftModel,
    *,
    nodes: int = 8,
    depth: int = 4,
    width: int = 3,
    siblings: int = 4,
    num_pages: int = NUM_PAGES,
    **limits: int,
) -> Engine:
    """An engine on TARGET that drafts with `draft`. limits: of its scheduler."""
    target = target_of(TARGET, num_pages)
    source = DraftModelSpeculator(
        runner_of(draft, num_pages), version="v", max_tree=12, depth=depth, width=width, siblings=siblings
    )
    scheduler = tiny_scheduler(target, **{"max_running": 4, **limits})
    return Engine(target, scheduler, MergedSpeculator([source], max_tree=12), FixedBudget(nodes))


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
    merged = MergedSpeculator([source], shadow=Shadow(every=1, share=1.0), max_tree=12)
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
    source = source_of(engine)
    engine.submit(Request(id=1, prompt_ids=(3, 1, 4, 1, 5, 9), max_tokens=30, temperature=0.8, seed=3))
    for _ in range(9):
        engine.step()
        (sequence,) = engine.scheduler.running
        track = source._tracks[1]
        if track.num_read:
            assert_read_afresh(source, draft, track, sequence.tokens)


def assert_all_read_afresh(engine: Engine, draft: DraftModel) -> int:
    """Of how many texts that run that was said."""
    source, looked = source_of(engine), 0
    for sequence in engine.scheduler.running:
        track = source._tracks[sequence.id]
        if track.num_read and track.pages is sequence.pages:
            looked += 1
            assert_read_afresh(source, draft, track, sequence.tokens)
    return looked


def assert_read_afresh(source: DraftModelSpeculator, draft: DraftModel, track: Track, tokens: list[int]) -> None:
    """What `source` keeps of a text is what `draft` would read now."""
    runner, fresh = source._runner, runner_of(draft)
    keys = runner._pages.keys[:, :, runner._rows._keys(track, track.num_read)]
    again = Track(PageTable(runner.page_size, range(60)))
    fresh.read([(again, tokens[: track.num_read])])
    assert torch.allclose(keys, fresh._pages.keys[:, :, fresh._rows._keys(again, track.num_read)], atol=1e-5)


PROMPT = tuple(random.Random(9).randrange(VOCAB) for _ in range(42))


def source_of(engine: Engine) -> DraftModelSpeculator:
    (source,) = engine.speculator._sources
    assert isinstance(source, DraftModelSpeculator)
    return source


def read_by(engine: Engine) -> list[int]:
    """Of every pass over texts, how many tokens it read of texts that were new to it."""
    source, told = source_of(engine), list[int]()
    read = source._runner.read

    def counting(texts, **scored):  # type: ignore[no-untyped-def]
        told.append(sum(len(following) for _, following in texts if len(following) > 8))  # more than a step emits
        return read(texts, **scored)

    source._runner.read = counting  # type: ignore[method-assign]
    return told


@pytest.mark.parametrize("tails", [False, True])
def test_what_answers_share_of_their_texts_is_read_once(tails: bool) -> None:
    asked = [
        Request(id=each, prompt_ids=PROMPT + (each,) * 10 * tails, max_tokens=12, temperature=0.8, seed=each) for each in range(4)
    ]
    engine = engine_with(draft_model(seed=5))
    told = read_by(engine)
    assert served(engine, asked) == served(plain_engine(target_of(TARGET)), asked)
    shared = len(PROMPT) // PAGE_SIZE * PAGE_SIZE
    assert shared < sum(told) <= len(PROMPT) + 4 * (10 * tails + PAGE_SIZE + 5)
    told.clear()
    served(engine, [Request(id=9, prompt_ids=(*PROMPT, 9), max_tokens=12, temperature=0.8, seed=9)])
    assert sum(told) == 0, "and whoever comes later finds it too"


@pytest.mark.parametrize("most_read", [256, 10])
def test_those_that_are_to_be_drafted_for_at_once_read_what_they_share_once(
    most_read: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("speculator.draft_lm.MOST_READ", most_read)
    asked = [Request(id=each, prompt_ids=PROMPT, max_tokens=20, temperature=0.8, seed=each) for each in range(4)]
    engine = engine_with(draft := draft_model(seed=5))
    told = read_by(engine)
    engine.speculation = False
    for each in asked:
        engine.submit(each)
    said: dict[int, tuple[int, ...]] = dict.fromkeys(range(4), ())
    while engine.has_work:
        for moved in engine.step():
            said[moved.id] += moved.token_ids
        assert_all_read_afresh(engine, draft)
        engine.speculation = engine.speculation or len(said[3]) > 1
    assert sum(told) < 2 * len(PROMPT)
    assert said == served(plain_engine(target_of(TARGET)), asked)


def test_what_was_read_for_another_is_what_a_fresh_reading_gives() -> None:
    draft = draft_model(seed=5)
    engine = engine_with(draft, nodes=8)
    for number in range(3):
        engine.submit(Request(id=number, prompt_ids=PROMPT, max_tokens=9 + 20 * number, temperature=0.8, seed=number))
    looked = 0
    while engine.has_work:
        engine.step()
        looked += assert_all_read_afresh(engine, draft)
    assert looked > 20


def _serves(engine: Engine, version: str) -> bool:
    """Whether it drafts with that version by now."""
    served(engine, [Request(id=2, prompt_ids=(1,), max_tokens=3, temperature=0.0)])
    return engine.speculator.versions["draft-lm"] == version


def test_newer_weights_read_again_what_is_shared() -> None:
    engine = engine_with(draft_model(seed=5))
    asked = [Request(id=1, prompt_ids=PROMPT, max_tokens=12, temperature=0.0)]
    expected = served(engine, asked)
    told = read_by(engine)
    assert served(engine, asked) == expected
    assert sum(told) == 0
    last = checkpoint(draft_model(seed=6))
    engine.speculator.load(last)
    wait_until(lambda: _serves(engine, last.manifest.version))
    told.clear()
    assert served(engine, asked) == expected
    assert sum(told) == len(PROMPT) + 1, "with its first token"
    assert served(engine, asked) == expected
    assert sum(told) == len(PROMPT) + 1, "once"


def test_who_comes_back_after_giving_up_its_pages_is_read_again_and_says_the_same() -> None:
    asked = [Request(id=each, prompt_ids=(*PROMPT[:9], each), max_tokens=20, temperature=0.8, seed=each) for each in range(6)]
    engine = engine_with(draft := draft_model(seed=5), num_pages=24)
    for each in asked:
        engine.submit(each)
    said: dict[int, tuple[int, ...]] = dict.fromkeys(range(6), ())
    while engine.has_work:
        for moved in engine.step():
            said[moved.id] += moved.token_ids
        assert_all_read_afresh(engine, draft)
    assert said == served(plain_engine(target_of(TARGET)), asked)
    assert engine.scheduler.counters["preemptions"] > 0, "else nothing was tried here"


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
