"""A target that is a Markov chain, its traffic, and a trainer of any kind around it: the whole loop with no weights.

After token x mostly comes (5 x + 3) mod 16. The state is one-hot in the newest token, so heads can learn the chain's
second, third and further steps in a few dozen steps of training, and a draft model of one layer the first.
"""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from models import eagle
from models.decoder import Decoder
from models.draft import DraftModel, DraftShape
from models.eagle import EagleLayer
from models.heads import DraftHeads
from pipelines.registry import Registry, Slot, open_registry
from pipelines.store import open_store
from pipelines.trace import SamplingRecord, Trace
from pipelines.traffic_log import TrafficReader, open_reader, open_writer
from speculator.draft_lm import KIND as DRAFT_MODEL
from speculator.kinds import EAGLE
from speculator.static_heads import KIND, find_static, heads_of, untrained_config
from tests.serving.rig import tiny_config
from trainer.assemble import assemble
from trainer.settings import TrainerSettings
from trainer.taught import Taught
from trainer.trainer import Trainer

VOCAB = 16
TICK = 0.01
"""Seconds that pass whenever the trainer looks at its clock."""
TARGET, TOKENIZER = "scripted-target", "scripted-tokenizer"
SLOT = Slot(target=TARGET, kind=KIND)
"""Of heads."""
GREEDY = SamplingRecord(temperature=0.0, top_p=1.0, top_k=0, min_p=0.0, seed=0, max_tokens=20)
SMALL = DraftShape(hidden_size=16, intermediate_size=32, num_layers=1, num_heads=2, num_kv_heads=1)


def following(token: int) -> int:
    return (5 * token + 3) % VOCAB


class ScriptedDecoder:
    """As much of a `Decoder` as the trainer uses."""

    def __init__(self) -> None:
        sizes = {"hidden_size": VOCAB, "vocab_size": VOCAB, "intermediate_size": 32, "num_layers": 3, "num_heads": 2}
        self.config = tiny_config(**sizes, num_kv_heads=1)
        self.dtype = torch.float32
        self.device = torch.device("cpu")
        self.unembedding = torch.zeros(VOCAB, VOCAB)
        for token in range(VOCAB):
            self.unembedding[token, following(token)] = 6.0

    def hidden_states(self, tokens: Tensor) -> Tensor:
        return self.embed(tokens)

    def read(self, tokens: Tensor, capture: Collection[int] = ()) -> tuple[Tensor, dict[int, Tensor]]:
        return self.embed(tokens), {layer: self.embed(tokens) for layer in capture}

    def embed(self, tokens: Tensor) -> Tensor:
        return torch.nn.functional.one_hot(tokens, VOCAB).float()

    def input_embeddings(self) -> Tensor:
        return torch.eye(VOCAB)

    def output_norm(self) -> Tensor:
        return torch.ones(VOCAB)

    def output_embeddings(self) -> Tensor:
        return self.unembedding.t()

    def logits(self, hidden: Tensor) -> Tensor:
        return hidden @ self.unembedding


def taught() -> Taught:
    return Taught(cast(Decoder, ScriptedDecoder()), TARGET, TOKENIZER)


def text(length: int, chance: random.Random) -> list[int]:
    """The chain's own words: each token follows the one before 19 times in 20."""
    tokens = [chance.randrange(VOCAB)]
    while len(tokens) < length:
        tokens.append(following(tokens[-1]) if chance.random() < 0.95 else chance.randrange(VOCAB))
    return tokens


def trace(number: int, **changes: Any) -> Trace:
    tokens = text(24, random.Random(number))
    values: dict[str, Any] = {
        "trace_id": f"trace-{number}",
        "conversation": f"conversation-{number}",
        "started_at": time.time(),
        "finished_at": time.time(),
        "target": TARGET,
        "tokenizer": TOKENIZER,
        "prompt_ids": tuple(tokens[:4]),
        "output_ids": tuple(tokens[4:]),
        "finish_reason": "length",
        "sampling": SamplingRecord(temperature=1.0, top_p=1.0, top_k=0, min_p=0.0, seed=number, max_tokens=20),
        "domain": "chain",
    }
    return Trace(**{**values, **changes})


