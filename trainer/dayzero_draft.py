"""Day zero of a draft language model: it learns from the target's answers to prompts, from nothing or from layers of the target.

As for the first heads (`trainer.dayzero`), nothing else wants the machine.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from models.draft import DraftModel
from pipelines.checkpoint import Manifest
from pipelines.store import CheckpointStore
from speculator.draft_lm import KIND, DraftModelSpeculator
from speculator.records import sampling_of
from speculator.redraft import redraft
from speculator.static_draft import draft_source
from trainer.answers import Answer, Answers
from trainer.dayzero import UNHURRIED
from trainer.dayzero_settings import DraftSettings
from trainer.draft_distil import DraftDistiller, DraftRecipe, Excerpt
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
"""Texts read together: they are padded to the longest, so few."""


def first_draft(
    taught: Taught,
    answers: Sequence[Answer],
    store: CheckpointStore,
    settings: DraftSettings,
    progress: Callable[[int, float], None] = lambda step, loss: None,
    *,
    start: DraftModel | None = None,
) -> Manifest:
    """Trains a draft model for a target and saves it as a checkpoint, in bfloat16; the manifest says what it is worth.

    start: what it begins as, and is trained in place; None: as nothing but the target's embeddings, in the shape of `settings`.
    progress: called after each step with its number and its loss. Raises ValueError when there is no answer to learn from.
    """
    known = Answers.of(answers, taught, settings.held_out)
    draft = start or _begun(taught, settings)
    weights = _trained(draft, taught, known.studied, settings, progress)
    judgement = _judged(taught, known.held_out, draft.config, weights, settings) if len(known.held_out) > 1 else None
    log.info("first draft model: %s", judgement)
    manifest, _ = store.save(
        weights,
        kind=KIND,
        parent=None,
        target=taught.fingerprint,
        tokenizer=taught.tokenizer,
        config=draft.config,
        created_at=time.time(),
        span=known.span,
        evaluation=evaluation_of(judgement, settings.budget) if judgement else None,
        note="day zero: learnt from the target's answers to prompts, judged against drafting nothing",
    )
    return manifest


def _begun(taught: Taught, settings: DraftSettings) -> DraftModel:
    draft = DraftModel(settings.shape.config_for(taught.decoder.config), torch.Generator().manual_seed(settings.seed))
    draft.start_from(taught.decoder.output_embeddings())
    return draft


def _trained(
    draft: DraftModel,
    taught: Taught,
    studied: Sequence[Kept],
    settings: DraftSettings,
    progress: Callable[[int, float], None],
) -> dict[str, Tensor]:
    decoder = taught.decoder
    generator = torch.Generator().manual_seed(settings.seed)
    lessons = LessonCache(ReplayTeacher(decoder, Sizing(UNHURRIED, first=4096)), settings.cache_bytes)
    columns = decoder.output_embeddings().to(fast_dtype(decoder.device)).contiguous()
    shortlist = Shortlist(columns, settings.common_tokens, settings.sampled_tokens, generator)
    if not shortlist.whole:
        for trace in studied:
            shortlist.see(sample_rows(finish(lessons.read(trace))))
    rate = settings.learning_rate
    recipe = DraftRecipe(learning_rate=rate, rows_per_step=settings.rows_per_step, hybrid=settings.hybrid)
    distiller = DraftDistiller(draft.to(decoder.device), shortlist, recipe)
    waiting: list[Kept] = []
    until = time.monotonic() + settings.seconds
    for step in range(settings.steps):
        way = max(step / settings.steps, 1 - (until - time.monotonic()) / settings.seconds)
        if way >= 1:
            break
        distiller.recipe = replace(recipe, learning_rate=rate * min(1.0, (1 - way) / (1 - _SLOWER_FROM)))
        while not distiller.ready:
            waiting = waiting or _shuffled(studied, generator)
            traces, waiting = waiting[:_AT_ONCE], waiting[_AT_ONCE:]
            distiller.teach([Excerpt.of(each, finish(lessons.read(each)), settings.max_tokens) for each in traces])
        distiller.step()
        progress(step + 1, distiller.loss)
    return distiller.averaged()


def _shuffled(traces: Sequence[Kept], generator: torch.Generator) -> list[Kept]:
    return [traces[index] for index in torch.randperm(len(traces), generator=generator).tolist()]


def _judged(
    taught: Taught,
    held_out: Sequence[Kept],
    config: Mapping[str, int | float | str | bool],
    weights: Mapping[str, Tensor],
    settings: DraftSettings,
) -> Judgement:
    """What it is worth on answers kept aside, drafting alone, against drafting nothing: a step for each token."""
    draft = DraftModel.from_config(config)
    draft.copy_weights(weights)
    decoder = taught.decoder
    source = draft_source(draft, version="", max_tree=settings.budget, device=decoder.device, dtype=decoder.dtype)
    scores = [_score(each, source, settings.budget) for each in held_out]
    return finish(judge(scores, Rules(min_conversations=2), look=1, seed=settings.seed))


def _score(trace: Kept, source: DraftModelSpeculator, budget: int) -> Score:
    sampling = sampling_of(trace.trace.sampling)
    num_prompt = len(trace.trace.prompt_ids)
    drafted = redraft(source, trace.tokens, num_prompt, sampling, num_nodes=budget, number=trace.number)
    return Score(trace.trace.tenant, trace.domain, drafted.num_tokens, drafted.num_tokens, drafted.num_steps)
