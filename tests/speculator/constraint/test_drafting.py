"""Drafts are kept within the grammar, and what it forces is drafted."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest

from speculator.batch import Batch, Sampling, Sequence
from speculator.belief import Belief
from speculator.constraint.drafting import SOURCE, completed, forced, within
from speculator.drafts import Drafts, Tree
from speculator.merged import MergedSpeculator
from speculator.protocol import Budget
from speculator.verify import Verdicts
from tests.speculator.constraint.alphabet import EOS, guide, ids
from tests.speculator.test_merged import Scripted
from tests.speculator.toys import paths

ROOT = ids("x")[0]
BOOLEAN = '{"type":"object","properties":{"tau":{"type":"boolean"}},"required":["tau"],"additionalProperties":false}'


def sequence(kind: str | None, text: str = "", **changes: object) -> Sequence:
    return Sequence(
        0,
        "t",
        [1, ROOT],
        1,
        Sampling(temperature=0.0, max_tokens=40, stop_ids=frozenset({EOS})),
        guide=None if kind is None else guide(kind, text),
        **changes,  # type: ignore[arg-type]
    )


def tree_of(*texts: str) -> Tree:
    """The union of the texts' tokens, as one source drafts it."""
    tree = Tree.rooted(ROOT)
    for text in texts:
        node = 0
        for token in ids(text):
            child = tree.child(node, token)
            node = tree.add(node, token, 0.5, 1) if child is None else child
    return tree


def test_of_a_draft_stays_what_the_grammar_lets_through() -> None:
    tree = tree_of("ab12x", "abb", "xab", "ab1e")
    tree.add(tree.child(0, ids("ab")[0]) or 0, EOS, 0.4, 1)
    kept = within(tree, sequence("regex", "ab[0-9]*"))
    ab, one, twelve = (ids(text)[0] for text in ("ab", "1", "12"))
    assert set(paths(kept)) == {(), (ab,), (ab, twelve), (ab, one), (ab, EOS)}
    assert len(kept.confidence) == len(kept.sources) == len(kept)


def test_a_draft_within_the_grammar_and_a_free_one_are_left_as_they_are() -> None:
    tree = tree_of("ab12", "ab1")
    assert within(tree, sequence("regex", "ab[0-9]*")) is tree
    assert within(tree_of("xyz"), sequence(None)).tokens == tree_of("xyz").tokens


def test_what_was_drawn_is_not_pruned_for_what_it_is() -> None:
    tree = tree_of("x")
    tree.beliefs[0] = cast(Belief, SimpleNamespace())
    assert within(tree, sequence("regex", "ab")) is tree


def test_looking_at_drafts_does_not_move_the_guide() -> None:
    subject = sequence("regex", "ab[0-9]*")
    assert subject.guide is not None
    for _ in range(3):
        within(tree_of("ab12", "zz", "abx"), subject)
        forced(subject, 8)
    assert subject.guide.reach(ids("ab12")) == len(ids("ab12"))
    assert not subject.guide.error


def test_forced_tokens_are_a_chain_as_deep_as_there_is_room() -> None:
    subject = sequence("json", BOOLEAN)
    assert subject.guide is not None
    for token in ids('{"'):
        subject.guide.accept(token)
    chain = forced(subject, 16)
    assert chain.tokens[1:] == ids('tau"')[:-1] or chain.tokens[1:] == ids('tau"')
    assert len(chain) > 3
    assert chain.depth == list(range(len(chain)))
    assert len(forced(subject, 2)) == 3
    assert len(forced(sequence(None), 16)) == 1


@pytest.mark.parametrize("changes", [{"speculative": False}, {"tokens": [1, *[ROOT] * 39]}])
def test_nothing_is_forced_on_who_wants_no_drafts_or_has_no_room(changes: dict[str, object]) -> None:
    subject = sequence("regex", "tau")
    for name, value in changes.items():
        setattr(subject, name, value)
    assert len(forced(subject, 16)) == 1


