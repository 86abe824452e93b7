"""The trainer's process: settings in, better drafts at the registry out, until it is told to stop."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress

import torch

from models.loading import Dtype, load_target
from pipelines.errors import RegistryUnavailable
from pipelines.registry import Presence, Registry, open_registry
from pipelines.traffic_log import open_reader
from trainer.assemble import assemble, state_file
from trainer.metrics import MetricsServer, TrainerCollector
from trainer.precision import fast_dtype
from trainer.presence import presence_of
from trainer.settings import TrainerSettings
from trainer.slices import Load, Pacer, load_of
from trainer.taught import Taught
from trainer.trainer import Trainer

log = logging.getLogger(__name__)

_ANNOUNCE_SECONDS = 1.0


def run(settings: TrainerSettings, stop: threading.Event) -> None:
    """Trains until `stop` is set; what was learnt is saved before it returns.

    One thread, and below the server in priority: beside one it lives on idle time and its guaranteed share.
    Raises BadModel or UnsupportedModel for the target, BadUrl for a URL, CorruptCheckpoint for damaged static weights, OSError
    where the metrics' port is taken or another trainer has the state.
    """
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)  # chances too small to matter would take most of the time of every softmax
    os.nice(settings.niceness)
    taught = taught_by(settings)
    file = state_file(settings, taught)
    collector = TrainerCollector()
    with ExitStack() as closing:
        closing.enter_context(file.locked())
        registry = closing.enter_context(contextlib.closing(open_registry(settings.registry)))
        reader = closing.enter_context(contextlib.closing(open_reader(settings.traffic)))
        if settings.metrics_port:
            closing.callback(MetricsServer(collector, settings.metrics_host, settings.metrics_port).close)
        work(settings, assemble(settings, taught, reader, registry), registry, stop, collector.says)


def taught_by(settings: TrainerSettings) -> Taught:
    """The target as it is served, loaded to teach. Raises BadModel or UnsupportedModel."""
    target = load_target(settings.target, revision=settings.revision, dtype=_dtype(settings), device=settings.device)
    return Taught(target.decoder, target.fingerprint, target.tokenizer.fingerprint, target.stored)


def work(
    settings: TrainerSettings,
    trainer: Trainer,
    registry: Registry,
    stop: threading.Event,
    says: Callable[[Presence], None] = lambda presence: None,
) -> None:
    """Runs the slices of `trainer` until `stop` is set, paced, saved and announced; saves once more at the end.

    says: is told too what the registry is told.
    """
    pacer = Pacer(
        lambda: _load(registry),
        share=settings.guaranteed_share,
        interval=settings.poll_seconds,
        wait=stop.wait,
    )
    progress = trainer.record.progress
    pacer.used.idle, pacer.used.guaranteed, pacer.used.alone = progress.used
    save_at = announce_at = 0.0
    slices = trainer.work()
    while not stop.is_set():
        if not pacer.run(lambda: next(slices)):
            began = time.monotonic()
            stop.wait(settings.poll_seconds)
            if trainer.resting:
                progress.rested += time.monotonic() - began
        progress.used = (pacer.used.idle, pacer.used.guaranteed, pacer.used.alone)
        now = time.monotonic()
        if now >= save_at or trainer.saving_due:
            _save(trainer)
            save_at = now + settings.commit_seconds
        if now >= announce_at:
            presence = presence_of(trainer, settings.name, pacer.used, time.time())
            says(presence)
            _announce(registry, presence)
            announce_at = now + _ANNOUNCE_SECONDS
    _save(trainer)
    with suppress(RegistryUnavailable):
        trainer.resign()


def _dtype(settings: TrainerSettings) -> Dtype:
    if settings.served_dtype == "int8":
        return "int8"
    if settings.dtype == "auto":
        fastest = fast_dtype(torch.device(settings.device))
        return "bfloat16" if fastest == torch.bfloat16 else "float32"
    return "bfloat16" if settings.dtype == "bfloat16" else "float32"


def _load(registry: Registry) -> Load:
    try:
        return load_of(registry.presences(time.time()))
    except RegistryUnavailable:
        return "busy"  # nobody knows: take no more than what is guaranteed


def _announce(registry: Registry, presence: Presence) -> None:
    try:
        registry.announce(presence)
    except RegistryUnavailable as error:
        log.warning("%s", error)


def _save(trainer: Trainer) -> None:
    try:
        trainer.save()
    except OSError as error:
        log.error("state not saved, what was learnt since is only in memory: %s", error)
