"""Day zero of an EAGLE layer: it learns from the target's answers to prompts.

As for the first heads (`trainer.dayzero`), nothing else wants the machine.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from models.eagle import EagleLayer, layers_read, untrained_config
from pipelines.checkpoint import Manifest
from pipelines.store import CheckpointStore
from speculator.eagle import EagleSpeculator
from speculator.kinds import EAGLE
from speculator.records import sampling_of
from speculator.redraft import redraft
from speculator.static_eagle import eagle_source
from trainer.answers import Answer, Answers
from trainer.dayzero import UNHURRIED
from trainer.dayzero_settings import EagleSettings
from trainer.eagle_distil import EagleDistiller, EagleRecipe, Passage
from trainer.gate import Judgement, Rules, Score, judge
from trainer.kept import Kept
from trainer.precision import fast_dtype
from trainer.publish import evaluation_of
from trainer.shortlist import Shortlist
from trainer.sizing import Sizing
from trainer.slicing import finish
from trainer.study import sample_rows
from trainer.taught import Taught
from trainer.teacher import LessonCache, ReplayTeacher

log = logging.getLogger(__name__)

_SLOWER_FROM = 0.6
"""Of the way, from which steps get shorter, down to nothing at its end."""
_AT_ONCE = 4
"""Texts read together, which are padded to the longest."""


def first_layer(
    taught: Taught,
    answers: Sequence[Answer],
    store: CheckpointStore,
    settings: EagleSettings,
    progress: Callable[[int, float], None] = lambda step, loss: None,
) -> Manifest:
    """Trains a layer for a target and saves it as a checkpoint, in bfloat16; the manifest says what it is worth.

    progress: called after each step with its number and its loss. Raises ValueError when there is no answer to learn from.
    """
    known = Answers.of(answers, taught, settings.held_out)
    layer = EagleLayer(untrained_config(taught.decoder.config, parallel=settings.parallel), taught.decoder)
    weights = _trained(layer, taught, known.studied, settings, progress)
    layer.copy_weights(weights)
    judgement = _judged(layer, known.held_out, settings) if len(known.held_out) > 1 else None
    log.info("first eagle layer: %s", judgement)
    manifest, _ = store.save(
        weights,
        kind=EAGLE,
        parent=None,
        target=taught.fingerprint,
        tokenizer=taught.tokenizer,
        config=layer.config,
        created_at=time.time(),
        span=known.span,
        evaluation=evaluation_of(judgement, settings.budget) if judgement else None,
        note="day zero: learnt from the target's answers to prompts, judged against drafting nothing",
    )
    return manifest


def _trained(
    layer: EagleLayer,
    taught: Taught,
    studied: Sequence[Kept],
    settings: EagleSettings,
    progress: Callable[[int, float], None],
) -> dict[str, Tensor]:
    decoder = taught.decoder
    generator = torch.Generator().manual_seed(settings.seed)
    teacher = ReplayTeacher(decoder, Sizing(UNHURRIED, first=4096), layers_read(decoder.config))
    lessons = LessonCache(teacher, settings.cache_bytes)
    columns = decoder.output_embeddings().to(fast_dtype(decoder.device)).contiguous()
    shortlist = Shortlist(columns, settings.common_tokens, settings.sampled_tokens, generator)
    for trace in studied:
        shortlist.see(sample_rows(finish(lessons.read(trace))))
    rate = settings.learning_rate
    recipe = EagleRecipe(learning_rate=rate, rows_per_step=settings.rows_per_step, averaging=0.99)
    distiller = EagleDistiller(layer, shortlist, recipe)
    waiting: list[list[Kept]] = []
    until = time.monotonic() + settings.seconds
    for step in range(settings.steps):
        way = max(step / settings.steps, 1 - (until - time.monotonic()) / settings.seconds)
        if way >= 1:
            break
        distiller.recipe = replace(recipe, learning_rate=rate * min(1.0, (1 - way) / (1 - _SLOWER_FROM)))
        while not distiller.ready:
            waiting = waiting or _groups(studied, generator)
            traces = waiting.pop()
            known = [(each, finish(lessons.read(each))) for each in traces]
            distiller.teach([Passage.of(*each, settings.max_tokens, generator) for each in known])
        distiller.step()
        progress(step + 1, distiller.loss)
    return distiller.averaged()


def _groups(traces: Sequence[Kept], generator: torch.Generator) -> list[list[Kept]]:
    """All of them in any order, those of like length together."""
    order = sorted(traces, key=lambda trace: len(trace.tokens))
    groups = [order[start : start + _AT_ONCE] for start in range(0, len(order), _AT_ONCE)]
    return [groups[index] for index in torch.randperm(len(groups), generator=generator).tolist()]


def _judged(layer: EagleLayer, held_out: Sequence[Kept], settings: EagleSettings) -> Judgement:
    """What it is worth on answers kept aside, drafting alone, against drafting nothing: a step for each token."""
    source = eagle_source(layer, version="", max_tree=settings.budget)
    scores = [_score(each, source, layer, settings.budget) for each in held_out]
    return finish(judge(scores, Rules(min_conversations=2), look=1, seed=settings.seed))


def _score(trace: Kept, source: EagleSpeculator, layer: EagleLayer, budget: int) -> Score:
    _, layers = layer.decoder.read(torch.tensor(trace.tokens[:-1]), layer.layers)
    drafted = redraft(
        source,
        trace.tokens,
        len(trace.trace.prompt_ids),
        sampling_of(trace.trace.sampling),
        num_nodes=budget,
        number=trace.number,
        layers=layers,
    )
    return Score(trace.trace.tenant, trace.domain, drafted.num_tokens, drafted.num_tokens, drafted.num_steps)
