"""Suffix trees in C against those in plain Python: the same tree after every operation, the same drafts."""

from __future__ import annotations

import random
import sys
import threading
from array import array
from collections.abc import Callable
from dataclasses import replace

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.suffix_tree import frozen
from speculator import suffix_forest
from speculator.batch import Sampling
from speculator.suffix_native import NativeForest
from speculator.suffix_plain import PlainForest
from speculator.suffix_question import OF_USE, AnyMatch, AnyTree, Question
from speculator.suffix_state import TreeState
from tests.speculator.forests import FORESTS, needs_native, numbers

pytestmark = needs_native
GREEDY = Sampling(temperature=0.0)
Texts = list[list[int]]


class Pair:
    """What a request and its tenant need, of every kind, treated alike."""

    def __init__(self, max_depth: int, max_suffixes: int) -> None:
        self.pasts: list[AnyTree] = [each.tree(max_depth, max_suffixes) for each in FORESTS]
        self.owns: list[AnyTree] = [each.tree(max_depth, max_suffixes) for each in FORESTS]
        self.matches: list[AnyMatch] = [each.match(past) for each, past in zip(FORESTS, self.pasts, strict=True)]
        self.text: list[int] = []

    def learn(self, tokens: list[int]) -> None:
        for past in self.pasts:
            past.extend(tokens)

    def close(self) -> None:
        for past in self.pasts:
            past.close()

    def feed_again(self) -> None:
        """What begins to go but was of use."""
        for past in self.pasts:
            while past.leaving:
                past.extend(past.leaving.pop())

    def say(self, tokens: list[int]) -> None:
        self.text += tokens
        for own in self.owns:
            own.extend(tokens)

    def questions(self, num_nodes: int, max_depth: int, sampling: Sampling, *, own: bool = True) -> list[Question]:
        """The same one, to each."""
        sides = zip(self.owns, self.matches, strict=True)
        return [(tree if own else None, match, self.text, num_nodes, max_depth, sampling, 5) for tree, match in sides]

    def check(self) -> None:
        for first, second in (self.pasts, self.owns):
            assert numbers(first) == numbers(second)
            assert (len(first), first.num_nodes, first.pending) == (len(second), second.num_nodes, second.pending)
        first, second = self.matches
        assert (first.node, first.length) == (second.node, second.length)

    def check_copies(self) -> None:
        """Of what is used, learnt and free again by now."""
        for trees, past in zip(FORESTS, self.pasts, strict=True):
            past.leaving.clear()
            assert numbers(trees.copied(past)) == numbers(trees.thaw(trees.freeze(past))) == numbers(past)

    def check_drafts(self, num_nodes: int, max_depth: int, sampling: Sampling, *, own: bool = True) -> int:
        """Returns their nodes."""
        asked = self.questions(num_nodes, max_depth, sampling, own=own)
        (first,), (second,) = (each.draft([question]) for each, question in zip(FORESTS, asked, strict=True))
        assert first == second
        return len(first)


def random_life(pair: Pair, seed: int, num_steps: int) -> int:
    """Returns how many nodes were drafted."""
    rng = random.Random(seed)
    num_kinds, num_drafted = rng.choice([1, 2, 3, 6]), 0
    for _ in range(num_steps):
        tokens = [rng.randrange(num_kinds) for _ in range(rng.choice([0, 1, 2, 7, 40]))]
        act: Callable[[], None] = rng.choice([
            lambda tokens=tokens: pair.learn(tokens), lambda tokens=tokens: pair.say(tokens), pair.close, pair.feed_again
        ])  # fmt: skip
        act()
        if pair.text:
            temperature, seed = rng.choice([0.0, 0.0, 0.7]), rng.choice([0, 1 << 63, -3, rng.randrange(1 << 64)])
            sampling = Sampling(temperature=temperature, seed=seed, choice=rng.randrange(3))
            own = rng.random() < 0.7
            num_drafted += pair.check_drafts(rng.choice([0, 1, 4, 16, 64]), rng.randint(1, 40), sampling, own=own)
        pair.check()
    pair.check_copies()
    return num_drafted


@pytest.mark.parametrize("max_depth", [2, 3, 5, 8, 24])
@pytest.mark.parametrize("times", [2, 5, 1000], ids="{} depths remembered".format)
def test_trees_matches_and_drafts_agree_whatever_is_learnt_forgotten_and_asked(max_depth: int, times: int) -> None:
    assert sum(random_life(Pair(max_depth, times * max_depth), seed, 40) for seed in range(8)) > 100


tokens = st.lists(st.integers(0, 2), max_size=9)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(tokens, st.booleans(), tokens), min_size=1, max_size=8), st.sampled_from([0.0, 0.5, 1.0]))
def test_they_agree_after_every_step_of_short_lives(steps: list[tuple[list[int], bool, list[int]]], temperature: float) -> None:
    pair = Pair(3, 7)
    for learnt, closed, said in steps:
        pair.learn(learnt)
        if closed:
            pair.close()
        pair.say(said)
        if pair.text:
            pair.check_drafts(8, 4, Sampling(temperature=temperature, seed=len(pair.text)))
        pair.feed_again()
        pair.check()


