"""Baselines: they draft what their papers say, and on our engine they change no token."""

from __future__ import annotations

import random
import sys
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from bench.baselines.arctic import ArcticSpeculator
from bench.baselines.lookahead import GUESSES, LEVEL, NODES, WINDOW, LookaheadSpeculator
from bench.baselines.prompt_lookup import PromptLookupSpeculator
from bench.errors import NotInstalled
from bench.rig import Ask, Client, acceptance_length
from models.pages import PagePool
from serving.engine import Engine, FixedBudget
from serving.scheduler import Scheduler
from serving.target import Target
from speculator.batch import Batch, Sampling, Sequence
from speculator.drafts import Drafts, Tree
from speculator.merged import MergedSpeculator
from speculator.protocol import Budget, Speculator
from speculator.redraft import redraft
from speculator.verify import Verdicts
from tests.serving.rig import plain_engine, tiny_decoder, tiny_target

DECODER = tiny_decoder()


def sequence(tokens: list[int], max_tokens: int = 40, number: int = 1) -> Sequence:
    return Sequence(number, "t", tokens, 1, Sampling(temperature=0.0, max_tokens=max_tokens))


def drafted(tokens: list[int], budget: Budget = Budget(16), max_tokens: int = 40) -> list[int]:
    """What prompt lookup drafts behind a text: a chain."""
    subject, text = PromptLookupSpeculator(), sequence(tokens, max_tokens)
    subject.begin(text)
    tree = subject.propose(Batch((text,)), budget).tree(0)
    assert tree.depth == list(range(len(tree)))
    return tree.tokens[1:]


def test_the_longest_stretch_is_looked_for_first_and_ten_tokens_are_copied() -> None:
    assert drafted([1, 2, 3, 40, 41, 9, 3, 50, 9, 1, 2, 3]) == [40, 41, 9, 3, 50, 9, 1, 2, 3]
    assert drafted([7, 3, 40, 41, 2, 3]) == [40, 41, 2, 3]
    assert drafted([5, *range(20, 40), 5]) == list(range(20, 30))


def test_of_several_occurrences_the_newest_is_copied() -> None:
    assert drafted([1, 2, 30, 1, 2, 31, 1, 2])[0] == 31


def test_what_never_stood_there_is_not_drafted_nor_more_than_may_be() -> None:
    assert drafted([1, 2, 3, 4]) == []
    text = [1, 2, 3, 4, 1, 2]
    assert drafted(text, Budget(0)) == []
    assert drafted(text, Budget(2)) == [3, 4]
    assert drafted(text, Budget(16, max_depth=1)) == [3]
    assert drafted(text, Budget(16, sources=frozenset({"suffix"}))) == []
    assert drafted(text, max_tokens=7) == [3], "one token is left beside the target's own"


def test_a_growing_text_is_read_on() -> None:
    subject, text = PromptLookupSpeculator(), sequence([1, 2, 3])
    subject.begin(text)
    assert subject.propose(Batch((text,)), Budget(4)).tree(0).tokens == [3]
    text.tokens += [8, 9, 3]
    assert subject.propose(Batch((text,)), Budget(4)).tree(0).tokens == [3, 8, 9, 3]


@pytest.mark.parametrize(("source", "num_nodes"), [(PromptLookupSpeculator, 10), (LookaheadSpeculator, NODES)])
@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_no_token_changes_whoever_drafts(source: type[Speculator], num_nodes: int, temperature: float) -> None:
    asks = [Ask(number, "toy", (number + 1, 7, 3, number + 2), 60, (), temperature) for number in range(4)]
    expected = Client(plain_engine(tiny_target(DECODER))).run(asks, 1)
    pool = PagePool(400, 4)
    merged = MergedSpeculator([source()], max_tree=num_nodes)
    scheduler = Scheduler(pool, max_tree=num_nodes)
    client = Client(Engine(Target(DECODER, pool), scheduler, merged, FixedBudget(num_nodes)))
    answers = client.run(asks, 2)
    assert [answer.token_ids for answer in answers] == [answer.token_ids for answer in expected]
    if temperature == 0.0:  # greedy answers of the tiny target come to repeat themselves
        assert acceptance_length(answers) > 1.2


class _Counting:
    """A target that says the number after the one that it reads."""

    def __init__(self, tree: Tree) -> None:
        self.tokens = np.array([[token + 1] for token in tree.tokens])


def step(subject: LookaheadSpeculator, text: Sequence) -> Tree:
    """One step with the counting target; the draft that it judged."""
    drafts = subject.propose(Batch((text,)), Budget(NODES))
    emitted = (text.tokens[-1] + 1,)
    text.tokens.extend(emitted)
    subject.observe(Batch((text,)), drafts, Verdicts(((),), (emitted,), _Counting(drafts.tree(0))))  # type: ignore[arg-type]
    return drafts.tree(0)


