"""Token recycling: what it learns, from whom, and what it proposes."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.native import library
from serving.messages import Request
from speculator.batch import Batch, Chunk, Sampling, Sequence
from speculator.drafts import Drafts, Tree
from speculator.likeliest import COUNT, Likeliest
from speculator.protocol import Budget
from speculator.recycled import Recycled
from speculator.recycling import RecyclingSpeculator
from speculator.recycling_growth import Chances, grow
from speculator.suffix_growth import MIN_SURVIVAL
from speculator.verify import Verdicts, verify
from tests.serving.rig import VOCAB, engine_with, generate, tiny_decoder, tiny_target
from tests.serving.test_engine_exactness import plain, request
from tests.speculator.toys import paths, random_tree

V = 40
GREEDY = Sampling(temperature=0.0, max_tokens=1000)


def logits_of(num_nodes: int, seed: int) -> torch.Tensor:
    return 3 * torch.randn(num_nodes, V, generator=torch.Generator().manual_seed(seed))


class Server:
    """Plays the engine's part: each step verifies a tree against scores that the test chooses."""

    def __init__(self, **options: int) -> None:
        self.speculator = RecyclingSpeculator(V, **options)
        self._ids = iter(range(10**6))

    def begin(self, prompt: list[int], tenant: str = "t", **traits: bool) -> Sequence:
        sequence = Sequence(next(self._ids), tenant, [*prompt, 0], len(prompt), GREEDY, **traits)
        self.speculator.begin(sequence)
        return sequence

    def step(self, sequences: list[Sequence], trees: list[Tree], logits: torch.Tensor) -> None:
        batch, drafts = Batch(tuple(sequences)), Drafts.pack(trees)
        verdicts = verify(drafts, logits, batch.sampling, [each.num_output for each in sequences])
        for sequence, said in zip(sequences, verdicts.emitted, strict=True):
            sequence.tokens += said
        self.speculator.observe(batch, drafts, verdicts)

    def draft(self, sequence: Sequence, **budget: int) -> Tree:
        (tree,) = self.speculator.propose(Batch((sequence,)), Budget(**{"nodes": 16, **budget})).trees
        return tree


def say(server: Server, sequence: Sequence, root: int, then: int) -> None:
    """The target reads `root` and is nearly sure of `then`."""
    sequence.tokens[-1] = root
    scores = torch.zeros(1, V)
    scores[0, then] = 9.0
    server.step([sequence], [Tree.rooted(root)], scores)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.lists(st.tuples(st.sampled_from("ab"), st.booleans()), min_size=1, max_size=6))
def test_every_verified_node_teaches_its_tenant_and_nobody_else(seed: int, owners: list[tuple[str, bool]]) -> None:
    """Against dicts of lists, filled from plain torch's topk."""
    rng, server = random.Random(seed), Server()
    sequences = [server.begin([], tenant, learn=learn) for tenant, learn in owners]
    known: dict[str, dict[int, list[int]]] = {"a": {}, "b": {}}
    for step in range(4):
        trees = [random_tree(rng, rng.randrange(V), V, 6) for _ in sequences]
        logits = logits_of(sum(map(len, trees)), seed % 1000 + step)
        server.step(sequences, trees, logits)
        top = iter(logits.topk(COUNT).indices.tolist())
        for (tenant, learn), tree in zip(owners, trees, strict=True):
            for token in tree.tokens:
                row = next(top)
                if learn:
                    known[tenant][token] = row
    for tenant, rows in known.items():
        matrix = server.speculator._tenants.get(tenant) or Recycled(V)
        learnt = {token: [each for _, each in matrix.after(token)] for token in range(V)}
        assert {token: row for token, row in learnt.items() if row} == rows


def test_what_the_target_thought_likely_is_proposed_rejected_drafts_included() -> None:
    server = Server()
    sequence = server.begin([1, 2])
    sequence.tokens[-1] = 3
    tree = Tree.rooted(3)
    tree.add(0, 4, 0.5, 1)  # rejected
    scores = torch.zeros(2, V)
    scores[0, 30], scores[1, 7] = 9.0, 9.0
    server.step([sequence], [tree], scores)
    assert sequence.tokens[-1] == 30
    sequence.tokens[-1] = 4
    assert server.draft(sequence).tokens[:2] == [4, 7]


