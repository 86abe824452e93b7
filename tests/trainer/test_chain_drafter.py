"""One reading of a text says what drafting along it token by token would: how far every chain gets."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest
import torch

from kernels.gumbel import gumbel
from models.draft import DraftModel, DraftShape
from pipelines.trace import SamplingRecord
from speculator.draft_lm import DraftModelSpeculator
from speculator.draft_runner import DraftRunner
from speculator.records import sampling_of
from speculator.redraft import PAGE_SIZE, pages_alone, redraft
from tests.serving.rig import tiny_config
from tests.trainer.scripted import trace
from trainer.chain_drafter import ChainDrafter, simulate_chain
from trainer.kept import Kept
from trainer.sizing import Sizing
from trainer.slicing import finish

VOCAB = 40
SHAPE = DraftShape(hidden_size=16, intermediate_size=24, num_layers=2, num_heads=2, num_kv_heads=1)


@pytest.fixture(autouse=True)
def _hopeful(monkeypatch: pytest.MonkeyPatch) -> None:
    """A source stops reading where a way is unlikely; a chain is judged to its end."""
    monkeypatch.setattr("speculator.growth.FEWEST_CHANCE", 0.0)


@pytest.fixture(scope="module")
def draft() -> DraftModel:
    """With weights of a size at which its choices depend on the text."""
    model = DraftModel(SHAPE.config_for(tiny_config(vocab_size=VOCAB)), torch.Generator().manual_seed(5))
    with torch.no_grad():
        for name, tensor in model.tensors.items():
            tensor.mul_(1.0 if name.endswith("norm.weight") else 12.0)
    return model


def sampling(temperature: float, seed: int = 3, **changes: Any) -> SamplingRecord:
    values = {"top_p": 1.0, "top_k": 0, "min_p": 0.0, "seed": seed, "choice": 1, "max_tokens": 60, **changes}
    return SamplingRecord(temperature=temperature, **values)


@torch.no_grad()
def answer(draft: DraftModel, record: SamplingRecord, number: int, num_prompt: int, length: int, surprise: float = 0.3) -> Kept:
    """Said by the draft itself with the noise of the record, but for a share of tokens that are anybody's."""
    chance = random.Random(number)
    tokens = [chance.randrange(VOCAB) for _ in range(num_prompt)]
    while len(tokens) < num_prompt + length:
        scores = draft.logits(draft(torch.tensor([tokens]))[0, -1])
        if record.temperature:
            noise = gumbel(record.seed, record.choice, len(tokens) - num_prompt, VOCAB, torch.device("cpu"))
            scores = scores / record.temperature + noise
        tokens.append(chance.randrange(VOCAB) if chance.random() < surprise else int(scores.argmax()))
    made = trace(number, prompt_ids=tuple(tokens[:num_prompt]), output_ids=tuple(tokens[num_prompt:]), sampling=record)
    return Kept.of(number, made)


def token_by_token(draft: DraftModel, text: Kept, lookahead: int) -> tuple[int, int]:
    """Tokens and steps of the source that serves, as a chain."""
    runner = DraftRunner(
        draft, page_size=PAGE_SIZE, num_pages=pages_alone(256), device=torch.device("cpu"), dtype=torch.float32
    )
    source = DraftModelSpeculator(runner, version="v", max_tree=lookahead, depth=lookahead, width=1, siblings=1)
    num_prompt = len(text.trace.prompt_ids)
    found = redraft(source, text.tokens, num_prompt, sampling_of(text.trace.sampling), num_nodes=lookahead, number=text.number)
    return found.num_tokens, found.num_steps


@pytest.mark.parametrize("lookahead", [1, 2, 4, 7])
@pytest.mark.parametrize(
    "record", [sampling(0.0), sampling(0.8), sampling(1.5, seed=11), sampling(1.0, top_k=5), sampling(0.9, top_p=0.7)]
)
def test_one_reading_tells_what_drafting_token_by_token_does(draft: DraftModel, record: SamplingRecord, lookahead: int) -> None:
    steps = 0
    for number in range(4):
        text = answer(draft, record, number, num_prompt=3 + 5 * number, length=2 + 13 * number)
        found = finish(ChainDrafter(draft, lookahead=lookahead, sizing=Sizing(1.0)).steps(text))
        assert (found.num_tokens, found.num_steps) == token_by_token(draft, text, lookahead)
        steps += found.num_steps
    assert 1.2 * steps < 84 or lookahead == 1, "of 84 tokens: chains were accepted, or nothing would be shown"


def test_a_text_read_in_slices_is_the_same_text(draft: DraftModel) -> None:
    text = answer(draft, sampling(0.8), 1, num_prompt=70, length=90)
    small, large = (ChainDrafter(draft, lookahead=4, sizing=Sizing(limit, first=32)) for limit in (1e-9, 10.0))
    in_slices, at_once = small.steps(text), large.steps(text)
    num_slices = sum(1 for _ in small.steps(text))
    assert num_slices == 5, "159 tokens, 32 at a time"
    assert finish(in_slices) == finish(at_once)


def test_the_noise_of_the_answer_is_known_to_the_draft(draft: DraftModel) -> None:
    text = answer(draft, sampling(1.5), 1, num_prompt=4, length=40, surprise=0.0)
    found = finish(ChainDrafter(draft, lookahead=4, sizing=Sizing(1.0)).steps(text))
    assert (found.num_tokens, found.num_steps) == (39, 8), "nobody's surprise: four and one of the target's own"
    misled = Kept.of(1, msgspec.structs.replace(text.trace, sampling=sampling(1.5, seed=4)))
    assert finish(ChainDrafter(draft, lookahead=4, sizing=Sizing(1.0)).steps(misled)).num_steps > 12


def test_texts_longer_than_those_before_find_room(draft: DraftModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainer.chain_drafter._ROOM", 8)
    drafter = ChainDrafter(draft, lookahead=3, sizing=Sizing(1.0))
    for number, length in enumerate((5, 40, 200, 12)):
        text = answer(draft, sampling(0.0), number, num_prompt=4, length=length)
        found = finish(drafter.steps(text))
        assert (found.num_tokens, found.num_steps) == token_by_token(draft, text, 3)


@pytest.mark.parametrize(
    ("guessed", "lookahead", "steps"),
    [
        ([1, 2, 3, 4, 5, 6], 2, 2),
        ([1, 2, 3, 4, 5, 6], 6, 1),
        ([9, 9, 9, 9, 9, 9], 3, 6),
        ([1, 9, 3, 4, 9, 6], 4, 3),
        ([9, 2, 3, 4, 5, 6], 2, 3),
    ],
)
def test_each_step_takes_what_was_right_and_one_token_of_the_targets_own(guessed: list[int], lookahead: int, steps: int) -> None:
    found = simulate_chain([7, 7, 0, 1, 2, 3, 4, 5, 6], 2, guessed, lookahead)
    assert (found.num_tokens, found.num_steps) == (6, steps)
