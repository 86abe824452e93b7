"""The walk along one tree."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from speculator.batch import Sampling
from speculator.drafts import Drafts, Tree
from speculator.verify import Verdicts, verify

GREEDY = Sampling(temperature=0.0)


def judged(trees: list[Tree], choices: list[int], sampling: Sampling = GREEDY) -> Verdicts:
    """Verdicts of a target that chooses `choices[i]` at node i of the step."""
    logits = torch.nn.functional.one_hot(torch.tensor(choices), 10).float()
    return verify(Drafts.pack(trees), logits, [sampling] * len(trees), [0] * len(trees))


def branching() -> Tree:
    """0 -> {1: 5, 2: 6}; 1 -> {3: 7}; 2 -> {4: 7}."""
    tree = Tree.rooted(9)
    for parent, token in ((0, 5), (0, 6), (1, 7), (2, 7)):
        tree.add(parent, token, 0.5, 1)
    return tree


def test_a_step_without_a_draft_emits_one_token() -> None:
    assert judged([Tree.rooted(1), Tree.rooted(2)], [3, 4]) == Verdicts(((), ()), ((3,), (4,)))


def test_the_child_that_equals_the_choice_is_followed_down_to_a_bonus_token() -> None:
    assert judged([branching()], [6, 0, 7, 0, 3]) == Verdicts(((2, 4),), ((6, 7, 3),))


def test_a_child_of_another_node_with_the_same_token_is_not_followed() -> None:
    # node 1 chooses 6: a child of the root has it, node 1 has no such child
    assert judged([branching()], [5, 6, 7, 7, 7]) == Verdicts(((1,),), ((5, 6),))


def test_a_miss_emits_the_targets_own_token() -> None:
    assert judged([branching()], [8, 5, 5, 5, 5]) == Verdicts(((),), ((8,),))


def test_nothing_follows_a_stop_token_inside_a_draft() -> None:
    stopping = Sampling(temperature=0.0, stop_ids=frozenset({7}))
    assert judged([branching()], [5, 7, 0, 4, 0], stopping) == Verdicts(((1, 3),), ((5, 7),))


def test_each_tree_of_a_batch_is_walked_at_its_own_rows() -> None:
    assert judged([branching(), Tree.rooted(1), branching()], [8, 0, 0, 0, 0, 4, 6, 0, 7, 0, 2]) == Verdicts(
        ((), (), (2, 4)), ((8,), (4,), (6, 7, 2))
    )


def test_a_draw_is_keyed_by_the_output_position_of_the_token_it_makes() -> None:
    """A token gets the same draw, whether as the root's child in a later step or deep in a tree now."""
    sampling = Sampling(temperature=1.0, seed=11)
    logits = torch.zeros(10)
    first, second = (
        verify(Drafts.empty([1]), logits[None], [sampling], [position]).emitted[0][0] for position in (4, 5)
    )
    tree = Tree.rooted(1)
    tree.add(0, first, 0.5, 1)
    assert verify(Drafts.pack([tree]), logits.expand(2, 10), [sampling], [4]).emitted == ((first, second),)


class NeverAgain:
    """A processor that rules out what was said before."""

    def __init__(self) -> None:
        self.said: list[int] = []

    def edit(self, scores: Tensor) -> Tensor:
        scores[self.said] = -torch.inf
        return scores

    def accept(self, token: int) -> None:
        self.said.append(token)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_processor_sees_the_tokens_accepted_before_it_at_every_depth(temperature: float) -> None:
    """Every node's scores prefer 3, then 4, then 5 by more than any noise, so only the history tells them apart."""
    scores = torch.zeros(10)
    scores[[3, 4, 5, 6]] = torch.tensor([400.0, 300.0, 200.0, 100.0])
    tree = Tree.rooted(1)
    for parent, token in [(0, 3), (1, 4), (2, 5)]:
        tree.add(parent, token, 0.5, 1)
    tree.add(1, 3, 0.5, 1)  # what would be followed if only the root's history counted
    logits, processor = scores.expand(5, 10), NeverAgain()
    before = logits.clone()
    said = verify(
        Drafts.pack([tree, tree]), torch.cat([logits, logits]), [Sampling(temperature)] * 2, [0, 0], processors=[(processor,), ()]
    ).emitted
    assert said == ((3, 4, 5, 6), (3, 3, 3))
    assert processor.said == [3, 4, 5, 6]
    assert torch.equal(logits, before)
