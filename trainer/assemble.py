"""Assembling a trainer from its settings, a target and the two pipes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from models.eagle import layers_read
from pipelines.registry import Kind, Registry, Slot
from pipelines.store import open_store
from pipelines.traffic_log import TrafficReader
from speculator.kinds import EAGLE
from trainer.audit import Audit
from trainer.champion import Champion, Champions
from trainer.descent import Descent
from trainer.draft_trade import DraftTrade
from trainer.eagle_trade import EagleTrade
from trainer.feed import Feed
from trainer.gate import Rules
from trainer.heads_trade import HeadsTrade
from trainer.judge import Drafter, Judge
from trainer.lead import Lead, lead_name
from trainer.memory import Memory
from trainer.mixture import Mixture
from trainer.patience import Patience
from trainer.pools import Pools
from trainer.publish import Publisher
from trainer.review import Review
from trainer.runs import Runs
from trainer.settings import TrainerSettings
from trainer.sizing import Sizing
from trainer.state import Record, StateFile
from trainer.study import Study
from trainer.taught import Taught
from trainer.teacher import LessonCache, ReplayTeacher
from trainer.trade import Trade
from trainer.trainer import Trainer

TRADES: Mapping[Kind, Callable[[TrainerSettings, Taught, LessonCache, torch.Generator], Trade]] = {
    "medusa": HeadsTrade,
    "hydra": HeadsTrade,
    "eagle": EagleTrade,
    "draft-lm": DraftTrade,
}


def assemble(
    settings: TrainerSettings,
    taught: Taught,
    reader: TrafficReader,
    registry: Registry,
    *,
    clock: Callable[[], float] = time.monotonic,
) -> Trainer:
    """A trainer that goes on where the last one saved. Raises CorruptCheckpoint for damaged static weights."""
    slot, file = _slot(settings, taught), state_file(settings, taught)
    saved = file.load()
    record = saved.record if saved else Record.new()
    progress = record.progress
    generator = torch.Generator().manual_seed(settings.seed)
    store = open_store(settings.checkpoints, max_bytes=settings.max_store_bytes)

    layers = layers_read(taught.decoder.config) if settings.kind == EAGLE else ()
    lessons = LessonCache(ReplayTeacher(taught.decoder, Sizing(settings.slice_seconds), layers), settings.cache_bytes)
    trade = TRADES[settings.kind](settings, taught, lessons, generator)
    pools = Pools(settings, record, generator)
    memory = Memory(file, record, trade, pools, generator)
    if saved:
        memory.recall(saved.tensors)
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

    def at_work(champion: Champion) -> Drafter:
        return trade.drafter(champion.config, champion.weights)

    champions = Champions(registry, store, slot, taught.tokenizer, trade.floor, at_work)
    descent = Descent(champions, trade, pools, progress)
    review = Review(
        Judge(at_work),
        Publisher(
            registry,
            store,
            slot,
            taught.tokenizer,
            budget=trade.budget,
            form=trade.form,
            static=trade.static,
            fence=lambda: lead.fence,
        ),
        descent,
        trade,
        pools,
        progress,
        record.feed,
        Rules(level=settings.level, min_conversations=settings.min_conversations),
        settings.seed,
        wanted=lambda: runs.plan.promote or settings.promote,
        canary_share=settings.canary_share,
    )
    return Trainer(
        settings,
        record,
        memory=memory,
        feed=feed,
        pools=pools,
        audit=Audit(feed, pools, lessons),
        study=Study(trade, lessons, mixture, runs.wants),
        distiller=trade.distiller,
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
    return Slot(target=taught.fingerprint, kind=settings.kind, scope=settings.scope)


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
