"""The shadow scores a tree as serving it would have."""

from __future__ import annotations

from dataclasses import replace

from pipelines.trace import TYPICAL
from speculator.batch import Sampling, Sequence
from speculator.drafts import Drafts, Tree
from speculator.outlook import Promise
from speculator.shadow import Shadow
from tests.speculator.toys import mean_of


def sequence(*tokens: int, max_tokens: int = 20) -> Sequence:
    return Sequence(id=1, tenant="t", tokens=list(tokens), num_prompt=1, sampling=Sampling(max_tokens=max_tokens))


def chain(*tokens: int) -> Drafts:
    tree = Tree.rooted(tokens[0])
    for token in tokens[1:]:
        tree.add(len(tree) - 1, token, 0.5, 1)
    return Drafts.pack([tree])


def score(told: Sequence, drafts: Drafts, *steps: tuple[int, ...], ended: bool = False) -> tuple[float, int]:
    """The mean and the number of scored trees after `told` went on by `steps`."""
    shadow = Shadow(every=1)
    shadow.add("heads", (told,), drafts)
    for number, emitted in enumerate(steps, 1):
        told.tokens.extend(emitted)
        shadow.settle(told, ended=ended and number == len(steps))
    return mean_of(shadow, "heads")


def test_an_accepted_draft_counts_with_its_bonus_token_though_plain_decoding_emits_one_at_a_time() -> None:
    assert score(sequence(0, 5), chain(5, 6), (6,)) == (2.0, 1)
    assert score(sequence(0, 5), chain(5, 6), (7,)) == (1.0, 1)
    assert score(sequence(0, 5), chain(5, 6, 7, 8), (6,), (7,), (9,)) == (3.0, 1)


def test_a_tree_waits_until_the_text_is_there() -> None:
    assert score(sequence(0, 5), chain(5, 6, 7), (6,)) == (1.0, 0)


def test_at_the_end_of_a_text_there_is_no_bonus_token() -> None:
    assert score(sequence(0, 5), chain(5, 6, 7), (6,), ended=True) == (1.0, 1)
    assert score(sequence(0, 5), chain(5, 6, 7), (6, 7, 8), ended=True) == (3.0, 1)


def test_the_text_of_a_lossy_answer_speaks_for_no_source() -> None:
    told = sequence(0, 5)
    told.sampling = replace(told.sampling, lossy=TYPICAL)
    assert score(told, chain(5, 6), (6,), (7,), ended=True) == (1.0, 0)


def test_the_text_of_a_lossy_answer_speaks_for_no_arm() -> None:
    shadow, exact, lossy = Shadow(every=1), sequence(0, 5), sequence(0, 5)
    lossy.sampling = replace(lossy.sampling, lossy=TYPICAL)
    for told in (lossy, exact):
        shadow.add_arm(Promise(frozenset({"heads"}), 1, True, 1.5, 0, 1.0), told, chain(5, 6).tree(0))
        told.tokens.append(6)
        shadow.settle(told, ended=True)
    assert len(shadow.news()) == 1


def test_siblings_are_followed_as_verification_follows_them() -> None:
    tree = Tree.rooted(5)
    tree.add(0, 6, 0.4, 1)
    second = tree.add(0, 7, 0.3, 1)
    tree.add(second, 8, 0.5, 1)
    assert score(sequence(0, 5), Drafts.pack([tree]), (7, 8, 9)) == (3.0, 1)


def test_every_nth_step_is_due_and_none_if_switched_off() -> None:
    shadow, off = Shadow(every=3), Shadow(every=0)
    assert [shadow.due() for _ in range(7)] == [False, False, True, False, False, True, False]
    assert not any(off.due() for _ in range(7))


def test_plain_steps_are_shadowed_more_rarely() -> None:
    shadow = Shadow(every=2)
    assert [shadow.due(drafting=False) for _ in range(16)].count(True) == 2