def test_drafts_of_a_batch_are_those_of_each_alone() -> None:
    rng, native = random.Random(1), NativeForest()
    pairs = [Pair(8, 100) for _ in range(5)]
    for pair in pairs:
        pair.learn([rng.randrange(4) for _ in range(90)])
        pair.say([rng.randrange(4) for _ in range(rng.randint(1, 50))])
    sampled = replace(GREEDY, temperature=1.0, seed=8)
    asked = [
        pair.questions(2 + 5 * row, 2 + row, sampled if row % 2 else GREEDY, own=row in (0, 3)) for row, pair in enumerate(pairs)
    ]
    plain = PlainForest().draft([first for first, _ in asked])
    assert native.draft([second for _, second in asked]) == plain
    assert len({len(tree) for tree in plain}) > 2
    assert native.draft([]) == []


def test_a_text_that_went_on_without_being_followed_is_found_again() -> None:
    pair = Pair(4, 100)
    pair.learn([1, 2, 3, 4, 5, 6, 7, 8])
    for said in ([1, 2], list(range(50, 80)), [9, 1, 2, 3], [4], [50, 4, 5]):
        pair.say(said)
        pair.check_drafts(8, 8, GREEDY, own=False)
        pair.check()
    assert pair.matches[1].length == 2


@pytest.mark.parametrize("num_kinds", [2, 40, 4000])
def test_long_texts_come_to_the_same_tree(num_kinds: int) -> None:
    rng, pair = random.Random(num_kinds), Pair(24, 3000)
    for _ in range(12):
        pair.learn([min(int(rng.expovariate(4 / num_kinds)), 1 << 30) for _ in range(400)])
        pair.close()
    pair.check()


def test_what_is_of_use_is_handed_out_in_the_same_order() -> None:
    pair = Pair(OF_USE + 2, 24)
    for start in (10, 20, 30):
        pair.learn([*range(start, start + 8)])
        pair.close()
        pair.say([*range(start, start + 6)])
        pair.check_drafts(4, 4, GREEDY)
    pair.learn([*range(100, 130)])
    assert [past.leaving for past in pair.pasts] == [[[*range(start, start + 8)] for start in (10, 20, 30)]] * 2
    pair.check()


def state_of(texts: Texts) -> TreeState:
    tree = PlainForest().tree(4, 40)
    for text in texts:
        tree.extend(text)
        tree.close()
    tree.extend(texts[0])
    return PlainForest().freeze(tree)


def changed(state: TreeState, column: int, row: int, number: int) -> TreeState:
    columns = [array("i", each) for each in state.columns]
    columns[column][row] = number
    return msgspec.structs.replace(state, columns=tuple(each.tobytes() for each in columns))


COUNT = 5
"""Column of how often a node was met: too high a number would draft badly, and that is all."""
OUTSIDE = (-1, 1 << 20, (1 << 31) - 1)


@pytest.mark.parametrize(
    ("column", "number"), [(column, number) for column in range(8) for number in OUTSIDE if column != COUNT or number < 0]
)
def test_numbers_that_lead_outside_of_the_tree_are_refused(column: int, number: int) -> None:
    state = state_of([[1, 2, 3, 1, 2, 4], [5, 1, 2]])
    with pytest.raises(ValueError):
        NativeForest().thaw(changed(state, column, 2, number))


@pytest.mark.parametrize(
    "field",
    [
        {"texts": {}},
        {"texts": {7: b""}},
        {"columns": ()},
        {"columns": (b"",) * 8},
        {"max_depth": 1},
        {"max_suffixes": 1 << 40},
        {"locus": (1 << 20, 1, 0)},
        {"locus": (0, 3, 1 << 40)},
        {"locus": (0, 0, 0)},
        {"leaves": ((0, 999),)},
        {"leaves": ((0, 1),) * 9},
        {"oldest": (0, 99)},
        {"free": array("i", [1]).tobytes()},
        {"free": array("i", [1 << 20]).tobytes()},
        {"free": array("i", [-(1 << 31)]).tobytes()},
        {"leaves": ((1 << 31, 1),)},
        {"oldest": (1 << 63, 0)},
        {"open_text": 9},
    ],
    ids=str,
)
def test_a_state_that_is_no_trees_is_refused(field: dict[str, object]) -> None:
    state = state_of([[1, 2, 3, 1, 2, 4], [5, 1, 2]])
    assert numbers(NativeForest().thaw(state)) == numbers(PlainForest().thaw(state))
    with pytest.raises(ValueError):
        NativeForest().thaw(msgspec.structs.replace(state, **field))