def test_nobody_looks_for_the_likeliest_unless_a_source_asks() -> None:
    verdicts = verify(Drafts.empty([3]), logits_of(1, 0), [GREEDY], [0])
    assert verdicts.likeliest is not None
    assert "_found" not in vars(verdicts.likeliest)
    assert verdicts.likeliest.tokens[0, 0] == verdicts.emitted[0][0]
    assert "_found" in vars(verdicts.likeliest)


def test_no_tenant_is_drafted_for_from_anothers_text() -> None:
    server = Server()
    say(server, server.begin([1, 2], "a"), 5, 6)
    for tenant in ("a", "b"):
        sequence = server.begin([], tenant)
        sequence.tokens[-1] = 5
        assert (len(server.draft(sequence)) > 1) == (tenant == "a")


def test_who_opted_out_teaches_itself_alone_and_leaves_nothing() -> None:
    server = Server()
    alone, other = server.begin([8, 9], learn=False), server.begin([])
    say(server, alone, 5, 6)
    for sequence, expected in ((alone, [5, 6]), (other, [5])):
        sequence.tokens[-1] = 5
        assert server.draft(sequence).tokens[:2] == expected
        sequence.tokens[-1] = 8
        assert (len(server.draft(sequence)) > 1) == (sequence is alone), "its prompt teaches nobody either"
    say(server, other, 5, 7)
    alone.tokens[-1], other.tokens[-1] = 7, 7
    say(server, other, 7, 3)
    alone.tokens[-1] = 7
    assert server.draft(alone).tokens[:2] == [7, 3], "it may use what its tenant taught"
    server.speculator.end(alone)
    assert not server.speculator._alone


def test_it_learns_less_while_nobody_asks_it() -> None:
    server = Server()
    sequence = server.begin([1, 2])
    for _ in range(100):
        say(server, sequence, 5, 6)
    learnt = 0
    for then in range(7, 27):
        say(server, sequence, 5, then)
        learnt += server.speculator._tenants["t"].after(5)[0][1] == then
    assert learnt == 3
    server.draft(sequence)
    for then in (3, 4, 8):
        say(server, sequence, 5, then)
        assert server.speculator._tenants["t"].after(5)[0][1] == then


def test_a_prompt_fills_gaps_and_takes_nothing_away() -> None:
    server = Server()
    say(server, server.begin([]), 5, 6)
    sequence = server.begin([5, 9, 11])
    for root, expected in ((5, 6), (9, 11)):
        sequence.tokens[-1] = root
        assert server.draft(sequence).tokens[1] == expected


def test_without_scores_what_was_emitted_teaches() -> None:
    server = Server()
    sequence = server.begin([1])
    for said in ((5, 6, 7), (5, 8), (5, 6)):
        sequence.tokens += said
        server.speculator.observe(Batch((sequence,)), Drafts.empty([0]), Verdicts(((),), (said,)))
    matrix = server.speculator._tenants["t"]
    assert [token for _, token in matrix.after(5)][:2] == [6, 8]
    assert [prob for prob, _ in matrix.after(5)] == sorted((prob for prob, _ in matrix.after(5)), reverse=True)


def test_the_first_step_of_a_prompt_teaches_by_its_last_token() -> None:
    server = Server()
    sequence = Sequence(77, "t", [3, 4], 2, GREEDY)
    server.speculator.begin(sequence)
    batch = Batch((), (Chunk(sequence, 2),))
    scores = torch.zeros(1, V)
    scores[0, 12] = 9.0
    sequence.tokens.append(12)
    server.speculator.observe(batch, Drafts.empty([4]), Verdicts(((),), ((12,),), Likeliest(scores)))
    assert server.speculator._tenants["t"].after(4)[0][1] == 12


