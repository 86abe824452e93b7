"""The suffix speculator: what it proposes, what it learns, and from whom."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speculator.batch import Batch, Chunk, Sampling, Sequence
from speculator.drafts import Drafts, Tree
from speculator.protocol import Budget
from speculator.suffix import SuffixSpeculator
from speculator.suffix_forest import Forest
from speculator.suffix_growth import MIN_SURVIVAL, grow, unseen_weights
from speculator.verify import Verdicts
from tests.speculator.forests import each_forest, numbers
from tests.speculator.toys import paths

pytestmark = each_forest

ALPHABET = list(range(100, 160))


class Server:
    """Plays the engine's part: prefills, emits what the test says."""

    def __init__(self, trees: Forest, **options: int) -> None:
        self.speculator = SuffixSpeculator(trees=trees, **options)
        self._ids = iter(range(10**6))

    def begin(self, prompt: Iterable[int], tenant: str = "t", max_tokens: int = 1000, **traits: bool) -> Sequence:
        prompt = list(prompt)
        sampling = Sampling(max_tokens=max_tokens)
        sequence = Sequence(next(self._ids), tenant, prompt, len(prompt), sampling, **traits)
        self.speculator.begin(sequence)
        return sequence

    def prefill(self, sequence: Sequence, first: int) -> None:
        batch = Batch((), (Chunk(sequence, sequence.num_prompt),))
        sequence.num_written = sequence.num_prompt
        self._emit(batch, sequence, [first])

    def say(self, sequence: Sequence, tokens: Iterable[int]) -> None:
        for token in tokens:
            if sequence.decoding:
                self._emit(Batch((sequence,)), sequence, [token])
            else:
                self.prefill(sequence, token)

    def serve(self, prompt: Iterable[int], answer: Iterable[int], tenant: str = "t", **traits: bool) -> None:
        sequence = self.begin(prompt, tenant, **traits)
        self.say(sequence, answer)
        self.speculator.end(sequence)

    def settle(self, tenant: str = "t") -> None:
        """Steps of somebody else of the tenant, in which what waits is learnt."""
        other = self.begin([1, 2], tenant, learn=False)
        self.say(other, [3] * 200)
        self.speculator.end(other)

    def draft(self, sequence: Sequence, **budget: int) -> Tree:
        (tree,) = self.speculator.propose(Batch((sequence,)), Budget(**{"nodes": 16, **budget})).trees
        return tree

    def _emit(self, batch: Batch, sequence: Sequence, tokens: list[int]) -> None:
        sequence.tokens += tokens
        sequence.num_written = len(sequence.tokens) - 1
        drafts = Drafts.empty([0] * len(batch.choosing))
        self.speculator.observe(batch, drafts, Verdicts(((),), (tuple(tokens),)))


def likeliest(tree: Tree) -> list[int]:
    """The tokens along the most confident children."""
    said, node = [], 0
    while children := [child for child in range(len(tree)) if tree.parent[child] == node]:
        node = max(children, key=lambda child: tree.confidence[child])
        said.append(tree.tokens[node])
    return said


def test_what_the_prompt_said_is_proposed_again(trees: Forest) -> None:
    server = Server(trees)
    sequence = server.begin([*ALPHABET, 7, 8])
    server.say(sequence, [9, *ALPHABET[:4]])
    assert likeliest(server.draft(sequence))[:8] == ALPHABET[4:12]


def test_what_was_emitted_a_step_ago_is_proposed_at_once(trees: Forest) -> None:
    server = Server(trees)
    sequence = server.begin([1, 2, 3])
    server.say(sequence, [10, 11, 12, 13, 10, 11])
    assert likeliest(server.draft(sequence))[:2] == [12, 13]


def test_what_was_served_to_a_tenant_is_proposed_to_it_and_to_nobody_else(trees: Forest) -> None:
    server = Server(trees)
    server.serve([1, 2], ALPHABET)
    server.settle()
    for tenant, expected in (("t", ALPHABET[3:8]), ("other", [])):
        sequence = server.begin([5, 6], tenant)
        server.say(sequence, ALPHABET[:3])
        assert likeliest(server.draft(sequence))[:5] == expected


def test_the_first_tokens_of_an_answer_are_matched_by_the_end_of_the_prompt(trees: Forest) -> None:
    server = Server(trees)
    server.serve([50, 51, 90, 91, 92], ALPHABET)
    server.settle()
    sequence = server.begin([60, 90, 91, 92])
    server.say(sequence, ALPHABET[:1])
    assert likeliest(server.draft(sequence))[:3] == ALPHABET[1:4]


