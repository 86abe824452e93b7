"""The target drafts for itself: whatever its view leaves out, the text and its keys and values are those of plain decoding."""

from __future__ import annotations

import random

import pytest
import torch
from torch import Tensor

from kernels import native
from kernels.attention import Span, Spans
from models.decoder import Rows
from models.pages import KeyValuePages
from pipelines.checkpoint import Checkpoint, Manifest
from pipelines.errors import ForeignCheckpoint
from serving.engine import Engine, FixedBudget
from serving.messages import Request
from serving.target import Target
from speculator.batch import Sequence
from speculator.merged import MergedSpeculator
from speculator.shadow import Shadow
from speculator.sparse_self import SparseSelfSpeculator
from tests.serving.rig import MAX_TREE, VOCAB, GuessingSpeculator, plain_engine, served, tiny_decoder, tiny_scheduler, tiny_target

DECODER = tiny_decoder()
SMALL = {"count": 8, "sink": 2, "window": 3, "every": 6, "fewest": 12}
"""A view of texts that are several times as long."""


def drafting(
    *, num_pages: int = 64, nodes: int = 8, shadow: Shadow | None = None, limits: dict[str, int] | None = None, **view: int
) -> tuple[Engine, SparseSelfSpeculator]:
    target = tiny_target(DECODER, num_pages=num_pages)
    source = SparseSelfSpeculator(DECODER, target.pages, version="v", max_tree=MAX_TREE, **{**SMALL, **view})
    merged = MergedSpeculator([source], max_tree=MAX_TREE, shadow=shadow)
    return Engine(target, tiny_scheduler(target, **(limits or {})), merged, FixedBudget(nodes)), source


def requests(number: int, temperature: float, seed: int = 0) -> list[Request]:
    chance = random.Random(seed)
    stem = tuple(chance.randrange(VOCAB) for _ in range(16))
    return [
        Request(
            id=each,
            prompt_ids=stem[: chance.choice((0, 16))] + tuple(chance.randrange(VOCAB) for _ in range(chance.randint(1, 30))),
            max_tokens=chance.randint(1, 40),
            temperature=temperature,
            top_p=0.9 if each % 3 == 0 else 1.0,
            seed=each,
        )
        for each in range(number)
    ]


def plainly(asked: list[Request]) -> dict[int, tuple[int, ...]]:
    return served(plain_engine(tiny_target(DECODER)), asked)


@pytest.mark.parametrize("temperature", [0.0, 0.8])
@pytest.mark.parametrize(("depth", "width", "siblings"), [(1, 1, 1), (4, 1, 1), (4, 1, 2), (3, 3, 4)])
def test_the_text_is_the_targets_own(temperature: float, depth: int, width: int, siblings: int) -> None:
    asked = requests(12, temperature)
    engine, source = drafting(depth=depth, width=width, siblings=siblings)
    assert served(engine, asked, random.Random(1)) == plainly(asked)
    counters = engine.stats.counters
    assert source.counters["self_views"] > 20
    assert 40 < counters["accepted_tokens"] < counters["draft_tokens"] / 2, "some drafts are right, and many are not"


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_it_is_the_targets_own_for_those_that_give_up_their_pages_and_those_that_share_them(temperature: float) -> None:
    asked = requests(16, temperature, seed=5)
    engine, _ = drafting(num_pages=40)
    assert served(engine, asked, random.Random(2)) == plainly(asked)
    assert engine.scheduler.counters["preemptions"] > 0
    assert engine.scheduler.counters["prefix_cache_hits"] > 0
    assert engine.stats.counters["accepted_tokens"] > 50


def read_afresh(tokens: list[int]) -> tuple[Tensor, Tensor]:
    """[M, K, L, D] the keys and values of a text that is read in one piece."""
    slots = torch.arange(len(tokens))
    pages = KeyValuePages(DECODER.config, len(tokens), torch.float32, torch.device("cpu"))
    DECODER.forward(Rows(torch.tensor(tokens), slots, slots, Spans([Span(0, len(tokens), slots)]), None), pages)
    return pages.keys, pages.values