def untrained_heads(kind: str, num_heads: int = 3) -> DraftHeads:
    decoder = taught().decoder
    return heads_of(kind, untrained_config(kind, decoder.config, num_heads), decoder)


def untrained_draft(seed: int = 1) -> DraftModel:
    return DraftModel(SMALL.config_for(taught().decoder.config), torch.Generator().manual_seed(seed))


def untrained(kind: str) -> tuple[dict[str, int | float | str | bool], dict[str, Tensor]]:
    """Config and weights of any kind."""
    if kind == DRAFT_MODEL:
        draft = untrained_draft()
        return draft.config, draft.tensors
    if kind == EAGLE:
        layer = EagleLayer(eagle.untrained_config(taught().decoder.config), taught().decoder)
        return layer.config, layer.tensors
    heads = untrained_heads(kind)
    return heads.config, dict(heads.named_parameters())


class House:
    """A log, a registry and a store in a folder."""

    def __init__(self, folder: Path, **changes: Any) -> None:
        self.settings = TrainerSettings(
            target="scripted",
            traffic=f"sqlite:///{folder / 'traffic.db'}",
            registry=f"sqlite:///{folder / 'registry.db'}",
            checkpoints=str(folder / "checkpoints"),
            state=str(folder / "state"),
            heads=str(folder / "static"),
            draft=str(folder / "static"),
            **{
                "held_out_fraction": 0.3,
                "learning_rate": 0.05 if changes.get("kind", KIND) == KIND else 0.02,
                "rows_per_step": 128,
                "poll_seconds": 5 * TICK,
                **changes,
            },
        )
        self.slot = Slot(target=TARGET, kind=self.settings.kind)
        self.store = open_store(self.settings.checkpoints)
        self.registry: Registry = open_registry(self.settings.registry)
        self.reader: TrafficReader = open_reader(self.settings.traffic)

    def write(self, traces: Iterator[Trace] | list[Trace]) -> None:
        writer = open_writer(self.settings.traffic)
        for each in traces:
            assert writer.append(each)
        writer.close()

    def add_static(self) -> str:
        """Saves untrained weights as the static ones; returns their version."""
        kind = self.settings.kind
        config, tensors = untrained(kind)
        manifest, _ = open_store(self.settings.heads).save(
            tensors,
            kind=kind,
            parent=None,
            target=TARGET,
            tokenizer=TOKENIZER,
            config=config,
            created_at=1.0,
        )
        return manifest.version

    def static_weights(self) -> Mapping[str, Tensor]:
        found = find_static(Path(self.settings.heads), self.settings.kind, target=TARGET, tokenizer=TOKENIZER)
        assert found is not None
        return found.weights

    def trainer(self, registry: Registry | None = None, reader: TrafficReader | None = None) -> Trainer:
        """A new life, from what was saved."""
        ticks = itertools.count()
        return assemble(
            self.settings,
            taught(),
            reader or self.reader,
            registry or self.registry,
            clock=lambda: next(ticks) * TICK,
        )

    def close(self) -> None:
        self.reader.close()
        self.registry.close()


def weights(trainer: Trainer) -> dict[str, Tensor]:
    """Those in training, in place."""
    tensors = trainer.distiller.tensors()
    return {name.removeprefix("weight."): tensor for name, tensor in tensors.items() if name.startswith("weight.")}


def train_until(trainer: Trainer, reached: Any, max_slices: int = 3000) -> None:
    """Runs slices until `reached()`; fails if it never comes to that."""
    slices = trainer.work()
    for _ in range(max_slices):
        if reached():
            return
        next(slices)
    raise AssertionError(f"not reached in {max_slices} slices; the trainer is {trainer.state!r}")
