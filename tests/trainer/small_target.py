"""A target small enough to be trained in a test: a random model as transformers saves it, and what it says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch

from kernels.gumbel import gumbel
from models.decoder import Decoder
from models.loading import Target, load_target
from pipelines.trace import SamplingRecord
from tests.models.families import VOCAB, save_model
from trainer.answers import Answer
from trainer.taught import Taught

TEMPERATURE = 0.8
_LENGTH = 20


def small_target(folder: Path, family: str = "llama-tied") -> Target:
    """One layer of 64."""
    save_model(family, folder, num_hidden_layers=1)
    return load_target(str(folder))


def taught_by(target: Target) -> Taught:
    return Taught(target.decoder, target.fingerprint, target.tokenizer.fingerprint, target.stored)


def answers_of(decoder: Decoder, number: int) -> list[Answer]:
    """To prompts of four tokens, always the same, by chance and with noise that is known: twenty tokens."""
    return list(_answers(decoder, number))


def _answers(decoder: Decoder, number: int) -> Iterator[Answer]:
    texts = torch.stack([torch.randint(VOCAB, (4,), generator=torch.Generator().manual_seed(seed)) for seed in range(number)])
    for position in range(_LENGTH):
        chosen = []
        for seed, text in enumerate(texts):
            logits = decoder.logits(decoder.hidden_states(text)[-1:])[0]
            chosen.append((logits / TEMPERATURE + gumbel(seed, 0, position, VOCAB, torch.device("cpu"))).argmax())
        texts = torch.cat((texts, torch.stack(chosen)[:, None]), 1)
    for seed, text in enumerate(texts.tolist()):
        sampling = SamplingRecord(temperature=TEMPERATURE, top_p=1.0, top_k=0, min_p=0.0, seed=seed, max_tokens=_LENGTH)
        yield Answer(text[:4], text[4:], sampling)