@pytest.mark.parametrize("learn", [True, False])
def test_who_opted_out_is_not_remembered(trees: Forest, learn: bool) -> None:
    server = Server(trees)
    server.serve([1, 2], ALPHABET, learn=learn)
    server.settle()
    sequence = server.begin([5, 6])
    server.say(sequence, ALPHABET[:3])
    assert (len(server.draft(sequence)) > 1) == learn


def test_who_opted_out_is_still_helped_by_its_own_text(trees: Forest) -> None:
    server = Server(trees)
    sequence = server.begin(ALPHABET, learn=False)
    server.say(sequence, ALPHABET[:3])
    assert likeliest(server.draft(sequence))[:2] == ALPHABET[3:5]


def test_a_tenant_can_be_forgotten(trees: Forest) -> None:
    server = Server(trees)
    server.serve([1, 2], ALPHABET)
    server.settle()
    server.speculator.forget("t")
    sequence = server.begin([5, 6])
    server.say(sequence, ALPHABET[:3])
    assert len(server.draft(sequence)) == 1


def test_a_draft_keeps_to_its_budget_and_to_what_may_still_be_emitted(trees: Forest) -> None:
    server = Server(trees)
    sequence = server.begin([*ALPHABET, 1], max_tokens=9)
    server.say(sequence, ALPHABET[:4])
    assert max(server.draft(sequence).depth) == 9 - 4 - 1
    assert max(server.draft(sequence, max_depth=2).depth) == 2
    assert len(server.draft(sequence, nodes=3)) == 1 + 3
    server.say(sequence, ALPHABET[4:8])
    assert sequence.num_left == 1
    assert len(server.draft(sequence)) == 1


def test_nothing_is_drafted_for_who_asked_for_plain_decoding_or_without_a_budget(trees: Forest) -> None:
    server = Server(trees)
    plain = server.begin(ALPHABET, speculative=False)
    server.say(plain, ALPHABET[:3])
    assert len(server.draft(plain)) == 1
    sequence = server.begin(ALPHABET)
    server.say(sequence, ALPHABET[:3])
    batch = Batch((sequence, plain))
    for budget in (Budget(0), Budget(8, sources=frozenset({"medusa"}))):
        assert server.speculator.propose(batch, budget).num_drafted == 0
    assert [len(tree) > 1 for tree in server.speculator.propose(batch, Budget(8)).trees] == [True, False]


def test_a_long_answer_is_learnt_over_many_steps_not_in_one(trees: Forest) -> None:
    server = Server(trees)
    server.serve([1], range(1000, 2000))
    tree = server.speculator._tenant("t").tree
    sequence = server.begin([1, 2, 3])
    before = len(tree)
    server.say(sequence, [4])
    assert len(tree) - before <= 8
    server.say(sequence, range(500))
    assert len(tree) > 900


def test_memory_is_bounded_in_tokens_and_in_tenants(trees: Forest) -> None:
    server = Server(trees, max_tokens=64, max_tenants=3)
    for number in range(30):
        server.serve([1, 2], range(1000 * number, 1000 * number + 50), tenant=f"tenant {number % 10}")
    assert len(server.speculator._tenants) == 3
    assert all(len(tenant.tree) <= 64 for tenant in server.speculator._tenants.values())
    assert not server.speculator._requests


def test_a_request_goes_on_when_its_tenant_falls_out_of_memory(trees: Forest) -> None:
    server = Server(trees, max_tenants=1)
    sequence = server.begin([*ALPHABET, 1], tenant="a")
    server.serve([1], ALPHABET, tenant="b")
    server.say(sequence, ALPHABET[:3])
    assert likeliest(server.draft(sequence))[:2] == ALPHABET[3:5]
    server.speculator.end(sequence)


def test_a_request_aborted_before_its_first_token_leaves_nothing(trees: Forest) -> None:
    server = Server(trees)
    sequence = server.begin(ALPHABET)
    server.speculator.end(sequence)
    server.settle()
    assert not server.speculator._requests
    fresh = server.begin([5, 6])
    server.say(fresh, ALPHABET[:3])
    assert len(server.draft(fresh)) == 1


def test_longer_matches_and_more_occurrences_make_it_surer(trees: Forest) -> None:
    def confidence(past: list[list[int]], context: list[int]) -> float:
        tree = trees.tree(8)
        for text in past:
            tree.extend(text)
            tree.close()
        draft = Tree.rooted(context[-1])
        grow(draft, [(tree, *tree.longest_suffix(context), unseen_weights(4.0))], 1, 4)
        return draft.confidence[1]

    once = confidence([[1, 2, 3, 4]], [3])
    assert confidence([[1, 2, 3, 4]], [2, 3]) > once
    assert confidence([[1, 2, 3, 4]] * 3, [3]) > once
    assert confidence([[1, 2, 3, 4], [1, 2, 3, 5]], [3]) < once
    assert once == pytest.approx(1 / (1 + 4.0))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=15), min_size=1, max_size=4), st.integers(1, 12))
