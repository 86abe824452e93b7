"""An EAGLE layer learns what is said it learns, and is judged by what it would draft."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from kernels.gumbel import gumbel
from models.eagle import EagleLayer, layers_read
from pipelines.trace import SamplingRecord
from speculator.eagle import EagleSpeculator
from speculator.eagle_runner import EagleRunner
from speculator.parallel_eagle import ParallelEagleSpeculator
from speculator.records import sampling_of
from speculator.redraft import PAGE_SIZE, pages_alone, redraft
from tests.serving.rig import VOCAB
from tests.speculator.eagle_layers import DECODER, FORMS, eagle_layer
from tests.speculator.eagle_layers import taught as drafted
from tests.trainer.scripted import trace
from trainer.eagle_distil import EagleDistiller, EagleRecipe, LayeredExcerpt, Unrolling
from trainer.eagle_drafter import EagleDrafter, simulate_unrolled
from trainer.kept import Kept
from trainer.shortlist import Shortlist
from trainer.sizing import Sizing
from trainer.slicing import finish
from trainer.taught import Taught
from trainer.teacher import LessonCache, ReplayTeacher

TAUGHT = Taught(DECODER, "target-1", "tokenizer-1")
LAYERS = layers_read(DECODER.config)


def kept(number: int, num_prompt: int, length: int, *, surprise: float = 1.0, temperature: float = 0.0) -> Kept:
    """Said by the target with the noise of the record, but for a share of tokens that are anybody's."""
    chance = random.Random(number)
    tokens = [chance.randrange(VOCAB) for _ in range(num_prompt)]
    while len(tokens) < num_prompt + length:
        scores = DECODER.logits(DECODER.hidden_states(torch.tensor(tokens))[-1])
        if temperature:
            scores = scores / temperature + gumbel(number, 0, len(tokens) - num_prompt, VOCAB, scores.device)
        tokens.append(chance.randrange(VOCAB) if chance.random() < surprise else int(scores.argmax()))
    record = SamplingRecord(temperature=temperature, top_p=1.0, top_k=0, min_p=0.0, seed=number, max_tokens=60)
    made = trace(number, prompt_ids=tuple(tokens[:num_prompt]), output_ids=tuple(tokens[num_prompt:]), sampling=record)
    return Kept.of(number, made)


def lessons_of(traces: Sequence[Kept]) -> LessonCache:
    lessons = LessonCache(ReplayTeacher(DECODER, Sizing(60.0, first=1024), LAYERS), 1 << 30)
    for each in traces:
        finish(lessons.read(each))
    return lessons


def excerpts_of(traces: Sequence[Kept], max_tokens: int = 1000) -> list[LayeredExcerpt]:
    lessons = lessons_of(traces)
    return [LayeredExcerpt.of(each, lessons.known(each), max_tokens) for each in traces]


def distiller_of(layer: EagleLayer, **recipe: object) -> EagleDistiller:
    shortlist = Shortlist(DECODER.output_embeddings(), VOCAB, 1, torch.Generator())
    return EagleDistiller(layer, shortlist, EagleRecipe(rows_per_step=1, **recipe))  # type: ignore[arg-type]


def defined_loss(layer: EagleLayer, trace: Kept, num_steps: int) -> float:
    """Of each token of the answer and each step, one path drafted at a time."""
    text, first, loss = list(trace.tokens[:-1]), len(trace.trace.prompt_ids) - 1, 0.0
    target = DECODER.logits(DECODER.hidden_states(torch.tensor(text))).log_softmax(-1)
    for row in range(first, len(text)):
        for step in range(min(num_steps, row + 1)):
            root = row - step
            state = drafted(layer, text[: root + 1], text[root + 1 : row + 1])
            own = DECODER.logits(state).log_softmax(-1)
            loss += 0.8**step * float((target[row].exp() * (target[row] - own)).sum())
    return loss


@FORMS
def test_the_loss_is_the_weighted_divergence_of_what_is_drafted_behind_every_root(parallel: bool) -> None:
    layer, traces = eagle_layer(seed=1, parallel=parallel), [kept(1, 1, 9), kept(2, 6, 5), kept(3, 3, 2)]
    distiller = distiller_of(layer, num_steps=4)
    distiller.teach(excerpts_of(traces))
    expected = sum(defined_loss(layer, each, 4) for each in traces)
    assert distiller._divergence == pytest.approx(expected, rel=1e-4)
    assert distiller._rows == 16


