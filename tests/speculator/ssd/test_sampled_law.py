"""The sampled law through a real worker, enumerated exactly: hits, misses, Saguaro sampling, weights that change half-way.

Every draw falls every way it can: what the target chooses, whether a draft is accepted, and each token of every branch that the
worker prepares, used or not. What is emitted must have the target's law to the last digit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial

import pytest

from speculator.batch import Sampling
from speculator.belief import Belief
from speculator.drafts import Law
from speculator.ssd.pace import Limits, Pace
from tests.speculator.enumeration import Fate, FatefulChooser, drawing, law_of
from tests.speculator.ssd.toy import Text, ToyEngine, ToyLink
from tests.speculator.test_exact_law import distance
from tests.speculator.toys import ToyTarget

SAMPLED = Sampling(temperature=1.0, max_tokens=50)
LENGTH = 3
Way = Callable[[ToyEngine, ToyLink, int], None]
"""Called before each round, with its number."""


def nothing(engine: ToyEngine, link: ToyLink, number: int) -> None:
    pass


def swap_before_the_second(engine: ToyEngine, link: ToyLink, number: int) -> None:
    """New weights, while what the old ones have prepared is still to be handed out."""
    if number == 1:
        link.runner.swap(ToyTarget(link.runner.drafter.vocab_size, 77))


def emitted_law(
    patch: pytest.MonkeyPatch,
    vocab_size: int,
    seed: int,
    *,
    lookahead: int,
    fan_out: int,
    saguaro: float = 1.0,
    passes: int = -1,
    way: Way = nothing,
    counters: Counter[str] | None = None,
    length: int = LENGTH,
) -> dict[Text, float]:
    """Of the first `length` tokens."""
    target, drafter = ToyTarget(vocab_size, seed), ToyTarget(vocab_size, seed + 50)

    def run(fate: Fate) -> Text:
        patch.setattr("speculator.ssd.builder.draw", drawing(fate))
        link = ToyLink(drafter, law=Law.CHAIN_REJECTION, saguaro=saguaro, passes=passes)
        chooser = partial(FatefulChooser, fate)
        engine = ToyEngine(target, link, SAMPLED, lookahead=lookahead, fan_out=fan_out, chooser=chooser)  # type: ignore[arg-type]
        text: Text = ()
        number = 0
        while len(text) < length:
            way(engine, link, number)
            text += engine.step()
            number += 1
        if counters is not None:
            counters.update({name: int(value) for name, value in engine.source.counters.items() if ":" in name})
        return text[:length]

    return law_of(run)


def plain_law(vocab_size: int, seed: int, length: int = LENGTH) -> dict[Text, float]:
    target = ToyTarget(vocab_size, seed)

    def run(fate: Fate) -> Text:
        text: Text = (0, 1)
        while len(text) < 2 + length:
            text += (fate.pick(target.probs(text)),)
        return text[2:]

    return law_of(run)


@pytest.mark.parametrize(
    ("vocab_size", "lookahead", "fan_out"),
    [
        pytest.param(3, 1, 2, id="hits and misses"),
        pytest.param(2, 2, 1, id="two ahead"),
        pytest.param(2, 1, 4, id="everything foreseen"),
        pytest.param(3, 1, 0, id="nothing foreseen"),
    ],
)
def test_the_law_is_the_targets(monkeypatch: pytest.MonkeyPatch, vocab_size: int, lookahead: int, fan_out: int) -> None:
    counters: Counter[str] = Counter()
    law = emitted_law(monkeypatch, vocab_size, 0, lookahead=lookahead, fan_out=fan_out, counters=counters)
    assert distance(law, plain_law(vocab_size, 0)) < 1e-12
    assert (counters["ssd_rounds:hit"] > 0) == (fan_out > 0)
    assert counters["ssd_rounds:miss"] > 0, "the first round at least"


@pytest.mark.parametrize("saguaro", [0.5, 0.0])
def test_the_law_is_the_targets_with_saguaro_sampling(monkeypatch: pytest.MonkeyPatch, saguaro: float) -> None:
    law = emitted_law(monkeypatch, 3, 1, lookahead=1, fan_out=2, saguaro=saguaro, length=2)
    assert distance(law, plain_law(3, 1, length=2)) < 1e-12


def test_the_law_is_the_targets_when_weights_change_between_two_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    law = emitted_law(monkeypatch, 3, 2, lookahead=1, fan_out=1, way=swap_before_the_second)
    assert distance(law, plain_law(3, 2)) < 1e-12


def test_the_law_is_the_targets_when_there_is_time_for_a_part_only(monkeypatch: pytest.MonkeyPatch) -> None:
    law = emitted_law(monkeypatch, 2, 3, lookahead=2, fan_out=1, passes=2)
    assert distance(law, plain_law(2, 3)) < 1e-12


# Wrong laws must be found out.


def after_the_swap(engine: ToyEngine, link: ToyLink, number: int) -> None:
    """Wrong: what is handed out is said to be drawn from the belief of the newer weights."""
    if number != 1:
        return
    swap_before_the_second(engine, link, number)
    for draftee in link.worker._draftees.values():
        for token, node in draftee.root.children.items():
            if node.belief is not None:
                probs = link.runner.drafter.probs((*draftee.tokens, token))
                node.belief = Belief(tuple(range(len(probs))), tuple(probs))


def without_what_saguaro_did(engine: ToyEngine, link: ToyLink, number: int) -> None:
    """Wrong: drawn from a dampened belief, verified by the one before."""
    for draftee in link.worker._draftees.values():
        for token, node in draftee.root.children.items():
            if node.belief is not None:
                probs = link.runner.drafter.probs((*draftee.tokens, token))
                node.belief = Belief(tuple(range(len(probs))), tuple(probs))


@pytest.mark.parametrize(("way", "saguaro", "seed"), [(after_the_swap, 1.0, 2), (without_what_saguaro_did, 0.2, 1)])
def test_wrong_laws_are_found_out(monkeypatch: pytest.MonkeyPatch, way: Way, saguaro: float, seed: int) -> None:
    law = emitted_law(monkeypatch, 3, seed, lookahead=1, fan_out=2, saguaro=saguaro, way=way, length=2)
    assert sum(law.values()) == pytest.approx(1.0, abs=1e-9)
    assert distance(law, plain_law(3, seed, length=2)) > 1e-3


@pytest.mark.parametrize("width", [100, 1])
def test_the_law_in_earnest(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    """Real noise, which the worker knows when it decides what to prepare for: frequencies over seeds. width: read in a pass, of
    which there are two."""

    def narrow(self: Pace, reaches: Sequence[float], limits: Limits, num: int, *, made: int, passed: float) -> int:
        return min(width, len(reaches)) if made < 2 else 0

    monkeypatch.setattr(Pace, "width", narrow)
    target, drafter, count = ToyTarget(3, 4), ToyTarget(3, 5), 2000
    seen: Counter[Text] = Counter()
    hits = 0.0
    for seed in range(count):
        link = ToyLink(drafter, law=Law.CHAIN_REJECTION)
        engine = ToyEngine(target, link, Sampling(temperature=1.0, seed=seed, max_tokens=50), lookahead=2, fan_out=3)
        text: Text = ()
        while len(text) < 2:
            text += engine.step()
        seen[text[:2]] += 1
        hits += engine.source.counters["ssd_rounds:hit"]
    assert hits > count / 8
    square = 0.0
    for first in range(3):
        for second in range(3):
            expected = count * target.probs((0, 1))[first] * target.probs((0, 1, first))[second]
            square += (seen[first, second] - expected) ** 2 / expected
    assert square < 32.0, "chi-square with 8 degrees of freedom: passed by chance once in 10,000"


def test_what_is_prepared_first_does_not_depend_on_the_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a draft that is there at all would be one of some draws rather than of others, its belief not the law of its draw."""
    seen: set[tuple[float, ...]] = set()

    def overheard(self: Pace, reaches: Sequence[float], limits: Limits, num: int, *, made: int, passed: float) -> int:
        seen.add(tuple(reaches))
        return 0

    monkeypatch.setattr(Pace, "width", overheard)
    for law, num in ((Law.CHAIN_REJECTION, 1), (Law.POINT_MASS, 20)):  # in the latter it may, and does
        seen.clear()
        for seed in range(20):
            link = ToyLink(ToyTarget(5, 5), law=law)
            sampling = Sampling(temperature=1.0, seed=seed, max_tokens=50)
            ToyEngine(ToyTarget(5, 4), link, sampling, lookahead=2, fan_out=4).step()
        assert len(seen) == num
