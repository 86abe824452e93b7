"""A target and heads that learn together: easier to foresee, and as near to what it was as was asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

import trainer.shortlist
from models.decoder import Decoder
from models.heads import MedusaHeads
from models.loading import Target
from models.trainable import TrainableDecoder
from models.weights import read_weights
from speculator.kinds import MEDUSA
from tests.trainer.small_target import answers_of, small_target, taught_by
from trainer.answers import Answers
from trainer.dayzero import learnt
from trainer.dayzero_heads import HeadsBeginner
from trainer.dayzero_joint import JointLearner
from trainer.dayzero_settings import HeadsSettings, JointSettings
from trainer.excerpt import Stretch
from trainer.joint_distil import JointDistiller, Jointly, JointRecipe
from trainer.kept import Kept
from trainer.likeness import likeness
from trainer.shortlist import Shortlist
from trainer.taught import Taught

ALONE = HeadsSettings(kind=MEDUSA, steps=60, rows_per_step=128, learning_rate=4e-3, num_heads=2, budget=4)
TOGETHER = JointSettings(steps=60, rows_per_step=128, learning_rate=1e-3, num_heads=2, heads_rate=4.0)
CPU = torch.device("cpu")

Progress = Callable[[int, float], None]


def quietly(step: int, loss: float) -> None:
    pass


def learner(target: Target, folder: Path, settings: JointSettings) -> JointLearner:
    return JointLearner(taught_by(target), read_weights(folder, target.config), settings)


def tokens_per_step(heads: HeadsBeginner, weights: dict[str, Tensor], held_out: list[Kept]) -> float:
    scores = heads.scores(weights, held_out)
    return sum(score.num_tokens for score in scores) / sum(score.candidate_steps for score in scores)


def test_learning_together_foresees_more_than_heads_alone_in_as_many_steps(tmp_path: Path) -> None:
    target = small_target(tmp_path)
    taught = taught_by(target)
    known = Answers.of(answers_of(target.decoder, 100), taught, held_out=40)
    alone = HeadsBeginner(taught, ALONE)
    reached = tokens_per_step(alone, learnt(alone, known.studied, quietly), list(known.held_out))

    together = Jointly.of(learnt(learner(target, tmp_path, TOGETHER), known.studied, quietly))
    other = Taught(Decoder(target.config, together.target, torch.float32, CPU), "another", taught.tokenizer)
    own = Answers.of(answers_of(other.decoder, 80), other, held_out=40)
    assert tokens_per_step(HeadsBeginner(other, ALONE), dict(together.heads), list(own.held_out)) > reached + 0.05
    moved = likeness(target.decoder, other.decoder, known.held_out)
    assert 1e-4 < moved.divergence < 0.05, "held, and yet moved"
    assert 0.7 < moved.same_first < 1.0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", ["llama-tied", "qwen3"])
def test_where_heads_weigh_nothing_the_target_does_not_move_by_a_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str, dtype: torch.dtype
) -> None:
    monkeypatch.setattr(trainer.shortlist, "fast_dtype", lambda device: dtype)
    target = small_target(tmp_path, family)
    known = Answers.of(answers_of(target.decoder, 20), taught_by(target), held_out=0)
    still = Jointly.of(learnt(learner(target, tmp_path, replace(TOGETHER, steps=10, heads_weight=0.0)), known.studied, quietly))
    before = read_weights(tmp_path, target.config)
    assert all(torch.equal(still.target[name], before[name]) for name in before)
    moved = Jointly.of(learnt(learner(target, tmp_path, replace(TOGETHER, steps=10)), known.studied, quietly))
    assert not any(torch.equal(moved.target[name], before[name]) for name in before)


def test_where_the_original_reads_along_nobody_reads_ahead(tmp_path: Path) -> None:
    target = small_target(tmp_path)
    known = Answers.of(answers_of(target.decoder, 8), taught_by(target), held_out=0)
    subject = learner(target, tmp_path, replace(TOGETHER, steps=2, common_tokens=target.config.vocab_size))
    learnt(subject, known.studied, quietly)
    assert not any(subject.lessons.knows(trace) for trace in known.studied)


def test_heads_that_learnt_alone_are_where_learning_together_begins(tmp_path: Path) -> None:
    target = small_target(tmp_path)
    known = Answers.of(answers_of(target.decoder, 20), taught_by(target), held_out=0)
    settings = replace(TOGETHER, heads_first=4, heads_weight=0.0, steps=2)
    first = learnt(HeadsBeginner(taught_by(target), settings.of_heads), known.studied, quietly)
    assert all(bool(tensor.any()) for tensor in first.values())
    subject = JointLearner(taught_by(target), read_weights(tmp_path, target.config), settings, first)
    assert all(torch.equal(subject.distiller.heads.get_parameter(name), tensor) for name, tensor in first.items())
    after = Jointly.of(learnt(subject, known.studied, quietly))
    assert all(torch.equal(after.heads[name], tensor) for name, tensor in first.items()), "where heads weigh nothing"


def test_what_is_held_to_more_loosely_moves_further(tmp_path: Path) -> None:
    target = small_target(tmp_path)
    known = Answers.of(answers_of(target.decoder, 30), taught_by(target), held_out=10)

    def moved(weight: float) -> float:
        settings = replace(TOGETHER, steps=20, heads_weight=weight)
        made = Jointly.of(learnt(learner(target, tmp_path, settings), known.studied, quietly))
        return likeness(target.decoder, Decoder(target.config, made.target, torch.float32, CPU), known.held_out).divergence

    assert 5 * moved(0.01) < moved(1.0)


@pytest.mark.parametrize("num_sampled", [0, 100])
def test_the_gradient_is_that_of_the_loss(tmp_path: Path, num_sampled: int) -> None:
    target = small_target(tmp_path, "llama")
    taught, weights = taught_by(target), read_weights(tmp_path, target.config)
    original, moved = TrainableDecoder(target.config, weights), TrainableDecoder(target.config, weights)
    heads = MedusaHeads(64, 2, 1, target.config.vocab_size)
    num_common = 50 if num_sampled else target.config.vocab_size
    shortlist = Shortlist(target.decoder.output_embeddings(), num_common, num_sampled, torch.Generator().manual_seed(0))
    columns = shortlist.draw()
    recipe = JointRecipe(rows_per_step=1, heads_weight=0.3)
    distiller = JointDistiller(moved, heads, shortlist, recipe, heads_rate=1.0)
    with torch.no_grad():
        for tensor in (*moved.tensors.values(), *heads.parameters()):
            tensor += 0.05 * torch.randn(tensor.shape, generator=torch.Generator().manual_seed(len(tensor)))
    kept = Answers.of(answers_of(target.decoder, 2), taught, held_out=0).studied
    shortlist._generator.manual_seed(0)  # the same columns again
    distiller.teach([Stretch.of(each, 64) for each in kept])
    learning = {**moved.tensors, **dict(heads.named_parameters())}
    ours = {name: tensor.grad for name, tensor in learning.items()}

    chosen = slice(None) if columns.tokens is None else columns.tokens
    extra = 0.0 if columns.log_weight is None else columns.log_weight
    loss = torch.zeros(())
    for each in kept:
        text = torch.tensor(each.tokens[:-1])[None]
        with torch.no_grad():
            wanted = (original.logits(original(text))[0, 3:, chosen] + extra).log_softmax(-1)
        states = moved(text)[0, 3:]
        loss = loss + divergence(wanted, (moved.logits(states)[:, chosen] + extra).log_softmax(-1))
        for head, ahead in enumerate(heads(states).unbind(1)):
            given = (moved.logits(ahead)[:, chosen] + extra).log_softmax(-1)
            loss = loss + 0.3 * 0.8**head * divergence(wanted[head + 1 :], given[: -head - 1])
    theirs = torch.autograd.grad(loss, list(learning.values()))
    for (name, own), other in zip(ours.items(), theirs, strict=True):
        assert own is not None, name
        torch.testing.assert_close(own, other, rtol=1e-3, atol=2e-3 * float(other.abs().max()), msg=name)


def divergence(wanted: Tensor, given: Tensor) -> Tensor:
    return (wanted.exp() * (wanted - given)).sum()


def test_heads_take_longer_steps_than_the_target(tmp_path: Path) -> None:
    target = small_target(tmp_path)
    subject = learner(target, tmp_path, TOGETHER).distiller
    subject.recipe = replace(subject.recipe, heads_weight=1.0, warmup_steps=1)
    for tensor in (*subject.target.tensors.values(), *subject.heads.parameters()):
        tensor.grad = torch.ones_like(tensor)  # Adam's first step is the learning rate, whatever the gradient
    before = subject.tensors()["weight.heads.bias"].clone(), subject.tensors()["weight.target.model.norm.weight"].clone()
    subject._taught(1, 0.0)
    assert subject.step()
    heads, norm = subject.tensors()["weight.heads.bias"], subject.tensors()["weight.target.model.norm.weight"]
    assert float((before[0] - heads).mean()) == pytest.approx(4e-3, rel=1e-2)
    assert float((before[1] - norm).mean()) == pytest.approx(1e-3, rel=1e-2)


def test_the_weight_of_the_heads_grows_and_the_steps_shrink(tmp_path: Path) -> None:
    subject = learner(small_target(tmp_path), tmp_path, replace(TOGETHER, heads_weight=0.2))
    paces = [subject.pace(way) for way in (0.0, 1 / 3, 0.6, 0.8, 1.0)]
    assert [pace.heads_weight for pace in paces] == pytest.approx([0.0, 0.1, 0.1618, 0.1902, 0.2], abs=1e-4)
    assert [pace.learning_rate for pace in paces] == pytest.approx([1e-3, 1e-3, 1e-3, 5e-4, 0.0])


def test_likeness_is_the_mean_divergence_and_the_share_of_equal_first_choices(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    one = small_target(tmp_path / "one")
    weights = read_weights(tmp_path / "one", one.config)
    generator = torch.Generator().manual_seed(1)
    other = {name: tensor + 0.02 * torch.randn(tensor.shape, generator=generator) for name, tensor in weights.items()}
    changed = Decoder(one.config, other, torch.float32, CPU)
    kept = Answers.of(answers_of(one.decoder, 4), taught_by(one), held_out=0).studied
    same = likeness(one.decoder, one.decoder, kept)
    assert (same.num_tokens, same.divergence, same.same_first) == (80, 0.0, 1.0)
    total, equal = 0.0, 0
    for each in kept:
        rows = [decoder.logits(decoder.hidden_states(torch.tensor(each.tokens)))[3:-1] for decoder in (one.decoder, changed)]
        p, q = (row.double().softmax(-1) for row in rows)
        total += float((p * (p / q).log()).sum())
        equal += int((rows[0].argmax(-1) == rows[1].argmax(-1)).sum())
    found = likeness(one.decoder, changed, kept)
    assert found.divergence == pytest.approx(total / 80, rel=1e-3)
    assert found.same_first == equal / 80
    with pytest.raises(ValueError, match=r"^answers: 0, and no token"):
        likeness(one.decoder, changed, [])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("heads_weight", -0.1),
        ("heads_rate", 0.0),
        ("num_heads", 0),
        ("heads_first", 0),
        ("max_tokens", 0),
        ("learning_rate", 0.0),
    ],
)
def test_a_setting_that_cannot_work_is_named(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"^{field} is {value}"):
        replace(TOGETHER, **{field: value})