def test_memory_is_bounded_in_tenants_and_a_tenant_can_be_forgotten() -> None:
    server = Server(max_tenants=3)
    for number in range(12):
        say(server, server.begin([1, 2], f"t{number}"), 5, 6)
        say(server, server.begin([1, 2], "t0"), 5, 6)
    assert list(server.speculator._tenants) == ["t10", "t11", "t0"]
    server.speculator.forget("t0")
    sequence = server.begin([], "t0")
    sequence.tokens[-1] = 5
    assert len(server.draft(sequence)) == 1


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 20), st.integers(1, 4))
def test_growth_is_best_first(seed: int, num_nodes: int, max_depth: int) -> None:
    """Against the whole tree laid open."""
    matrix, probs = Recycled(V), logits_of(V, seed).softmax(-1).topk(COUNT)
    matrix.learn(np.arange(V), probs.indices.int().numpy(), probs.values.numpy())
    chances, everything = Chances([matrix], None), dict[tuple[int, ...], float]()

    def open_up(token: int, path: tuple[int, ...], survival: float) -> None:
        for chance, each in chances.after(token, len(path)) if len(path) < max_depth else []:
            if survival * chance >= MIN_SURVIVAL:
                everything[*path, each] = survival * chance
                open_up(each, (*path, each), survival * chance)

    open_up(0, (), 1.0)
    tree = Tree.rooted(0)
    grow(tree, chances, num_nodes, max_depth)
    drafted = dict(zip(paths(tree)[1:], tree.survival()[1:], strict=True))
    assert all(everything[path] == pytest.approx(survival) for path, survival in drafted.items())
    assert sorted(drafted.values(), reverse=True) == pytest.approx(sorted(everything.values(), reverse=True)[:num_nodes])
    assert len(set(paths(tree))) == len(tree)


@pytest.mark.skipif(library() is None, reason="no C compiler")
@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**31), st.integers(0, 20), st.integers(1, 6), st.sampled_from([0.0, 0.8]))
def test_drafts_in_c_are_those_in_python(seed: int, num_nodes: int, max_depth: int, temperature: float) -> None:
    rng, server = random.Random(seed), Server()
    sequences = [server.begin([rng.randrange(V) for _ in range(5)], rng.choice("ab"), learn=rng.random() < 0.7) for _ in range(4)]
    trees = [random_tree(rng, rng.randrange(V), V, 12) for _ in sequences]
    server.step(sequences, trees, logits_of(sum(map(len, trees)), seed % 1000))
    for sequence, tree in zip(sequences, trees, strict=True):
        sequence.tokens[-1] = tree.tokens[0]
        sequence.sampling = Sampling(temperature=temperature, seed=rng.randrange(-(2**40), 2**40), choice=rng.randrange(3))
    batch, budget = Batch(tuple(sequences)), Budget(num_nodes * len(sequences), max_depth)
    native = server.speculator.propose(batch, budget).trees
    server.speculator._desk = None
    assert native == server.speculator.propose(batch, budget).trees
    assert temperature or not num_nodes or any(len(tree) > 1 for tree in native)


def test_a_draft_keeps_to_its_budget_and_to_what_may_still_be_emitted() -> None:
    server = Server()
    sequence = server.begin([1, 2, 3, 4])
    sequence.tokens[-1] = 1
    assert max(server.draft(sequence, max_depth=2).depth) == 2
    assert len(server.draft(sequence, nodes=3)) == 4
    assert len(server.draft(server.begin([1, 2], speculative=False))) == 1
    sequence.sampling = Sampling(temperature=0.0, max_tokens=2)
    assert sequence.num_left == 1
    assert len(server.draft(sequence)) == 1


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_output_is_plain_decodings_and_drafts_are_accepted(temperature: float) -> None:
    decoder = tiny_decoder()
    requests = [request(number, temperature, 6, learn=number != 1, tenant="ab"[number % 2]) for number in range(5)]
    expected = plain(requests)
    target = tiny_target(decoder)
    engine = engine_with(target, RecyclingSpeculator(VOCAB))
    again = [Request(**{**_fields(each), "id": each.id + 100}) for each in requests]
    assert generate(engine, requests, [0, 0, 2, 3, 5]) == expected
    assert list(generate(engine, again, [0] * 5).values()) == list(expected.values())
    assert engine.stats.counters["accepted_tokens"] > 20


def _fields(each: Request) -> dict[str, object]:
    return {name: getattr(each, name) for name in each.__struct_fields__}
