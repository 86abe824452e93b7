"""Distillation of a draft model: the gradient is that of the loss, and nothing that is not finite moves a weight."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from models.draft import DraftModel, DraftShape
from tests.serving.rig import tiny_config
from tests.trainer.scripted import trace
from trainer.draft_distil import DraftDistiller, DraftRecipe
from trainer.excerpt import Excerpt
from trainer.kept import Kept
from trainer.lessons import Lesson
from trainer.pull import gradient_at
from trainer.shortlist import Shortlist

VOCAB, HIDDEN = 40, 12
SHAPE = DraftShape(hidden_size=16, intermediate_size=24, num_layers=2, num_heads=2, num_kv_heads=1)
EMBEDDING = "model.embed_tokens.weight"


def unembedding() -> Tensor:
    return torch.randn(VOCAB, HIDDEN, generator=torch.Generator().manual_seed(1))


def draft(seed: int = 2) -> DraftModel:
    model = DraftModel(SHAPE.config_for(tiny_config(vocab_size=VOCAB)), torch.Generator().manual_seed(seed))
    with torch.no_grad():
        for name, tensor in model.tensors.items():
            tensor.mul_(1.0 if name.endswith("norm.weight") else 15.0)
    return model


def distiller(dtype: torch.dtype = torch.float32, sampled: int = 0, **recipe: Any) -> DraftDistiller:
    """sampled: of the vocabulary, as many again as are looked at always; 0: all of it."""
    shortlist = Shortlist(unembedding().to(dtype), sampled or VOCAB, sampled, torch.Generator().manual_seed(3))
    return DraftDistiller(draft(), shortlist, replace(DraftRecipe(rows_per_step=8), **recipe))


def excerpts(seed: int = 4) -> list[Excerpt]:
    """Texts of several lengths with answers of several lengths."""
    random = torch.Generator().manual_seed(seed)

    def made(length: int, num_taught: int) -> Excerpt:
        tokens = torch.randint(0, VOCAB, (length,), generator=random)
        return Excerpt(tokens, torch.randn(num_taught, HIDDEN, generator=random))

    return [made(9, 4), made(40, 40), made(3, 1), made(17, 6)]


def plain_loss(model: DraftModel, lesson: list[Excerpt]) -> Tensor:
    """The loss as it is written in books, row by row."""
    total, num_rows = torch.zeros(()), 0
    for excerpt in lesson:
        states = model(excerpt.tokens.unsqueeze(0))[0, -len(excerpt.hidden) :]
        for state, hidden in zip(states, excerpt.hidden, strict=True):
            target = (unembedding() @ hidden).log_softmax(-1)
            total = total + (target.exp() * (target - model.logits(state).log_softmax(-1))).sum()
            num_rows += 1
    return total / num_rows


def gradients(subject: DraftDistiller) -> dict[str, Tensor]:
    found = {name: tensor.grad for name, tensor in subject.draft.tensors.items()}
    assert all(gradient is not None for gradient in found.values())
    return {name: gradient.clone() for name, gradient in found.items() if gradient is not None}


def test_the_gradient_is_that_of_the_divergence_at_the_rows_of_the_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainer.pull._CHUNK", 7 * VOCAB)
    subject, lesson, model = distiller(), excerpts(), draft()
    subject.teach(lesson)
    loss = plain_loss(model, lesson)
    torch.autograd.backward(loss)
    for name, gradient in gradients(subject).items():
        torch.testing.assert_close(gradient / 51, model.tensors[name].grad, rtol=1e-3, atol=1e-5)
    subject.step()
    assert subject.loss == pytest.approx(loss.item(), rel=1e-4)


def hybrid_loss(logits: Tensor, target_logits: Tensor, share: Tensor) -> Tensor:
    """[N] of the LK hybrid, by its definition; share: [N] of the divergence in it."""
    target, probs = target_logits.softmax(-1), logits.softmax(-1)
    divergence = (target * (target.log() - probs.log())).sum(-1)
    return share * divergence + (1 - share) * (target - probs).abs().sum(-1) / 2


@pytest.mark.parametrize("hybrid", [0.0, 0.5, 3.0, 100.0])
def test_the_gradient_of_the_hybrid_is_that_of_its_differences(hybrid: float) -> None:
    random = torch.Generator().manual_seed(5)
    logits, target_logits = (torch.randn(6, 9, generator=random, dtype=torch.float64) for _ in range(2))
    logits = 0.7 * logits + 0.3 * target_logits
    overlap = torch.minimum(logits.softmax(-1), target_logits.softmax(-1)).sum(-1)
    share = torch.exp(-hybrid * overlap)
    gradient, divergence = gradient_at(logits.clone(), target_logits, hybrid)
    torch.testing.assert_close(divergence, hybrid_loss(logits, target_logits, torch.ones(6, dtype=torch.float64)))
    step = 1e-7
    for token in range(9):
        moved = torch.zeros(9, dtype=torch.float64)
        moved[token] = step
        up, down = (hybrid_loss(logits + sign * moved, target_logits, share) for sign in (1, -1))
        torch.testing.assert_close(gradient[:, token], (up - down) / (2 * step), rtol=1e-5, atol=1e-7)


def test_the_hybrid_agrees_with_most_of_the_targets_choices_where_the_divergence_covers_all() -> None:
    """One distribution for three contexts of which two are alike."""
    targets = torch.tensor([[0.9, 0.1], [0.9, 0.1], [0.1, 0.9]]).log()
    overlaps = []
    for hybrid in (0.0, 3.0):
        logits = torch.zeros(2)
        for _ in range(500):
            change, _ = gradient_at(logits.repeat(3, 1), targets, hybrid)
            logits -= 0.1 * change.sum(0)
        overlaps.append(torch.minimum(logits.softmax(-1), targets.exp()).sum().item())
    assert overlaps[0] == pytest.approx(2 * 0.7333 + 0.4667, abs=1e-3), "of the mean of the three"
    assert overlaps[1] > overlaps[0] + 0.05


def test_slices_add_up_to_the_step_they_are_part_of() -> None:
    whole, sliced = distiller(), distiller()
    whole.teach(excerpts())
    for excerpt in reversed(excerpts()):
        sliced.teach([excerpt])
    assert whole.ready
    assert sliced.ready
    whole.step()
    sliced.step()
    assert whole.loss == pytest.approx(sliced.loss, rel=1e-4)
    for name, tensor in whole.tensors().items():
        if name.startswith("moment1"):
            torch.testing.assert_close(tensor, sliced.tensors()[name], rtol=1e-3, atol=1e-5)


def test_half_precision_pulls_the_same_way() -> None:
    exact, fast = distiller(), distiller(torch.bfloat16)
    for subject in (exact, fast):
        subject.teach(excerpts())
    other = gradients(fast)
    for name, gradient in gradients(exact).items():
        assert torch.nn.functional.cosine_similarity(gradient.flatten(), other[name].flatten(), dim=0) > 0.98, name


def test_a_sample_of_the_vocabulary_pulls_the_same_way_as_the_whole() -> None:
    exact, sampled = distiller(), distiller(sampled=10)
    exact.teach(excerpts())
    sampled.shortlist.see(torch.cat([excerpt.hidden for excerpt in excerpts()]))
    for _ in range(200):
        sampled.teach(excerpts())
    other = gradients(sampled)
    for name, gradient in gradients(exact).items():
        assert torch.nn.functional.cosine_similarity(gradient.flatten(), other[name].flatten(), dim=0) > 0.97, name


def test_steps_bring_the_draft_nearer_to_the_target() -> None:
    subject = distiller(warmup_steps=5, learning_rate=1e-2)
    losses = []
    for _ in range(60):
        subject.teach(excerpts())
        assert subject.step()
        losses.append(subject.loss)
    assert losses[-1] < 0.3 * losses[0]
    mean = draft()
    mean.copy_weights(subject.averaged())
    assert plain_loss(mean, excerpts()).item() < 0.5 * losses[0]


@pytest.mark.parametrize("poison", [torch.nan, torch.inf])
def test_a_step_that_is_not_finite_moves_nothing_and_is_counted(poison: float) -> None:
    subject = distiller()
    before = {name: tensor.clone() for name, tensor in subject.tensors().items()}
    bad = excerpts()
    bad[1].hidden[3, 2] = poison
    subject.teach(bad)
    assert not subject.step()
    assert (subject.num_steps, subject.num_skipped, subject.skipped_in_a_row) == (0, 1, 1)
    assert all(torch.equal(tensor, before[name]) for name, tensor in subject.tensors().items())
    subject.teach(excerpts())
    assert subject.step(), "the poison is gone with the step it was in"
    assert (subject.num_steps, subject.num_tries, subject.skipped_in_a_row) == (1, 2, 0)


def test_a_later_life_goes_on_exactly_where_this_one_was() -> None:
    first = distiller()
    for seed in range(5):
        first.teach(excerpts(seed))
        first.step()
    second = distiller()
    second.resume({name: tensor.clone() for name, tensor in first.tensors().items()}, first.age)
    for subject in (first, second):
        subject.teach(excerpts(9))
        subject.step()
    assert first.age == second.age == 6
    for name, tensor in first.tensors().items():
        assert torch.equal(tensor, second.tensors()[name]), name


def test_a_restart_remembers_nothing() -> None:
    used, fresh = distiller(), distiller()
    used.teach(excerpts(1))
    used.step()
    used.teach(excerpts(2))
    used.restart(draft())
    for subject in (used, fresh):
        assert not subject.ready
        subject.teach(excerpts(3))
        subject.step()
    for name, tensor in used.tensors().items():
        assert torch.equal(tensor, fresh.tensors()[name]), name


@pytest.mark.parametrize(("most", "num_tokens", "num_taught"), [(100, 23, 20), (21, 21, 20), (12, 12, 12)])
def test_an_excerpt_is_the_end_of_a_text_with_what_the_target_thought_there(most: int, num_tokens: int, num_taught: int) -> None:
    kept = Kept.of(1, trace(1))
    lesson = Lesson(torch.arange(20.0).unsqueeze(-1), torch.zeros(20, dtype=torch.int64))
    excerpt = Excerpt.of(kept, lesson, most)
    assert excerpt.tokens.tolist() == list(kept.tokens[:-1])[-num_tokens:]
    assert excerpt.hidden.squeeze(-1).tolist() == [float(row) for row in range(20)][-num_taught:]
