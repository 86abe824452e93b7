"""Distillation, of heads of either kind: the gradient is that of the loss, and nothing that is not finite moves a weight."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from models.heads import DraftHeads, MedusaHeads
from models.hydra import HydraHeads
from trainer.distil import Distiller, Recipe
from trainer.lessons import Lesson, Passage
from trainer.shortlist import Shortlist, softmax

HIDDEN, VOCAB, HEADS = 8, 40, 3


def unembedding() -> Tensor:
    return torch.randn(VOCAB, HIDDEN, generator=torch.Generator().manual_seed(1))


def heads(seed: int = 2, *, hydra: bool = False) -> DraftHeads:
    medusa = MedusaHeads(HIDDEN, HEADS, 1, VOCAB)
    made = HydraHeads(HIDDEN, HEADS, VOCAB, unembedding()) if hydra else medusa
    with torch.no_grad():
        for weight in made.parameters():
            weight.copy_(0.3 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(seed)))
    return made


def distiller(num_common: int = VOCAB, num_sampled: int = 1, *, hydra: bool = False, **recipe: Any) -> Distiller:
    shortlist = Shortlist(unembedding(), num_common, num_sampled, torch.Generator().manual_seed(3))
    return Distiller(heads(hydra=hydra), shortlist, replace(Recipe(rows_per_step=8), **recipe))


def passage(seed: int = 4) -> Passage:
    random = torch.Generator().manual_seed(seed)
    return Passage.of([run(torch.randn(length, HIDDEN, generator=random)) for length in (6, 2, 5)])


def run(hidden: Tensor) -> Lesson:
    """Neighbouring rows, and some tokens that they chose."""
    return Lesson(hidden, torch.arange(len(hidden)) % VOCAB)


def plain_loss(module: DraftHeads, lesson: Passage) -> Tensor:
    """The loss as it is written in books, row by row."""
    table, total = unembedding(), torch.zeros(())
    states = module.along(lesson.hidden, lesson.tokens)
    for row in range(len(lesson)):
        for head in range(HEADS):
            if head < int(lesson.num_ahead[row]):
                target = (table @ lesson.hidden[row + head + 1]).log_softmax(-1)
                own = (table @ states[row, head]).log_softmax(-1)
                total = total + 0.8**head * (target.exp() * (target - own)).sum()
    return total / len(lesson)


@pytest.mark.parametrize("hydra", [False, True])
def test_the_gradient_is_that_of_the_weighted_divergence(hydra: bool) -> None:
    subject, lesson = distiller(hydra=hydra), passage()
    subject.teach(lesson)
    module = heads(hydra=hydra)
    loss = plain_loss(module, lesson)
    torch.autograd.backward(loss)
    for mine, plain in zip(subject.heads.parameters(), module.parameters(), strict=True):
        assert mine.grad is not None
        assert plain.grad is not None
        torch.testing.assert_close(mine.grad / len(lesson), plain.grad, rtol=1e-4, atol=1e-6)
    subject.step()
    assert subject.loss == pytest.approx(loss.item(), rel=1e-4)


def test_slices_add_up_to_the_step_they_are_part_of() -> None:
    whole, sliced = distiller(hydra=True), distiller(hydra=True)
    parts = [run(torch.randn(6, HIDDEN)), run(torch.randn(5, HIDDEN))]
    whole.teach(Passage.of(parts))
    for part in parts:
        sliced.teach(Passage.of([part]))
    whole.step()
    sliced.step()
    assert whole.loss == pytest.approx(sliced.loss, rel=1e-5)
    for one, other in zip(whole.heads.parameters(), sliced.heads.parameters(), strict=True):
        torch.testing.assert_close(one, other)


def test_a_sample_of_the_vocabulary_pulls_the_same_way_as_the_whole() -> None:
    def pull(of: Distiller) -> Tensor:
        gradient = of.heads.get_parameter("weight").grad
        assert gradient is not None
        return gradient.flatten()

    lesson = passage()
    exact = distiller()
    exact.teach(lesson)
    sampled = distiller(num_common=10, num_sampled=10)
    sampled.shortlist.see(lesson.hidden)
    draws = 300
    for _ in range(draws):
        sampled.teach(lesson)
    likeness = torch.nn.functional.cosine_similarity(pull(sampled), pull(exact), dim=0)
    assert likeness > 0.98
    unweighted = distiller(num_common=10, num_sampled=10)
    unweighted.shortlist.mass.copy_(sampled.shortlist.mass)
    for _ in range(draws):
        columns = unweighted.shortlist.draw()
        columns = replace(columns, log_weight=None)
        states = unweighted.heads.along(lesson.hidden, lesson.tokens)
        gradient, _ = unweighted._gradient(states.detach(), lesson, columns)
        torch.autograd.backward(states, gradient)
    biased = torch.nn.functional.cosine_similarity(pull(unweighted), pull(exact), dim=0)
    assert biased < likeness, "without their weights the sampled tokens stand for themselves alone"


@pytest.mark.parametrize("hydra", [False, True])
def test_steps_bring_the_heads_nearer_to_the_target(hydra: bool) -> None:
    subject = distiller(learning_rate=0.02, hydra=hydra)
    random = torch.Generator().manual_seed(5)
    lesson = Passage.of([run(torch.randn(30, HIDDEN, generator=random))])
    losses = []
    for _ in range(60):
        subject.teach(lesson)
        assert subject.step()
        losses.append(subject.loss)
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("poison", [torch.nan, torch.inf])
def test_a_step_that_is_not_finite_moves_nothing_and_is_counted(poison: float) -> None:
    subject = distiller()
    before = {name: tensor.clone() for name, tensor in subject.tensors().items()}
    bad = passage().hidden.clone()
    bad[3, 2] = poison
    subject.teach(Passage.of([run(bad)]))
    assert not subject.step()
    assert (subject.num_steps, subject.num_skipped, subject.skipped_in_a_row) == (0, 1, 1)
    assert all(torch.equal(tensor, before[name]) for name, tensor in subject.tensors().items())
    subject.teach(passage())
    assert subject.step(), "the poison is gone with the step it was in"
    assert (subject.num_steps, subject.skipped_in_a_row) == (1, 0)


def test_a_gradient_far_too_large_is_clipped() -> None:
    subject = distiller(learning_rate=1.0, max_norm=1e-3, warmup_steps=1)
    subject.teach(Passage.of([run(1e3 * torch.randn(9, HIDDEN))]))
    subject.step()
    moment = subject.tensors()["moment1.weight"]
    assert 0 < moment.norm() <= 1.01e-4  # a tenth of the norm it was clipped to


def test_a_later_life_goes_on_exactly_where_this_one_was() -> None:
    first = distiller()
    for seed in range(5):
        first.teach(passage(seed))
        first.step()
    second = distiller()
    second.resume({name: tensor.clone() for name, tensor in first.tensors().items()}, first.age)
    for subject in (first, second):
        subject.teach(passage(9))
        subject.step()
    assert first.age == second.age == 6
    for name, tensor in first.tensors().items():
        assert torch.equal(tensor, second.tensors()[name]), name


def test_the_running_mean_lags_behind_the_weights_and_follows_them() -> None:
    subject = distiller(averaging=0.9)
    for seed in range(40):
        subject.teach(passage(seed))
        subject.step()
    mean, weight = subject.averaged()["weight"], subject.heads.get_parameter("weight").detach()
    start = heads().get_parameter("weight").detach()
    assert 0 < (mean - weight).norm() < (weight - start).norm()


def test_softmax_is_torchs() -> None:
    logits = 20 * torch.randn(7, 30)
    probs, log_total = softmax(logits)
    torch.testing.assert_close(probs, logits.softmax(-1))
    torch.testing.assert_close(log_total, logits.logsumexp(-1))


def test_rows_at_the_end_of_a_lesson_teach_only_the_heads_they_can() -> None:
    lesson = Passage.of([run(torch.zeros(4, HIDDEN)), run(torch.zeros(2, HIDDEN))])
    assert lesson.num_ahead.tolist() == [3, 2, 1, 0, 1, 0]