def check_pages(target: Target, sequence: Sequence) -> None:
    ours, fresh = target.keys_and_values(sequence), read_afresh(sequence.tokens[: sequence.num_written])
    tolerance = 0.0 if native.compiler() is not None else 1e-5  # of our own kernels to the last bit
    for our, their in zip(ours, fresh, strict=True):
        torch.testing.assert_close(our, their, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize(("siblings", "width"), [(1, 1), (3, 2)])
def test_after_every_step_keys_and_values_are_those_of_a_fresh_reading(siblings: int, width: int) -> None:
    """Nothing that was drafted through the view survives: not the root's, not those of accepted nodes."""
    engine, _ = drafting(siblings=siblings, width=width, nodes=6, num_pages=40)
    for request in requests(6, 0.8, seed=3):
        engine.submit(request)
    while engine.has_work:
        engine.step()
        for sequence in engine.scheduler.running:
            if sequence.num_written:
                check_pages(engine.target, sequence)
    assert engine.stats.counters["accepted_tokens"] > 20


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_a_view_that_leaves_nothing_out_is_always_right(temperature: float) -> None:
    """It knows the noise too, so every token that it drafts as the likeliest is chosen, until the answer ends."""
    prompt = tuple(random.Random(4).randrange(VOCAB) for _ in range(20))
    asked = [Request(id=1, prompt_ids=prompt, max_tokens=41, temperature=temperature, seed=7)]
    engine, source = drafting(count=17, window=3, fewest=20, every=1000, depth=4, siblings=1, nodes=4)
    assert served(engine, asked) == plainly(asked)
    counters = engine.stats.counters
    assert counters["accepted_tokens"] == counters["draft_tokens"] >= 30
    assert source.counters["self_views"] == 1


def test_short_texts_and_who_wants_none_are_left_alone() -> None:
    short, plain, long = (
        Request(id=number, prompt_ids=tuple(range(length)), max_tokens=8, temperature=0.0, speculative=speculative)
        for number, length, speculative in ((1, 4, True), (2, 40, False), (3, 40, True))
    )
    for request, expected in ((short, 0), (plain, 0), (long, 1)):
        engine, source = drafting(fewest=12, every=1000)
        served(engine, [request])
        assert source.counters["self_views"] == expected
        assert (engine.stats.counters["draft_tokens"] > 0) == bool(expected)


def test_views_are_chosen_anew_as_the_text_grows_one_in_a_step() -> None:
    engine, source = drafting(every=6, depth=2)
    for number in range(4):
        prompt = tuple(random.Random(number).randrange(VOCAB) for _ in range(20))
        engine.submit(Request(id=number, prompt_ids=prompt, max_tokens=30, temperature=0.8, seed=number))
    while engine.has_work:
        before = dict(source._views)
        engine.step()
        renewed = [each for each, view in before.items() if source._views.get(each, view) is not view]
        assert len(renewed) <= 1
        for sequence in engine.scheduler.running:
            view = source._views.get(sequence.id)
            # it waits for its turn while three others take theirs, and moves on by up to three tokens meanwhile
            assert view is None or sequence.num_written - view.since < 6 + 3 + 4 * 3
    assert source.counters["self_views"] > 4 * 3


def test_a_view_whose_acceptance_falls_is_chosen_anew() -> None:
    engine, source = drafting(every=1000)
    engine.submit(Request(id=1, prompt_ids=tuple(range(30)), max_tokens=30, temperature=0.0))
    while 1 not in source._views:
        engine.step()
    view = source._views[1]
    engine.step()
    assert source._views[1] is view
    for right in (*[True] * 24, *[False] * 9):
        view.acceptance.saw(right)
    engine.step()
    assert source._views[1] is not view


def test_the_guesses_that_were_right_are_counted() -> None:
    engine, source = drafting(every=1000, depth=4, siblings=1, nodes=4)
    engine.submit(Request(id=1, prompt_ids=tuple(range(30)), max_tokens=24, temperature=0.0))
    num_judged = 0
    while engine.has_work:
        num_accepted = engine.stats.counters["accepted_tokens"]
        engine.step()
        view = source._views.get(1)
        if view is None or view.acceptance._num > 24:
            continue
        newly, num_judged = view.acceptance._num - num_judged, view.acceptance._num
        accepted = engine.stats.counters["accepted_tokens"] - num_accepted
        assert newly in (accepted, accepted + 1), "those accepted, and the first that was not"
        assert view.acceptance._first * num_judged == pytest.approx(engine.stats.counters["accepted_tokens"])
    assert num_judged > 10


def test_it_may_be_asked_twice_in_a_step_and_beside_others() -> None:
    """As it is when its drafts for some of many answers are scored."""
    asked = requests(8, 0.8)
    expected = plainly(asked)
    engine, _ = drafting(shadow=Shadow(every=1, share=1.0))
    assert served(engine, asked) == expected
    assert engine.speculator.shadow.counters()["shadow_steps:self"] > 20
    target = tiny_target(DECODER)
    own = SparseSelfSpeculator(DECODER, target.pages, version="v", max_tree=MAX_TREE, **SMALL)
    merged = MergedSpeculator([GuessingSpeculator(expected, 1), own], max_tree=MAX_TREE)
    assert served(Engine(target, tiny_scheduler(target), merged, FixedBudget(8)), asked) == expected


def test_it_takes_no_weights() -> None:
    _, source = drafting()
    manifest = Manifest(
        version="x",
        kind="self",
        parent=None,
        target="t",
        tokenizer="t",
        created_at=0.0,
        weights_sha256="0" * 64,
        num_parameters=1,
        config={},
    )
    with pytest.raises(ForeignCheckpoint, match="version x: the target's own drafts take no weights"):
        source.load(Checkpoint(manifest, {}))


def test_nothing_is_kept_of_who_has_left() -> None:
    engine, source = drafting()
    served(engine, requests(6, 0.8))
    assert not source._views
    assert not source._proposed