def worn_state() -> TreeState:
    """Of a tree in which much has come and gone: rows that are free, a text half gone, one that is open, leaves that grow."""
    tree, rng = NativeForest().tree(4, 12), random.Random(5)
    for _ in range(6):
        tree.extend([rng.randrange(3) for _ in range(9)])
        tree.close()
    tree.extend([0, 3, 1, 4, 0])
    return NativeForest().freeze(tree)


def use(state: TreeState) -> None:
    """Takes a state as a tree if it is one; then all that is in it goes, and it must stay one."""
    forest, rng = NativeForest(), random.Random(1)
    try:
        tree = forest.thaw(state)
    except ValueError:
        return
    ended = forest.copied(tree)
    ended.close()
    forest.thaw(forest.freeze(ended))
    for _ in range(4):
        match, text = forest.match(tree), [rng.randrange(3) for _ in range(6)]
        forest.draft([(None, match, text, 8, 8, GREEDY, 0)])
        tree.extend(text)
        tree.close()
        forest.thaw(forest.freeze(tree))


def test_whatever_number_of_a_tree_is_changed_it_is_refused_or_stays_a_tree() -> None:
    state = worn_state()
    num_rows = len(state.columns[0]) // 4
    assert len(state.free) >= 8, "rows that are free, whose numbers come from the file too"
    assert len(state.leaves) >= 3
    for column in range(8):
        for row in range(num_rows):
            for number in (-1, *range(num_rows + 1), 1 << 30):
                use(changed(state, column, row, number))
    use(msgspec.structs.replace(state, leaves=()))
    use(msgspec.structs.replace(state, free=state.free[:4] * (len(state.free) // 4)))


Changes = st.lists(st.tuples(st.integers(0, 7), st.integers(0, 99), st.integers(-1, 40)), max_size=3)


@settings(max_examples=400, deadline=None)
@given(Changes, Changes, st.integers(-1, 12), st.tuples(*[st.integers(-1, 12)] * 3))
def test_numbers_changed_together_are_refused_or_stay_a_tree(
    rows: list[tuple[int, int, int]], leaves: list[tuple[int, int, int]], oldest: int, locus: tuple[int, int, int]
) -> None:
    state = worn_state()
    num_rows, ends = len(state.columns[0]) // 4, [list(leaf) for leaf in state.leaves]
    for column, row, number in rows:
        state = changed(state, column, row % num_rows, number)
    for column, at, number in leaves:
        ends[at % len(ends)][column % 2] = number
    use(msgspec.structs.replace(state, leaves=tuple((start, node) for start, node in ends)))
    use(msgspec.structs.replace(state, oldest=(state.oldest[0], oldest)))
    use(msgspec.structs.replace(state, locus=locus))
    free = array("i", state.free)
    free[oldest % len(free)] = locus[0]
    use(msgspec.structs.replace(state, free=free.tobytes()))


def test_others_run_while_a_tree_is_taken_apart_or_put_together() -> None:
    tree, forest, interval = NativeForest().tree(), NativeForest(), sys.getswitchinterval()
    tree.extend(range(10_000))
    state = forest.freeze(tree)
    works: list[Callable[[], object]] = [lambda: frozen(tree), lambda: forest.thaw(state)]
    sys.setswitchinterval(1000.0)  # nobody else runs but where the interpreter's lock is given away
    try:
        for work in works:
            begin, ran = threading.Event(), threading.Event()
            other = threading.Thread(target=lambda begin=begin, ran=ran: begin.wait() and ran.set())
            other.start()
            begin.set()
            tries = 0
            while not ran.is_set() and tries < 500:
                work()
                tries += 1
            assert ran.is_set()
            other.join()
    finally:
        sys.setswitchinterval(interval)


PARENT, CHILD, NEXT, PREVIOUS, DEPTH, COUNT = range(6)


@pytest.mark.parametrize(
    "changes",
    [
        ((NEXT, 3, 0), (PREVIOUS, 2, 1), (NEXT, 1, 2)),
        (
            *((CHILD, 6, 1), (PREVIOUS, 6, 2), (DEPTH, 6, 2), (COUNT, 6, 1)),
            *((PARENT, 1, 6), (PREVIOUS, 1, 0), (NEXT, 2, 6)),
        ),
    ],
    ids=["children in a circle", "a node that neither branches nor ends a suffix"],
)
def test_rows_that_agree_with_their_neighbours_may_still_be_no_tree(changes: tuple[tuple[int, int, int], ...]) -> None:
    tree = NativeForest().tree(4, 40)
    tree.extend([1, 2, 3, 4, 5])
    state = NativeForest().freeze(tree)
    if len(changes) > 3:  # there is a row more
        state = msgspec.structs.replace(state, columns=tuple(column + bytes(4) for column in state.columns))
    for column, row, number in changes:
        state = changed(state, column, row, number)
    with pytest.raises(ValueError):
        NativeForest().thaw(state)


def test_without_a_compiler_the_trees_are_in_python(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(suffix_forest.forest(), NativeForest)
    monkeypatch.setattr(suffix_forest, "library", lambda: None)
    assert isinstance(suffix_forest.forest(), PlainForest)
