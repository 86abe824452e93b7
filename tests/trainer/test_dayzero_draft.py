"""Day zero of a draft model: answers in, a checkpoint out that a server finds and that says what it is worth."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import torch

from kernels.gumbel import gumbel
from models.draft import DraftShape
from pipelines.store import open_store
from pipelines.trace import SamplingRecord
from speculator.static_draft import draft_model, find_static_draft
from tests.trainer.scripted import GREEDY, TARGET, TOKENIZER, VOCAB, ScriptedDecoder, following, taught, text
from trainer.answers import Answer
from trainer.dayzero import first_weights
from trainer.dayzero_draft import DraftBeginner
from trainer.dayzero_settings import DraftSettings

SMALL = DraftShape(hidden_size=16, intermediate_size=32, num_layers=1, num_heads=2, num_kv_heads=1)
QUICK = DraftSettings(shape=SMALL, steps=60, rows_per_step=128, learning_rate=0.02, held_out=20, budget=4)


def answer(number: int) -> Answer:
    """What the scripted target says to a prompt, greedily."""
    prompt = text(4, random.Random(number))
    output = [following(prompt[-1])]
    while len(output) < 20:
        output.append(following(output[-1]))
    return Answer(prompt, output, GREEDY)


ANSWERS = [answer(number) for number in range(120)]


def sampled(number: int) -> Answer:
    """The same, by chance: far from certain, and known to who knows the noise."""
    seen = text(4, random.Random(number))
    prompt = list(seen)
    for position in range(20):
        noise = gumbel(number, 0, position, VOCAB, torch.device("cpu"))
        seen.append(int((ScriptedDecoder().unembedding[seen[-1]] / 2.5 + noise).argmax()))
    return Answer(prompt, seen[4:], by_chance(number))


def by_chance(seed: int) -> SamplingRecord:
    return SamplingRecord(temperature=2.5, top_p=1.0, top_k=0, min_p=0.0, seed=seed, max_tokens=20)


def test_a_draft_from_answers_alone_is_found_by_a_server_and_says_what_it_is_worth(tmp_path: Path) -> None:
    losses: list[float] = []
    manifest = first_weights(DraftBeginner(taught(), QUICK), ANSWERS, open_store(tmp_path), lambda _, loss: losses.append(loss))
    assert len(losses) == 60
    assert losses[-1] < 0.1 * losses[0]
    found = find_static_draft(tmp_path, target=TARGET, tokenizer=TOKENIZER)
    assert found is not None
    assert found.manifest == manifest
    assert {tensor.dtype for tensor in found.weights.values()} == {torch.bfloat16}
    assert draft_model(found).config == SMALL.config_for(taught().decoder.config)
    assert (manifest.parent, manifest.span.num_traces, manifest.span.num_tokens) == (None, 100, 2000)
    judged = manifest.evaluation
    assert judged is not None
    assert (judged.num_conversations, judged.budget, judged.champion_tokens_per_step) == (20, 4, 1.0)
    # nineteen tokens after the first, in a chain that is followed to the letter: four steps, or five with a mistake
    assert 19 / 5 < judged.tokens_per_step <= 19 / 4


def test_its_worth_is_judged_with_the_noise_of_the_answers(tmp_path: Path) -> None:
    answers = [sampled(number) for number in range(120)]
    known = first_weights(DraftBeginner(taught(), QUICK), answers, open_store(tmp_path / "known"))
    wrong = [replace(each, sampling=by_chance(10**6)) for each in answers]
    unknown = first_weights(DraftBeginner(taught(), QUICK), wrong, open_store(tmp_path / "unknown"))
    assert known.evaluation is not None
    assert unknown.evaluation is not None
    assert known.evaluation.tokens_per_step > unknown.evaluation.tokens_per_step + 0.5


def test_turns_of_a_conversation_are_judged_as_one(tmp_path: Path) -> None:
    """A bound on turns that resemble each other would be closer than what is known."""
    settings = replace(QUICK, steps=1)
    answers = [replace(each, conversation=f"of two turns {number // 2}") for number, each in enumerate(ANSWERS)]
    two = first_weights(DraftBeginner(taught(), settings), answers, open_store(tmp_path / "two"))
    assert two.evaluation is not None
    assert two.evaluation.num_conversations == 10
    answers = [replace(each, conversation="the one" if number < 20 else "") for number, each in enumerate(ANSWERS)]
    assert first_weights(DraftBeginner(taught(), settings), answers, open_store(tmp_path / "one")).evaluation is None