@FORMS
def test_the_gradient_is_that_of_the_loss(parallel: bool) -> None:
    layer, traces = eagle_layer(seed=1, parallel=parallel), [kept(1, 1, 9), kept(2, 6, 5)]
    distiller = distiller_of(layer, num_steps=4)
    distiller.teach(excerpts_of(traces))
    written = {name: each.grad.clone() for name, each in layer.tensors.items() if each.grad is not None}
    layer.zero_grad()
    excerpts = excerpts_of(traces)
    unrolling = Unrolling.of(excerpts, 4)
    states = unrolling.states(layer, 4)
    target = DECODER.logits(torch.cat([each.hidden for each in excerpts])).softmax(-1)
    scores = (states @ DECODER.output_embeddings().t()).log_softmax(-1)
    weights = torch.tensor([[0.8**step] for step in range(4)]) * unrolling.reached(4)
    (-(target * scores).sum(-1) * weights).sum().backward()
    assert written.keys() == layer.tensors.keys()
    for name, each in layer.tensors.items():
        torch.testing.assert_close(written[name], each.grad, rtol=1e-3, atol=1e-4)


@FORMS
def test_texts_side_by_side_teach_what_they_teach_alone(parallel: bool) -> None:
    layer, traces = eagle_layer(seed=1, parallel=parallel), [kept(1, 1, 9), kept(2, 40, 30), kept(3, 30, 2)]

    def gradients(groups: Sequence[Sequence[Kept]]) -> dict[str, Tensor]:
        layer.zero_grad()
        distiller = distiller_of(layer)
        for group in groups:
            distiller.teach(excerpts_of(group))
        return {name: each.grad.clone() for name, each in layer.tensors.items() if each.grad is not None}

    together, alone = gradients([traces]), gradients([[each] for each in traces])
    for name, each in together.items():
        torch.testing.assert_close(each, alone[name], rtol=1e-3, atol=1e-3)


def test_a_long_text_is_cut_and_its_features_stay_beside_their_tokens() -> None:
    trace = kept(1, 20, 60)
    [whole], [cut] = excerpts_of([trace]), excerpts_of([trace], max_tokens=32)
    assert (len(whole.tokens), len(whole.hidden)) == (79, 60)
    assert not whole.features[0].any(), "nothing stands before the first token"
    for field in ("tokens", "features", "hidden"):
        assert torch.equal(getattr(cut, field), getattr(whole, field)[-32:])


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_what_is_not_finite_moves_nothing(poison: float) -> None:
    distiller, [excerpt] = distiller_of(eagle_layer()), excerpts_of([kept(1, 4, 9)])
    excerpt.hidden[3, 2] = poison
    before = {name: each.detach().clone() for name, each in distiller.layer.tensors.items()}
    distiller.teach([excerpt])
    assert not distiller.step()
    assert all(torch.equal(each, before[name]) for name, each in distiller.layer.tensors.items())


def token_by_token(layer: EagleLayer, text: Kept, lookahead: int) -> tuple[int, int]:
    """Tokens and steps of the source that serves, as a chain."""
    runner = EagleRunner(layer, page_size=PAGE_SIZE, num_pages=pages_alone(256))
    form = ParallelEagleSpeculator if layer.parallel else EagleSpeculator
    source = form(runner, layer.layers, version="v", max_tree=lookahead, depth=lookahead, width=1, siblings=1)
    _, layers = DECODER.read(torch.tensor(text.tokens[:-1]), layer.layers)
    sampling = sampling_of(text.trace.sampling)
    found = redraft(
        source, text.tokens, len(text.trace.prompt_ids), sampling, num_nodes=lookahead, number=text.number, layers=layers
    )
    return found.num_tokens, found.num_steps


