"""An EAGLE layer in an engine: the text is plain decoding's, and the layer hears what the target's layers said of all of it."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch

from models.eagle import EagleLayer, untrained_config
from models.loading import load_target
from models.pages import PageTable
from models.source import bundled_target
from pipelines.checkpoint import Checkpoint, Manifest
from pipelines.errors import ForeignCheckpoint
from pipelines.store import open_store
from serving.assemble import build_engine
from serving.engine import Engine, FixedBudget
from serving.messages import Request
from serving.settings import EngineSettings
from serving.target import Target
from speculator.batch import Batch, Sampling, Sequence
from speculator.draft_runner import Track
from speculator.drafts import Drafts, Law, Tree
from speculator.eagle import EagleSpeculator
from speculator.merged import MergedSpeculator
from speculator.protocol import Budget, Speculator
from speculator.static_eagle import eagle_source
from speculator.verify import Verdicts
from tests.serving.rig import VOCAB, GuessingSpeculator, generate, plain_engine, tiny_scheduler, tiny_target
from tests.serving.test_engine_exactness import plain, request
from tests.speculator.eagle_layers import DECODER, FORMS, NUM_PAGES, PAGE_SIZE, eagle_layer, features_of, runner_of, source_of
from tests.wait import wait_until


def engine_of(*sources: Speculator, target: Target | None = None, nodes: int = 8) -> Engine:
    target = target or tiny_target(DECODER)
    return Engine(target, tiny_scheduler(target), MergedSpeculator(sources, max_tree=12), FixedBudget(nodes))


def scattered_target() -> Target:
    """Free pages in an order in which no two neighbours follow each other."""
    target = tiny_target(DECODER)
    target.pool._free.sort(key=lambda page: (page % 2, page))
    return target


def checkpoint(seed: int, *, parallel: bool = False, **changes: object) -> Checkpoint:
    layer = eagle_layer(seed, parallel=parallel)
    values: dict[str, object] = {
        "version": f"seed {seed}",
        "kind": "eagle",
        "parent": None,
        "target": "target-1",
        "tokenizer": "tokenizer-1",
        "created_at": 1.0,
        "weights_sha256": "",
        "num_parameters": 1,
        "config": layer.config,
    }
    weights = {name: each.detach().bfloat16() for name, each in layer.tensors.items()}
    return Checkpoint(Manifest(**{**values, **changes}), weights)  # type: ignore[arg-type]


@FORMS
@pytest.mark.parametrize("temperature", [0.0, 0.8])
@pytest.mark.parametrize("scattered", [False, True], ids=["pages in one piece", "scattered pages"])
def test_output_is_plain_decodings_whatever_the_layer_drafts(temperature: float, scattered: bool, parallel: bool) -> None:
    requests = [request(number, temperature, 3 + 9 * number) for number in range(3)]
    expected = plain(requests)
    for seed in range(3):
        guessing = GuessingSpeculator(expected, seed, hit_rate=0.7)  # so that something is accepted
        engine = engine_of(
            source_of(eagle_layer(seed, parallel=parallel)), guessing, target=scattered_target() if scattered else None
        )
        assert generate(engine, requests, [0, 3, 9]) == expected
        assert engine.stats.counters["accepted_tokens"] > 15


@FORMS
@pytest.mark.parametrize("law", [Law.CHAIN_REJECTION, Law.WITHOUT_REPLACEMENT])
def test_greedy_answers_are_plain_decodings_and_sampled_ones_are_drawn(law: Law, parallel: bool) -> None:
    layer = eagle_layer(parallel=parallel)
    source = eagle_source(layer, version="v", max_tree=12, page_size=PAGE_SIZE, num_pages=NUM_PAGES, law=law)
    engine = engine_of(source)
    for temperature in (0.0, 0.8):
        asked = [request(number, temperature, 4) for number in range(6)]
        said, expected = generate(engine, asked, [0] * 6), plain(asked)
        assert {number: len(each) for number, each in said.items()} == {number: len(each) for number, each in expected.items()}
        assert (said == expected) == (temperature == 0.0), "drawn drafts that are accepted are not plain decoding's choices"
    assert engine.stats.counters["accepted_tokens"] > 0


class Listening(EagleSpeculator):
    """Keeps all it heard, by sequence."""

    def __init__(self, inner: EagleSpeculator) -> None:
        self.__dict__ |= inner.__dict__
        self.said: dict[int, tuple[list[int], dict[int, torch.Tensor]]] = {}

    def observe(self, batch: Batch, drafts: Drafts, verdicts: Verdicts) -> None:
        super().observe(batch, drafts, verdicts)
        for sequence in (*batch.decoding, *(chunk.sequence for chunk in batch.chunks)):
            before = self.said.get(sequence.id, ([], {layer: torch.empty(0, 32) for layer in self.needs_layers}))[1]
            states = {layer: torch.cat((before[layer], sequence.layers[layer])) for layer in self.needs_layers}
            self.said[sequence.id] = (sequence.tokens[: sequence.num_written], states)


def test_states_handed_over_are_those_of_a_fresh_pass_wherever_they_were_accepted_in_a_tree() -> None:
    requests = [request(number, 0.7, 4 + 8 * number) for number in range(3)]
    expected = plain(requests)
    listening = Listening(source_of(eagle_layer()))
    engine = engine_of(listening, GuessingSpeculator(expected, 3, hit_rate=0.7))
    assert generate(engine, requests, [0, 0, 4]) == expected
    assert engine.stats.counters["accepted_tokens"] > 10
    for tokens, states in listening.said.values():
        _, fresh = DECODER.read(torch.tensor(tokens), listening.needs_layers)
        assert len(tokens) > 20
        for layer, each in states.items():
            # rounding of other shapes is below 1e-5; the state of another node is of order 1
            torch.testing.assert_close(each, fresh[layer], atol=1e-4, rtol=1e-4)


def test_nothing_is_captured_where_no_source_asks() -> None:
    engine = plain_engine(tiny_target(DECODER))
    engine.submit(request(1, 0.0, 5))
    engine.step()
    engine.step()
    assert engine.target.capture == ()
    assert engine.target.wait().layers == {}
    assert engine.scheduler.running[0].layers == {}


@FORMS
def test_keys_of_a_text_are_those_of_true_states_whatever_was_drafted_there(parallel: bool) -> None:
    requests = [request(number, 0.7, 4 + 8 * number) for number in range(2)]
    layer = eagle_layer(parallel=parallel)
    source = source_of(layer)
    engine = engine_of(source, GuessingSpeculator(plain(requests), 5, hit_rate=0.7))
    for each in requests:
        engine.submit(each)
    num_checked = 0
    while engine.has_work:
        engine.step()
        for sequence in engine.scheduler.running:
            track = source._tracks[sequence.id]
            if track.num_read:
                num_checked += keys_are_true(source, layer, sequence.tokens, track)
    assert num_checked > 10


def keys_are_true(source: EagleSpeculator, layer: EagleLayer, tokens: list[int], track: Track) -> bool:
    runner, fresh, again = source._runner, runner_of(layer), Track(PageTable(PAGE_SIZE, range(40)))
    fresh.read([(again, tokens[: track.num_read])], features_of(layer, tokens[: track.num_read]))
    for ours, theirs in ((runner._pages.keys, fresh._pages.keys), (runner._pages.values, fresh._pages.values)):
        mine = ours[:, :, runner._rows._keys(track, track.num_read)]
        # rounding of other shapes is below 1e-5; keys of what was drafted, of another place or token, are 0.1 off
        torch.testing.assert_close(mine, theirs[:, :, fresh._rows._keys(again, track.num_read)], atol=1e-3, rtol=1e-3)
    return True


@FORMS
def test_an_abort_in_mid_flight_forgets_the_text_and_leaves_the_others_alone(parallel: bool) -> None:
    requests = [request(number, 0.0, 4) for number in range(3)]
    expected = plain(requests)
    source = source_of(eagle_layer(parallel=parallel))
    engine = engine_of(source)
    emitted: dict[int, tuple[int, ...]] = {each.id: () for each in requests}
    for each in requests:
        engine.submit(each)
    while engine.has_work:
        for moved in engine.step():
            emitted[moved.id] += moved.token_ids
        if len(emitted[1]) in (3, 4, 5, 6, 7):
            engine.abort(1)
    engine.audit()
    assert (emitted[0], emitted[2]) == (expected[0], expected[2])
    assert not source._tracks
    assert not source._heard


@FORMS
def test_swaps_in_mid_sequence_leave_the_text_unchanged_and_are_those_weights(parallel: bool) -> None:
    asked = request(1, 0.7, 9, max_tokens=40)
    [expected] = plain([asked]).values()
    source = source_of(eagle_layer(0, parallel=parallel))
    engine = engine_of(source)
    engine.submit(asked)
    said: tuple[int, ...] = ()
    versions = {source.version}
    while engine.has_work:
        for moved in engine.step():
            said += moved.token_ids
        if len(versions) < 4:
            engine.speculator.load(checkpoint(len(versions), parallel=parallel))
            wait_until(lambda: (engine.take_newer(), source.settled)[1])
            versions.add(f"seed {len(versions)}")
    assert said == expected
    assert source.version == "seed 3"
    hidden, masks = torch.randn(2, 3 * 32), [3 * parallel]
    runners = source._runner, runner_of(eagle_layer(3, parallel=parallel))
    states = [each.read_ahead([(Track(PageTable(PAGE_SIZE, range(4))), [1, 2])], hidden, masks) for each in runners]
    assert torch.equal(*states)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"kind": "hydra"}, "kind is 'hydra', expected 'eagle'"),
        ({"config": {**eagle_layer().config, "low_layer": 2}}, "config is"),
        ({"config": {}}, "config is"),
    ],
)
def test_a_checkpoint_of_another_kind_or_shape_is_refused(changes: dict[str, object], why: str) -> None:
    source = source_of(eagle_layer())
    with pytest.raises(ForeignCheckpoint, match=why):
        source.load(checkpoint(1, **changes))
    assert source.settled


@FORMS
def test_a_checkpoint_of_the_other_form_is_refused_in_words(parallel: bool) -> None:
    source = source_of(eagle_layer(parallel=parallel))
    forms = "a parallel one", "one that drafts token after token"
    with pytest.raises(ForeignCheckpoint, match=f"the eagle layer is {forms[parallel]}; expected {forms[not parallel]}"):
        source.load(checkpoint(1, parallel=not parallel))
    with pytest.raises(ForeignCheckpoint, match="parallel is 1; expected true, or nothing"):
        source.load(checkpoint(1, config={**eagle_layer().config, "parallel": 1}))
    good = checkpoint(1, parallel=parallel)
    foreign = Checkpoint(good.manifest, checkpoint(1, parallel=not parallel).weights)
    wrong = "missing" if parallel else "unexpected"
    with pytest.raises(ForeignCheckpoint, match=f"tensor mask_embedding is {wrong}"):
        source.load(foreign)
    assert source.settled


def test_weights_that_are_damaged_are_refused() -> None:
    source, good = source_of(eagle_layer()), checkpoint(1)
    bad = {**good.weights, "fc.weight": torch.full((32, 96), torch.nan)}
    with pytest.raises(ForeignCheckpoint, match=r"fc\.weight holds numbers that are not finite"):
        source.load(Checkpoint(good.manifest, bad))


@FORMS
def test_a_prompt_that_waited_too_long_is_read_from_where_it_is_known(parallel: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("speculator.heard.MOST_WAITING", 10)
    requests = [request(number, 0.0, 40) for number in range(2)]
    expected = plain(requests)
    source = source_of(eagle_layer(parallel=parallel))
    engine = engine_of(source)
    assert generate(engine, requests, [0, 2]) == expected
    assert engine.stats.counters["draft_tokens"] > 50


def hear(source: EagleSpeculator, sequence: Sequence, start: int, stop: int) -> None:
    """The step that wrote places `start` to `stop` of a text."""
    _, captured = DECODER.read(torch.tensor(sequence.tokens[:stop]), source.needs_layers)
    sequence.num_written = stop
    sequence.layers = {layer: each[start:stop] for layer, each in captured.items()}
    source.observe(Batch((sequence,)), Drafts.empty([0]), Verdicts(((),), ((),)))


def drafted(source: EagleSpeculator, sequence: Sequence) -> Tree:
    return source.propose(Batch((sequence,)), Budget(12)).tree(0)


def a_sequence(length: int) -> Sequence:
    chance = random.Random(3)
    tokens = [chance.randrange(VOCAB) for _ in range(length)]
    sampling, pages = Sampling(temperature=0.0, max_tokens=30), PageTable(PAGE_SIZE, range(10))
    return Sequence(1, "tenant", tokens, length - 1, sampling, pages=pages)


@FORMS
def test_a_text_that_comes_back_to_other_pages_is_read_again(parallel: bool) -> None:
    source, sequence = source_of(eagle_layer(parallel=parallel)), a_sequence(20)
    source.begin(sequence)
    hear(source, sequence, 0, 12)
    hear(source, sequence, 12, 19)
    before = drafted(source, sequence)
    sequence.pages = PageTable(PAGE_SIZE, range(20, 30))
    hear(source, sequence, 0, 19)
    after = drafted(source, sequence)
    assert len(before) == 13
    assert after.tokens == before.tokens
    assert after.confidence == pytest.approx(before.confidence, rel=1e-3)


def test_what_was_never_heard_is_left_out() -> None:
    """As where a prefix was read for somebody else: a text that begins later is drafted for from there."""
    source, sequence = source_of(eagle_layer()), a_sequence(20)
    source._runner._pages.keys.fill_(5.0)
    source.begin(sequence)
    assert len(drafted(source, sequence)) == 1, "nothing was heard"
    hear(source, sequence, 8, 19)
    assert len(drafted(source, sequence)) == 13
    track, layer = source._tracks[1], eagle_layer()
    assert (track.first, track.num_read) == (9, 20)
    fresh = runner_of(layer)
    again = Track(sequence.pages, num_read=9, first=9)
    fresh.read([(again, sequence.tokens[9:])], features_of(layer, sequence.tokens)[9:])
    ours, theirs = (each._pages.keys[:, :, fresh._rows._keys(again, 20)] for each in (source._runner, fresh))
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


@FORMS
def test_asked_twice_in_one_step_it_says_the_same(parallel: bool) -> None:
    source, sequence = source_of(eagle_layer(parallel=parallel)), a_sequence(20)
    source.begin(sequence)
    hear(source, sequence, 0, 19)
    assert drafted(source, sequence) == drafted(source, sequence)


@pytest.mark.slow
def test_an_engine_is_assembled_with_an_eagle_layer_and_follows_its_slot(tmp_path: Path) -> None:
    bundled = load_target(str(bundled_target()))
    layer = EagleLayer(untrained_config(bundled.config), bundled.decoder)
    manifest, _ = open_store(tmp_path).save(
        {name: each.detach() for name, each in layer.tensors.items()},
        kind="eagle",
        parent=None,
        target=bundled.fingerprint,
        tokenizer=bundled.tokenizer.fingerprint,
        config=layer.config,
        created_at=1.0,
    )
    values = {"target": str(bundled_target()), "threads": 1, "max_cached_tokens": 2048, "page_size": 16}
    places = {"registry": f"sqlite:///{tmp_path / 'registry.db'}", "checkpoints": str(tmp_path / "checkpoints")}
    settings = EngineSettings(sources=("eagle", "suffix"), heads=str(tmp_path), **places, **values)  # type: ignore[arg-type]
    engine = build_engine(settings, bundled)
    bare = build_engine(EngineSettings(sources=(), **values), bundled)  # type: ignore[arg-type]
    try:
        assert engine.speculator.source_names == ("eagle", "eagle-static", "suffix")
        assert engine.speculator.versions == {**dict.fromkeys(("eagle", "eagle-static"), manifest.version), "suffix": "counts"}
        assert engine.speculator._rival.name == "eagle-rival"
        assert engine.swap.slot.kind == "eagle"
        assert engine.target.capture == (2, 4, 6)
        engine.controller = FixedBudget(9, frozenset({"eagle-static"}))
        asked = [Request(id=number, prompt_ids=(5, 6, 7), max_tokens=20, temperature=0.8, seed=number) for number in range(2)]
        assert generate(engine, asked, [0, 0]) == generate(bare, asked, [0, 0])
        assert engine.stats.counters["draft_tokens"] > 0
    finally:
        engine.close()
        bare.close()