def test_growth_is_best_first(trees: Forest, texts: list[list[int]], num_nodes: int) -> None:
    """Against the whole tree of what followed, laid open."""
    tree, weights, max_depth = trees.tree(6), unseen_weights(2.0), 3
    for text in texts:
        tree.extend(text)
        tree.close()
    place = tree.longest_suffix(texts[0][:2])
    everything: dict[tuple[int, ...], float] = {}

    def open_up(node: int, length: int, path: tuple[int, ...], survival: float) -> None:
        if survival < MIN_SURVIVAL or len(path) > max_depth:
            return
        if path:
            everything[path] = survival
        followers = [(token, below) for token in range(3) if (below := tree.step(node, length, token))]
        total = tree.count(node) + weights[length] * len(followers)
        for token, below in followers:
            times = tree.count(below) if not tree.run(node, length, 1) else tree.count(node)
            open_up(below, length + 1, (*path, token), survival * times / total)

    open_up(*place, (), 1.0)
    draft = Tree.rooted(0)
    grow(draft, [(tree, *place, weights)], num_nodes, max_depth)
    drafted = dict(zip(paths(draft)[1:], draft.survival()[1:], strict=True))
    assert all(everything[path] == pytest.approx(survival) for path, survival in drafted.items())
    best = sorted(everything.values(), reverse=True)[:num_nodes]
    assert sorted(drafted.values(), reverse=True) == pytest.approx(best)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=2, max_size=40), st.integers(1, 16))
def test_a_draft_from_several_places_is_a_proper_tree(trees: Forest, text: list[int], num_nodes: int) -> None:
    server = Server(trees)
    server.serve([0], [*text, *text])
    server.settle()
    sequence = server.begin(text)
    server.say(sequence, text)
    draft = server.draft(sequence, nodes=num_nodes)
    assert len(draft) <= 1 + num_nodes
    assert len(set(paths(draft))) == len(draft)
    assert all(0 < confidence <= 1 for confidence in draft.confidence)
    assert all(chance >= MIN_SURVIVAL * 0.99 for chance in draft.survival())


def test_while_nobody_asks_it_hardly_learns_and_catches_up_when_asked(trees: Forest) -> None:
    server = Server(trees)
    quiet = Budget(8, sources=frozenset({"medusa"}))
    server.serve([1], range(1000, 1400))
    tree = server.speculator._tenant("t").tree
    asked, other = server.begin([1, 2, 3]), server.begin([7, 8])
    text = ALPHABET[:8] * 20
    before = len(tree)
    for token in text:
        batch = Batch((asked, other)) if asked.decoding else Batch((), (Chunk(asked, 3), Chunk(other, 2)))
        server.speculator.propose(batch, quiet)
        server.speculator.propose(Batch(batch.decoding[:1]), Budget(8))  # for a score: that does not count
        for sequence in (asked, other):
            sequence.tokens.append(token)
            sequence.num_written = len(sequence.tokens) - 1
        server.speculator.observe(batch, Drafts.empty([0, 0]), Verdicts(((), ()), ((token,), (token,))))
    assert len(tree) - before <= 3 * len(text)
    assert server.speculator._requests[other.id].num_learnt < len(text) // 2
    for _ in range(4):
        last = server.draft(other)
    assert likeliest(last)[:4] == (text * 2)[len(text) : len(text) + 4]


def test_a_text_that_is_read_once_more_is_not_learnt_once_more(trees: Forest) -> None:
    """A sequence that had to give up its pages."""
    server = Server(trees)
    sequence = server.begin([*ALPHABET, 7, 8])
    server.say(sequence, [9, *ALPHABET[:4]])
    server.draft(sequence)
    before = numbers(server.speculator._requests[sequence.id].tree)
    sequence.num_written = 0
    for end in (30, len(sequence.tokens) - 1):
        batch = Batch((), (Chunk(sequence, end - sequence.num_written),))
        sequence.num_written = end
        server.speculator.observe(batch, Drafts.empty([]), Verdicts((), ()))
    assert numbers(server.speculator._requests[sequence.id].tree) == before
    assert likeliest(server.draft(sequence))[:8] == ALPHABET[4:12]