def test_the_window_fills_level_by_level_and_then_feeds_the_pool() -> None:
    subject, text = LookaheadSpeculator(), sequence([100], max_tokens=200)
    subject.begin(text)
    for level in range(1, LEVEL):  # one guess, 100, at level 0: a chain of it, and below each a branch that counts on
        tree = step(subject, text)
        assert max(tree.depth) == WINDOW + level - 1
        assert len(tree) - 1 == WINDOW + (level - 1) * WINDOW
    # LEVEL - 1 levels are there: the next step made n-grams, all of them the same: 100, 101, …
    text.tokens[-1] = 100
    tree = subject.propose(Batch((text,)), Budget(NODES)).tree(0)
    node = 0
    for token in range(101, 100 + LEVEL):
        child = tree.child(node, token)
        assert child is not None
        node = child


def test_the_pool_keeps_the_newest_and_a_draft_is_never_larger_than_said() -> None:
    subject, text = LookaheadSpeculator(), sequence([0, 1, 2, 3, 4], max_tokens=500)
    subject.begin(text)
    rng = random.Random(0)
    for _ in range(60):  # five tokens in all, and other answers in each step: many n-grams begin alike
        drafts = subject.propose(Batch((text,)), Budget(NODES))
        tree = drafts.tree(0)
        assert len(tree) - 1 <= NODES
        said = _Counting(Tree([rng.randrange(5) - 1 for _ in tree.tokens]))
        subject.observe(Batch((text,)), drafts, Verdicts(((),), ((1,),), said))  # type: ignore[arg-type]
    pool = subject._texts[text.id]._pool
    assert {len(grams) for grams in pool.values()} == {GUESSES}
    assert all(len(rest) == LEVEL - 1 for grams in pool.values() for rest in grams)
    newest = list(pool[text.tokens[-1]])[-1]
    assert tuple(subject._texts[text.id].paths(text.tokens[-1])[0]) == newest, "the newest is drafted first"


def test_too_small_a_budget_gives_no_draft_and_no_scores_are_an_error() -> None:
    subject, text = LookaheadSpeculator(), sequence([1, 2, 3])
    subject.begin(text)
    assert len(subject.propose(Batch((text,)), Budget(NODES - 1)).tree(0)) == 1
    with pytest.raises(ValueError, match="verdicts have no scores"):
        subject.observe(Batch((text,)), Drafts.empty([3]), Verdicts(((),), ((4,),)))


@dataclass
class _Cache:
    """Stands in for theirs: notes what it is told and drafts a fixed tree."""

    told: list[object] = field(default_factory=list)

    def start_request(self, number: int, tokens: list[int]) -> None:
        self.told.append(("start", number, list(tokens)))

    def add_active_response(self, number: int, tokens: list[int]) -> None:
        self.told.append(("add", number, list(tokens)))

    def stop_request(self, number: int) -> None:
        self.told.append(("stop", number))

    def speculate(
        self, number: int, context: list[int], most: int, *, max_spec_factor: float, use_tree_spec: bool
    ) -> SimpleNamespace:
        assert len(context) <= 24
        assert max_spec_factor == (4.0 if use_tree_spec else 1.0)
        found = {"token_ids": [8, 9, 7], "parents": [-1, 0, 0], "probs": [0.5, 0.25, 0.125]}
        return SimpleNamespace(**{name: values[:most] for name, values in found.items()})


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch) -> _Cache:
    made = _Cache()
    module = ModuleType("arctic_inference.suffix_decoding")
    module.SuffixDecodingCache = lambda depth, requests: made  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "arctic_inference", ModuleType("arctic_inference"))
    monkeypatch.setitem(sys.modules, "arctic_inference.suffix_decoding", module)
    return made


def test_their_draft_becomes_a_tree_with_chances_given_the_parent(cache: _Cache) -> None:
    subject, text = ArcticSpeculator(trees=True), sequence([1, 2, 3])
    subject.begin(text)
    tree = subject.propose(Batch((text,)), Budget(16)).tree(0)
    assert (tree.tokens, tree.parent) == ([3, 8, 9, 7], [-1, 0, 1, 1])
    assert tree.confidence == [1.0, 0.5, 0.5, 0.25]
    assert len(subject.propose(Batch((text,)), Budget(2)).tree(0)) == 3


def test_they_are_told_every_token_once(cache: _Cache) -> None:
    tokens = [1, 2, 3, 8, 9, 4, 8, 5]
    made = redraft(ArcticSpeculator(trees=False), tokens, 3, Sampling(temperature=0.0), num_nodes=4, number=6)
    assert cache.told[0] == ("start", 6, [1, 2, 3])
    assert cache.told[-1] == ("stop", 6)
    added = [token for kind, _, *rest in cache.told if kind == "add" for token in rest[0]]  # type: ignore[misc, has-type]
    assert added == tokens[3:]
    assert (made.num_tokens, made.num_steps) == (4, 3)


def test_without_their_package_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "arctic_inference.suffix_decoding", None)
    with pytest.raises(NotInstalled, match="arctic-inference is not installed"):
        ArcticSpeculator(trees=True)
