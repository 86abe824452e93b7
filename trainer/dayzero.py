"""Day zero: first heads from prompts alone. The target answered them, and its answers are what the heads learn.

Here nothing else wants the machine: no slices, no pauses, as many threads as torch may use.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

from models.heads import DraftHeads
from pipelines.checkpoint import Manifest
from pipelines.store import CheckpointStore
from speculator.static_heads import heads_of, untrained_config
from trainer.answers import Answer, Answers
from trainer.champion import Champion
from trainer.dayzero_settings import HeadsSettings
from trainer.distil import Distiller, Recipe
from trainer.gate import Judgement, Rules, judge
from trainer.heads_drafter import HeadsDrafter
from trainer.heads_trade import random_run
from trainer.judge import Judge
from trainer.kept import Kept
from trainer.lessons import Passage
from trainer.precision import fast_dtype
from trainer.publish import evaluation_of
from trainer.shortlist import Shortlist
from trainer.sizing import Sizing
from trainer.slicing import finish
from trainer.study import sample_rows
from trainer.taught import Taught
from trainer.teacher import LessonCache, ReplayTeacher

log = logging.getLogger(__name__)

_SLOWER_FROM = 2 / 3
"""Of the way, from which steps are a third as long: the last third settles."""
UNHURRIED = 60.0
"""Seconds a slice may take where nobody waits."""


def first_heads(
    taught: Taught,
    answers: Sequence[Answer],
    store: CheckpointStore,
    settings: HeadsSettings,
    progress: Callable[[int, float], None] = lambda step, loss: None,
) -> Manifest:
    """Trains heads for a target and saves them as a checkpoint; the manifest says what they are worth.

    progress: called after each step with its number and its loss. Raises ValueError when there is no answer to learn from.
    """
    known = Answers.of(answers, taught, settings.held_out)
    lessons = LessonCache(ReplayTeacher(taught.decoder, Sizing(UNHURRIED, first=4096)), settings.cache_bytes)
    heads = _train(taught, known.studied, lessons, settings, progress)
    judgement = _judge(taught, known.held_out, lessons, heads, settings) if len(known.held_out) > 1 else None
    log.info("first heads: %s", judgement)
    manifest, _ = store.save(
        dict(heads.named_parameters()),
        kind=settings.kind,
        parent=None,
        target=taught.fingerprint,
        tokenizer=taught.tokenizer,
        config=heads.config,
        created_at=time.time(),
        span=known.span,
        evaluation=evaluation_of(judgement, settings.budget) if judgement else None,
        note="day zero: learnt from the target's answers to prompts, judged against untrained heads",
    )
    return manifest


def _train(
    taught: Taught,
    studied: Sequence[Kept],
    lessons: LessonCache,
    settings: HeadsSettings,
    progress: Callable[[int, float], None],
) -> DraftHeads:
    decoder = taught.decoder
    generator = torch.Generator().manual_seed(settings.seed)
    columns = decoder.output_embeddings().to(fast_dtype(decoder.device)).contiguous()
    shortlist = Shortlist(columns, settings.common_tokens, settings.sampled_tokens, generator)
    for trace in studied:
        shortlist.see(sample_rows(finish(lessons.read(trace))))
    recipe = Recipe(learning_rate=settings.learning_rate, rows_per_step=settings.rows_per_step, averaging=0.99)
    distiller = Distiller(_untrained(taught, settings), shortlist, recipe)
    until = time.monotonic() + settings.seconds
    for step in range(settings.steps):
        way = max(step / settings.steps, 1 - (until - time.monotonic()) / settings.seconds)
        if way >= 1:
            break
        rate = settings.learning_rate / (3 if way >= _SLOWER_FROM else 1)
        distiller.recipe = replace(recipe, learning_rate=rate)
        _step(distiller, studied, lessons, generator)
        progress(step + 1, distiller.loss)
    heads = _untrained(taught, settings)
    heads.copy_weights(distiller.averaged())
    return heads


def _step(distiller: Distiller, studied: Sequence[Kept], lessons: LessonCache, generator: torch.Generator) -> None:
    while not distiller.ready:
        drawn = torch.randint(len(studied), (4,), generator=generator).tolist()
        runs = [random_run(finish(lessons.read(studied[index])), generator) for index in drawn]
        distiller.teach(Passage.of(runs))
    distiller.step()


def _judge(
    taught: Taught,
    held_out: Sequence[Kept],
    lessons: LessonCache,
    heads: DraftHeads,
    settings: HeadsSettings,
) -> Judgement:
    def drafter(heads: DraftHeads) -> HeadsDrafter:
        return HeadsDrafter(heads, lessons, taught.unembed, budget=settings.budget, sizing=Sizing(UNHURRIED, first=256))

    untrained = _untrained(taught, settings)
    court = Judge(lambda champion: drafter(untrained))
    standing = Champion.untrained(untrained.config, dict(untrained.named_parameters()))
    scores = finish(court.scores(held_out, standing, drafter(heads)))
    return finish(judge(scores, Rules(min_conversations=2), look=1, seed=settings.seed))


def _untrained(taught: Taught, settings: HeadsSettings) -> DraftHeads:
    config = untrained_config(settings.kind, taught.decoder.config, settings.num_heads, settings.num_blocks)
    return heads_of(settings.kind, config, taught.decoder)