def test_the_merged_draft_is_within_each_grammar_and_says_what_was_forced() -> None:
    wild = Scripted("wild", [tree_of("zz", "ta", "ab"), tree_of("zz", "ta", "ab")])
    free, bound = sequence(None), sequence("regex", "tau(a|b)")
    speculator = MergedSpeculator([wild])
    drafts = speculator.propose(Batch((free, bound)), Budget(40))
    assert set(paths(drafts.tree(0))) == set(paths(tree_of("zz", "ta", "ab")))
    assert set(paths(drafts.tree(1))) == set(paths(tree_of("tau")))
    assert drafts.source_names == ("wild", SOURCE)
    assert drafts.tree(1).sources[1:] == [0b11, 0b11, 0b10], "a source that forbidden tokens were taken from keeps the others"
    emitted = ((ROOT,), tuple(ids("tau")))
    for subject, said in zip((free, bound), emitted, strict=True):
        subject.tokens += said
    speculator.observe(Batch((free, bound)), drafts, Verdicts(((), (1, 2)), emitted))


FORKS = "(a|b)(-tau-12-)+(x|e)"
FORCED = ids("-tau-12-")
GRAMMAR = 0b10


def test_behind_what_was_drafted_follows_what_the_grammar_forces_there() -> None:
    subject, tree = sequence("regex", FORKS), tree_of("a", "b-t")
    a, b = ids("a")[0], ids("b")[0]
    assert len(forced(subject, 16)) == 1, "nothing is certain yet"
    found = completed(tree, subject, 16, GRAMMAR)
    deep = [path for path in paths(found) if path[1:] == tuple(FORCED[: len(path) - 1])]
    assert {(a, *FORCED), (b, *FORCED)} <= set(deep)
    assert len(deep) == len(found) - 1, "and nothing else"
    bits = {path: found.sources[node] for node, path in enumerate(paths(found))}
    assert (bits[a,], bits[b,]) == (1, 1)
    assert bits[b, FORCED[0]] == 1 | GRAMMAR, "drafted, and forced too"
    assert bits[a, FORCED[0]] == GRAMMAR
    assert min(found.confidence[node] for node in range(len(found)) if found.sources[node] & GRAMMAR) > 0.9
    assert len(tree) == 1 + len(ids("a")) + len(ids("b-t")), "the source's own tree, which is judged by itself, is as it was"


def test_behind_it_there_is_no_more_than_may_be_drafted() -> None:
    subject, tree = sequence("regex", FORKS), tree_of("a")
    assert max(completed(tree, subject, 3, GRAMMAR).depth) == 3
    subject.tokens += [ROOT] * 34  # four more may be emitted
    assert max(completed(tree, subject, 16, GRAMMAR).depth) == subject.num_left - 1 == 4
    many = tree_of(*"0123456789ab")
    grown = completed(many, sequence("regex", "[0-9ab]tau"), 16, GRAMMAR)
    assert len(grown) == len(many) + 8 * len(ids("tau")), "the likeliest eight are looked behind"


def test_behind_an_end_and_behind_what_was_drawn_nothing_is_forced() -> None:
    ended = Tree.rooted(ROOT)
    ended.add(0, EOS, 0.5, 1)
    assert completed(ended, sequence("regex", "(ab)?"), 16, GRAMMAR).tokens == ended.tokens
    drawn = tree_of("a")
    drawn.beliefs[0] = cast(Belief, SimpleNamespace())
    assert completed(drawn, sequence("regex", FORKS), 16, GRAMMAR) is drawn
    assert completed(tree_of("a"), sequence(None), 16, GRAMMAR).tokens == tree_of("a").tokens


def test_looking_behind_drafts_does_not_move_the_guide() -> None:
    subject = sequence("regex", FORKS)
    assert subject.guide is not None
    for _ in range(3):
        completed(tree_of("a-t", "b"), subject, 16, GRAMMAR)
    assert subject.guide.reach(ids("b-tau-12-x")) == len(ids("b-tau-12-x"))
    assert not subject.guide.error


def test_the_merged_draft_goes_on_behind_its_nodes() -> None:
    subject = sequence("regex", FORKS)
    speculator = MergedSpeculator([Scripted("wild", [tree_of("a")])])
    drafts = speculator.propose(Batch((subject,)), Budget(40))
    assert tuple(ids("a") + FORCED) in paths(drafts.tree(0))
    assert drafts.source_names == ("wild", SOURCE)


def test_without_a_constraint_nobody_hears_of_grammars() -> None:
    drafts = MergedSpeculator([Scripted("wild", [tree_of("zz")])]).propose(Batch((sequence(None),)), Budget(8))
    assert isinstance(drafts, Drafts)
    assert drafts.source_names == ("wild",)
