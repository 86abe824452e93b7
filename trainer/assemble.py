"""Assembling a trainer from its settings, a target and the two pipes."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from models.decoder import Decoder
from models.heads import MedusaHeads
from pipelines.checkpoint import Checkpoint
from pipelines.registry import Registry, Slot
from pipelines.store import open_store
from pipelines.traffic_log import TrafficReader
from speculator.static_heads import BUNDLED, KIND, UNTRAINED_HEADS, find_static_heads
from trainer.audit import Audit
from trainer.champion import Champion, Champions
from trainer.descent import Descent
from trainer.distil import Distiller, Recipe
from trainer.feed import Feed
from trainer.gate import Rules
from trainer.judge import Judge
from trainer.lead import Lead, lead_name
from trainer.memory import Memory
from trainer.mixture import Mixture
from trainer.patience import Patience
from trainer.pools import Pools
from trainer.precision import fast_dtype
from trainer.publish import Publisher
from trainer.review import Review
from trainer.runs import Runs
from trainer.settings import TrainerSettings
from trainer.shortlist import Shortlist
from trainer.sizing import Sizing
from trainer.state import Record, StateFile
from trainer.study import Study
from trainer.teacher import LessonCache, ReplayTeacher
from trainer.trainer import Trainer

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Taught:
    """The target, as far as the trainer needs it."""

    decoder: Decoder
    fingerprint: str
    tokenizer: str
    """Fingerprint of the tokenizer."""


def assemble(
    settings: TrainerSettings,
    taught: Taught,
    reader: TrafficReader,
    registry: Registry,
    *,
    clock: Callable[[], float] = time.monotonic,
) -> Trainer:
    """A trainer that goes on where the last one saved. Raises CorruptCheckpoint for damaged static heads."""
    slot, file = _slot(settings, taught), state_file(settings, taught)
    saved = file.load()
    record = saved.record if saved else Record.new()
    decoder, progress = taught.decoder, record.progress
    generator = torch.Generator().manual_seed(settings.seed)
    static = static_heads(settings.heads, taught)
    floor = Champion.of(static) if static else Champion.untrained(untrained_heads(decoder))
    store = open_store(settings.checkpoints, max_bytes=settings.max_store_bytes)

    pools = Pools(settings, record, generator)
    distiller = distiller_of(settings, decoder, floor.heads(decoder.device), generator)
    memory = Memory(file, record, distiller, pools, generator)
    if saved:
        memory.recall(saved.tensors)
    lessons = LessonCache(ReplayTeacher(decoder, _sizing(settings)), settings.cache_bytes)
    feed = _feed(settings, taught, slot, reader, record)
    mixture = Mixture(
        pools.recent,
        pools.older,
        recent_share=settings.recent_share,
        tenant_share=settings.tenant_share,
        generator=generator,
    )
    runs = Runs(registry, slot)
    lead = Lead(registry, slot, lead_name(settings.name, file.path), clock=clock)
    descent = Descent(Champions(registry, store, slot, taught.tokenizer, floor), distiller, pools, progress, decoder.device)
    review = Review(
        Judge(lessons, partial(unembed, decoder), budget=settings.budget, device=decoder.device, sizing=_sizing(settings)),
        Publisher(
            registry, store, slot, taught.tokenizer, budget=settings.budget, static=static, fence=lambda: lead.fence
        ),
        descent,
        distiller,
        pools,
        progress,
        record.feed,
        Rules(level=settings.level, min_conversations=settings.min_conversations),
        settings.seed,
        promotion=lambda: runs.plan.promote or settings.promote,
        canary_share=settings.canary_share,
    )
    return Trainer(
        settings,
        record,
        memory=memory,
        feed=feed,
        pools=pools,
        audit=Audit(feed, pools, lessons),
        study=Study(distiller, lessons, mixture, _sizing(settings), generator, runs.wants),
        distiller=distiller,
        lead=lead,
        descent=descent,
        review=review,
        patience=Patience(settings, progress),
        runs=runs,
        clock=clock,
    )


def state_file(settings: TrainerSettings, taught: Taught) -> StateFile:
    """Where the trainer keeps what it knows."""
    return StateFile(Path(settings.state), _slot(settings, taught), taught.tokenizer)


def _slot(settings: TrainerSettings, taught: Taught) -> Slot:
    return Slot(target=taught.fingerprint, kind=KIND, scope=settings.scope)


def distiller_of(settings: TrainerSettings, decoder: Decoder, heads: MedusaHeads, generator: torch.Generator) -> Distiller:
    """A distiller that starts from `heads`, on the decoder's device."""
    columns = decoder.output_embeddings().to(fast_dtype(decoder.device)).contiguous()
    shortlist = Shortlist(columns, settings.common_tokens, settings.sampled_tokens, generator)
    recipe = Recipe(learning_rate=settings.learning_rate, rows_per_step=settings.rows_per_step)
    return Distiller(heads.to(decoder.device), shortlist, recipe)


def static_heads(folder: str, taught: Taught) -> Checkpoint | None:
    """The static heads made for this target, if there are any; an empty `folder`: among the bundled ones."""
    path = Path(folder) if folder else BUNDLED
    static = find_static_heads(path, target=taught.fingerprint, tokenizer=taught.tokenizer)
    if static is None:
        log.warning("no static heads for this target in %s: training starts from untrained ones", path)
    return static


def untrained_heads(decoder: Decoder) -> MedusaHeads:
    """Heads of the shape a server starts with when there are no others."""
    return MedusaHeads(decoder.config.hidden_size, UNTRAINED_HEADS, 1, decoder.config.vocab_size)


def unembed(decoder: Decoder, states: Tensor) -> Tensor:
    """Logits [..., V] of states [..., H] of whatever dtype."""
    return decoder.logits(states.to(decoder.dtype))


def _sizing(settings: TrainerSettings) -> Sizing:
    return Sizing(settings.slice_seconds)


def _feed(settings: TrainerSettings, taught: Taught, slot: Slot, reader: TrafficReader, record: Record) -> Feed:
    return Feed(
        reader,
        slot,
        taught.tokenizer,
        max_tokens=taught.decoder.config.max_positions,
        fraction=settings.held_out_fraction,
        key=record.key,
        state=record.feed,
    )
