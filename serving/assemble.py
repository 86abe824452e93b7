"""Builds an engine from its settings: the one place that knows all the parts."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from models.config import DecoderConfig
from models.loading import Target as LoadedTarget
from models.loading import load_target
from models.pages import PagePool
from pipelines.checkpoint import Checkpoint
from pipelines.registry import TRIED_OUT, Presence, Slot, open_registry
from pipelines.store import open_store
from serving.engine import Engine
from serving.profile import pass_seconds
from serving.purges import Purges
from serving.referee import Referee
from serving.scheduler import Scheduler
from serving.settings import EngineSettings
from serving.swap import Swap
from serving.target import Target
from serving.trial import Trial
from speculator import draft_lm, sparse_self, static_draft
from speculator.constraint.grammars import Grammars
from speculator.controller import Controller
from speculator.cost import StepCosts
from speculator.drafts import Law
from speculator.eagle import EagleSpeculator
from speculator.heads import HeadsSpeculator
from speculator.kinds import EAGLE, WITH_FLOOR, rival, static
from speculator.merged import MergedSpeculator
from speculator.protocol import Speculator
from speculator.recycling import RecyclingSpeculator
from speculator.rest import RestSpeculator
from speculator.shadow import Shadow
from speculator.sparse_self import SparseSelfSpeculator
from speculator.ssd.address import Address
from speculator.ssd.messages import Birth
from speculator.ssd.process import WorkerProcess
from speculator.ssd.speculator import NAME as SSD
from speculator.ssd.speculator import SsdSpeculator
from speculator.ssd.transport import Link
from speculator.static_draft import draft_model, draft_source, find_static_draft
from speculator.static_eagle import eagle_source, served_layer
from speculator.static_heads import BUNDLED, KIND, draft_vocabulary, find_static_heads, heads_source, served_heads
from speculator.suffix import SuffixSpeculator
from speculator.suffix_files import SuffixFiles

log = logging.getLogger(__name__)


def build_engine(settings: EngineSettings, loaded: LoadedTarget | None = None) -> Engine:
    """An engine ready to step. `loaded`: a target loaded already, to be shared by several engines of one process."""
    torch.set_num_threads(num_threads(settings))
    loaded = loaded or load_target(
        settings.target, revision=settings.revision, dtype=settings.dtype, device=settings.device  # type: ignore[arg-type]
    )
    pool = PagePool(-(-settings.max_cached_tokens // settings.page_size), settings.page_size)
    scheduler = Scheduler(
        pool,
        max_running=settings.max_running,
        max_waiting=settings.max_waiting,
        max_prompt_tokens=settings.max_prompt_tokens,
        max_prompt_tokens_beside=settings.max_prompt_tokens_beside,
        max_tree=settings.max_tree,
        share_prefixes=settings.share_prefixes,
    )
    floors = {kind: _static_heads(settings, loaded, kind) for kind in _kinds_with_floor(settings)}
    target = Target(loaded.decoder, pool)
    sources = _sources(settings, loaded, floors, target)
    shadow, costs = Shadow(settings.shadow_every), StepCosts()
    second = _rival(settings, loaded, floors, pool)
    speculator = MergedSpeculator(sources, costs=costs, shadow=shadow, rival=second, max_tree=settings.max_tree)
    controller = Controller(speculator.source_names, costs=costs, shadow=shadow, max_tree=settings.max_tree)
    if sources:
        costs.profile(lambda num_sequences, num_rows: pass_seconds(target, num_sequences, num_rows))
    grammars = Grammars(loaded.tokenizer, loaded.config.vocab_size)
    engine = Engine(target, scheduler, speculator, controller, probe_share=settings.probe_share, grammars=grammars)
    engine.swap = _swap(settings, loaded, engine.trial, lambda: _presence(settings, engine))
    engine.further_swaps = _further_swaps(settings, loaded)
    if settings.registry:
        engine.purges = Purges(lambda: open_registry(settings.registry))
    engine.purges.start()
    for swap in (engine.swap, *engine.further_swaps):
        swap.start()
    return engine


def num_threads(settings: EngineSettings) -> int:
    """Threads of the engine: as many as set, or all cores but one."""
    return settings.threads or max(1, (os.cpu_count() or 1) - 1)


def _static_heads(settings: EngineSettings, loaded: LoadedTarget, kind: str) -> Checkpoint | None:
    folder = Path(settings.heads) if settings.heads else BUNDLED
    tokenizer = loaded.tokenizer.fingerprint
    heads = find_static_heads(folder, target=loaded.fingerprint, tokenizer=tokenizer, stored=loaded.stored, kind=kind)
    if heads is None:
        flag = "" if kind == KIND else f" --kind {kind}"
        what = "eagle layer" if kind == EAGLE else "heads"
        words = "no static %s for this target in %s: drafts start untrained (see `everdraft dayzero%s`)"
        log.warning(words, what, folder, flag)
    return heads


def _sources(
    settings: EngineSettings, loaded: LoadedTarget, floors: Mapping[str, Checkpoint | None], target: Target
) -> list[Speculator]:
    sources: list[Speculator] = []
    for kind, floor in floors.items():
        sources.append(_copy(settings, loaded, target.pool, kind, floor, kind))
        if floor is not None:
            sources.append(_copy(settings, loaded, target.pool, kind, floor, static(kind)))
    if "suffix" in settings.sources:
        sources.append(SuffixSpeculator(max_tokens=settings.suffix_tokens, files=_suffix_files(settings, loaded)))
    if "recycling" in settings.sources:
        sources.append(RecyclingSpeculator(loaded.config.vocab_size))
    if "rest" in settings.sources:
        sources.append(RestSpeculator(Path(settings.rest), loaded.tokenizer.fingerprint))
    if {draft_lm.KIND, SSD} & set(settings.sources):
        sources += _draft_model(settings, loaded, target.pool)
    if sparse_self.KIND in settings.sources:
        sources.append(
            SparseSelfSpeculator(target.decoder, target.pages, version=loaded.fingerprint, max_tree=settings.max_tree)
        )
    return sources


def _suffix_files(settings: EngineSettings, loaded: LoadedTarget) -> SuffixFiles | None:
    if not settings.suffix_folder:
        return None
    try:
        return SuffixFiles(Path(settings.suffix_folder), loaded.tokenizer.fingerprint)
    except OSError as error:
        log.warning("suffix trees are not kept: %s", error)
        return None


def _copy(
    settings: EngineSettings, loaded: LoadedTarget, pool: PagePool, kind: str, floor: Checkpoint | None, name: str
) -> Speculator:
    """A source of a kind that starts with what is static of it."""
    if kind == EAGLE:
        return _eagle(settings, loaded, pool, floor, name)
    return _heads(settings, loaded, kind, floor, name)


def _eagle(
    settings: EngineSettings, loaded: LoadedTarget, pool: PagePool, floor: Checkpoint | None, name: str
) -> EagleSpeculator:
    return eagle_source(
        served_layer(floor, loaded.decoder),
        name=name,
        version=floor.manifest.version if floor else "untrained",
        max_tree=settings.max_tree,
        page_size=pool.page_size,
        num_pages=pool.num_pages,
        law=Law(settings.law),
    )


def _draft_model(settings: EngineSettings, loaded: LoadedTarget, pool: PagePool) -> list[Speculator]:
    """Sources around the draft model, if there is one for this target: before the target, beside it, or both."""
    folder = Path(settings.draft) if settings.draft else static_draft.BUNDLED
    tokenizer = loaded.tokenizer.fingerprint
    found = find_static_draft(folder, target=loaded.fingerprint, tokenizer=tokenizer, stored=loaded.stored)
    if found is None:
        log.warning("no draft model for this target in %s: none drafts (see `everdraft dayzero --kind draft-lm`)", folder)
        return []
    sources: list[Speculator] = []
    if draft_lm.KIND in settings.sources:
        source = draft_source(
            draft_model(found),
            version=found.manifest.version,
            max_tree=settings.max_tree,
            device=loaded.decoder.device,
            dtype=loaded.decoder.dtype,
            page_size=pool.page_size,
            num_pages=pool.num_pages,
            law=Law(settings.law),
        )
        sources.append(source)
    if SSD in settings.sources:
        sources.append(_beside(settings, loaded, found, pool))
    return sources


def _beside(settings: EngineSettings, loaded: LoadedTarget, found: Checkpoint, pool: PagePool) -> SsdSpeculator:
    """The draft model in a process of its own, here or on the host of whoever dials in.

    Its pages hold as many texts as the target's, and the branches behind each.
    """
    room = settings.ssd_lookahead * (settings.ssd_fan_out + 1) + pool.page_size
    birth = Birth(
        config=dict(found.manifest.config),
        version=found.manifest.version,
        weights=safetensors.torch.save({name: each.contiguous() for name, each in found.weights.items()}),
        page_size=pool.page_size,
        num_pages=pool.num_pages + settings.max_running * pool.pages_for(room),
        room=room,
        device=settings.ssd_device,
        threads=settings.ssd_threads,
        law=Law(settings.law),
        saguaro=settings.saguaro,
    )
    start, stop = _workers(settings, birth)
    source = SsdSpeculator(
        start,
        stop=stop,
        version=found.manifest.version,
        shape=DecoderConfig.from_hf(found.manifest.config),
        vocab_size=loaded.config.vocab_size,
        lookahead=settings.ssd_lookahead,
        fan_out=settings.ssd_fan_out,
    )
    source.start()
    return source


def _workers(settings: EngineSettings, birth: Birth) -> tuple[Callable[[], Link], Callable[[], None]]:
    """What starts a worker, or waits for one, and what ends that wait."""
    if not settings.ssd_listen:
        return (lambda: WorkerProcess(birth)), (lambda: None)
    from speculator.ssd.remote import RemoteWorkers  # not every torch is built with torch.distributed

    remote = RemoteWorkers(Address.parse(settings.ssd_listen), birth)
    return remote.start, remote.close


def _rival(
    settings: EngineSettings, loaded: LoadedTarget, floors: Mapping[str, Checkpoint | None], pool: PagePool
) -> Speculator | None:
    """A source for a second version of the first kind that may have one, where versions come from a registry."""
    if not settings.registry or not floors:
        return None
    kind, floor = next(iter(floors.items()))
    return _copy(settings, loaded, pool, kind, floor, rival(kind))


def _heads(
    settings: EngineSettings, loaded: LoadedTarget, kind: str, floor: Checkpoint | None, name: str
) -> HeadsSpeculator[Any]:
    decoder = loaded.decoder
    return heads_source(
        served_heads(kind, floor, decoder),
        decoder.logits,
        name=name,
        version=floor.manifest.version if floor else "untrained",
        max_tree=settings.max_tree,
        vocabulary=draft_vocabulary(decoder.output_embeddings()),
    )


def _swap(settings: EngineSettings, loaded: LoadedTarget, trial: Trial, presence: Callable[[], Presence]) -> Swap:
    """Of the first kind that is served; of a draft model no second version can be tried out."""
    kinds = _kinds(settings)
    slot = Slot(target=loaded.fingerprint, kind=kinds[0] if kinds else KIND)
    if not settings.registry or not kinds:
        return Swap(slot)
    return Swap(
        slot,
        open_registry=lambda: open_registry(settings.registry),
        store=open_store(settings.checkpoints),
        interval=settings.poll_seconds,
        presence=presence,
        referee=Referee(slot, settings.rollout, settings.name, trial) if slot.kind in TRIED_OUT else None,
    )


def _further_swaps(settings: EngineSettings, loaded: LoadedTarget) -> tuple[Swap, ...]:
    """Of what drafts beside the first kind: what is published is taken up, and nothing is tried out."""
    if not settings.registry:
        return ()
    return tuple(
        Swap(
            Slot(target=loaded.fingerprint, kind=kind),
            open_registry=lambda: open_registry(settings.registry),
            store=open_store(settings.checkpoints),
            interval=settings.poll_seconds,
        )
        for kind in _kinds(settings)[1:]
    )


def _kinds(settings: EngineSettings) -> list[str]:
    """Of weights that are served and published, draft models last."""
    drafts = {draft_lm.KIND, SSD} & set(settings.sources)
    return [*_kinds_with_floor(settings), *[draft_lm.KIND] * bool(drafts)]


def _kinds_with_floor(settings: EngineSettings) -> list[str]:
    """In the order in which the settings name them."""
    return [each for each in dict.fromkeys(settings.sources) if each in WITH_FLOOR]


def _presence(settings: EngineSettings, engine: Engine) -> Presence:
    counters, scheduler, versions = engine.stats.counters, engine.scheduler, engine.speculator.versions
    steps = counters["decode_steps"]
    return Presence(
        name=f"serving:{settings.name}",
        at=time.time(),
        ttl=10 * settings.poll_seconds + 5.0,
        version=next((versions[name] for name in (*_kinds_with_floor(settings), draft_lm.KIND, SSD) if name in versions), None),
        generation=engine.swap.generation,
        figures={
            "busy": float(scheduler.has_work),
            "num_running": float(scheduler.num_running),
            "num_waiting": float(scheduler.num_waiting),
            "acceptance_length": counters["decode_tokens"] / steps if steps else 1.0,
            "tokens": float(counters["decode_tokens"]),
        },
        state="serving",
        trial=engine.trial.report(),
    )
