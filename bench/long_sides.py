"""The sides that long texts are measured between: one target that takes them, decoding plainly and drafting for itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from bench.rig import Answer, Ask, Client
from bench.ssd_sides import config_of
from models.decoder import Decoder
from models.pages import PagePool
from models.rope import RopeConfig
from models.source import locate
from models.weights import read_weights
from serving.engine import Engine, FixedBudget
from serving.scheduler import Scheduler
from serving.target import Target
from speculator.merged import MergedSpeculator
from speculator.sparse_self import KIND, SparseSelfSpeculator

_THETA = 1e6
"""Of the rotation. The bundled target was trained on 2,048 tokens with 1e4; between tokens 7,000 and 8,000 of real text it is
surprised by 5.9 nats a token with that and 4.6 with 3e5; on another text by 5.7 with 3e5, 5.2 with 1e6 and 5.2 with 3e6."""
_MAX_TREE, _PAGE_SIZE = 32, 32
_KEPT = 16
"""A view keeps one position in so many."""


def long_target(path: str, revision: str | None, max_positions: int) -> Decoder:
    """The target, turned more slowly, so that it can read so far. What it says is the truth for both sides."""
    config = config_of(path, revision)
    longer = replace(config, max_positions=max_positions, rope=RopeConfig(_THETA))
    return Decoder(longer, dict(read_weights(locate(path, revision), config)), torch.float32, torch.device("cpu"))


class LongSide:
    """An engine on that target. nodes: that the target drafts for itself, for each answer; 0: none. num_texts, length: of the
    texts that it has room for, answers included."""

    def __init__(self, decoder: Decoder, *, nodes: int, num_texts: int, length: int) -> None:
        pool = PagePool(num_texts * (-(-(length + _MAX_TREE) // _PAGE_SIZE) + 1), _PAGE_SIZE)
        target = Target(decoder, pool)
        view = {"count": length // _KEPT, "fewest": length // 2}
        self.source = SparseSelfSpeculator(
            decoder, target.pages, version="bench", max_tree=_MAX_TREE, depth=max(1, nodes), siblings=1, **view
        )
        scheduler = Scheduler(pool, max_tree=_MAX_TREE, max_prompt_tokens_beside=256)
        speculator = MergedSpeculator([self.source], max_tree=_MAX_TREE)
        self.client = Client(Engine(target, scheduler, speculator, FixedBudget(nodes, frozenset({KIND}))))

    def run(self, asks: Sequence[Ask]) -> list[Answer]:
        """All at once. Their prompts are read before: what is timed is decoding."""
        self.client.run([replace(ask, max_tokens=1) for ask in asks], len(asks), learn=False)
        return self.client.run(asks, len(asks))