def drafted_by(layer: EagleLayer, number: int, lookahead: int, temperature: float) -> Kept:
    """A text that goes the way a layer's chains go, each followed all the way, or until some other token comes."""
    chance, num_prompt, length = random.Random(number), 1 + 7 * number, 2 + 12 * number
    tokens, root = [chance.randrange(VOCAB) for _ in range(num_prompt + 1)], num_prompt
    while len(tokens) < num_prompt + length:
        scores = DECODER.logits(drafted(layer, tokens[: root + 1], tokens[root + 1 :]))
        if temperature:
            scores = scores / temperature + gumbel(number, 0, len(tokens) - num_prompt, VOCAB, scores.device)
        ended = len(tokens) - root > lookahead or chance.random() < 0.2
        root = len(tokens) if ended else root
        tokens.append(chance.randrange(VOCAB) if ended else int(scores.argmax()))
    record = SamplingRecord(temperature=temperature, top_p=1.0, top_k=0, min_p=0.0, seed=number, max_tokens=60)
    made = trace(number, prompt_ids=tuple(tokens[:num_prompt]), output_ids=tuple(tokens[num_prompt:]), sampling=record)
    return Kept.of(number, made)


@FORMS
@pytest.mark.parametrize("lookahead", [1, 2, 5])
@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_one_unrolling_tells_what_drafting_token_by_token_does(
    temperature: float, lookahead: int, parallel: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("speculator.growth.FEWEST_CHANCE", 0.0)
    layer = eagle_layer(seed=1, parallel=parallel)
    texts = [drafted_by(layer, number, lookahead, temperature) for number in range(4)]
    drafter = EagleDrafter(layer, lessons_of(texts[::2]), TAUGHT, lookahead=lookahead)
    steps = tokens = 0
    for text in texts:
        found = finish(drafter.steps(text))
        assert (found.num_tokens, found.num_steps) == token_by_token(layer, text, lookahead)
        steps, tokens = steps + found.num_steps, tokens + found.num_tokens
    assert (1.1 + 0.3 * lookahead) * steps < tokens, "chains were accepted, or nothing would be shown"


@FORMS
def test_a_text_unrolled_in_slices_is_the_same_text(parallel: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    layer, text = eagle_layer(seed=1, parallel=parallel), drafted_by(eagle_layer(seed=1, parallel=parallel), 9, 4, 0.8)
    drafter = EagleDrafter(layer, lessons_of([text]), TAUGHT, lookahead=4)
    at_once = finish(drafter.steps(text))
    lasts: list[int] = []
    unrolled = layer.unrolled
    monkeypatch.setattr(layer, "unrolled", lambda *args, **values: lasts.append(values["last"]) or unrolled(*args, **values))
    monkeypatch.setattr("trainer.eagle_drafter._AT_ONCE", 32)
    assert finish(drafter.steps(text)) == at_once
    assert lasts == [64, 64, 64, 32], "109 rows, 32 at a time and those that they go on from, in multiples of 32"


STUDIED = [kept(number, 4, 30, surprise=0.2, temperature=0.5 * (number % 2)) for number in range(100, 130)]
"""Some answers of the target."""


@FORMS
def test_learning_from_answers_raises_acceptance_on_them(parallel: bool) -> None:
    distiller, excerpts = distiller_of(eagle_layer(scale=0.1, parallel=parallel), learning_rate=0.01), excerpts_of(STUDIED)
    for step in range(60):
        distiller.teach(excerpts[step % 5 :: 5])
        distiller.step()
    learnt = EagleLayer(distiller.config, DECODER)
    learnt.copy_weights(distiller.averaged())

    def tokens_per_step(layer: EagleLayer) -> float:
        drafter = EagleDrafter(layer, lessons_of(STUDIED), TAUGHT, lookahead=4)
        found = [finish(drafter.steps(each)) for each in STUDIED]
        return sum(each.num_tokens for each in found) / sum(each.num_steps for each in found)

    assert tokens_per_step(learnt) > 1.15 * tokens_per_step(EagleLayer(distiller.config, DECODER))


@pytest.mark.parametrize(
    ("guessed", "steps"),
    [
        ([[1, 2, 3, 4, 5, 6], [9, 2, 3, 4, 5, 6]], 2),
        ([[1, 9, 3, 9, 5, 6], [9, 9, 9, 9, 9, 9]], 3),
        ([[9, 9, 9, 9, 9, 9]], 6),
        ([], 6),
    ],
)
def test_each_step_goes_as_far_as_the_chain_behind_its_root_was_right(guessed: list[list[int]], steps: int) -> None:
    found = simulate_unrolled((7, 7, 0, 1, 2, 3, 4, 5, 6), 2, guessed)
    assert (found.num_tokens, found.num_steps) == (6, steps)
