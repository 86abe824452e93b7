"""Day zero: first heads from prompts alone. The target answers them, and its answers are what the heads learn.

Here nothing else wants the machine: no slices, no pauses, as many threads as torch may use.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch

from models.heads import MedusaHeads
from pipelines.checkpoint import Manifest, TrafficSpan
from pipelines.store import CheckpointStore
from pipelines.trace import SamplingRecord, Trace
from speculator.static_heads import KIND
from trainer.assemble import Taught, unembed
from trainer.champion import Champion
from trainer.distil import Distiller, Recipe
from trainer.gate import Judgement, Rules, judge
from trainer.judge import Judge
from trainer.kept import Kept
from trainer.lessons import Passage
from trainer.precision import fast_dtype
from trainer.publish import evaluation_of
from trainer.shortlist import Shortlist
from trainer.sizing import Sizing
from trainer.slicing import finish
from trainer.study import random_run, sample_rows
from trainer.teacher import LessonCache, ReplayTeacher

log = logging.getLogger(__name__)

Tokens = Sequence[int]
Generate = Callable[[Sequence[Tokens]], Sequence[Tokens]]
"""Prompts -> the target's answer to each, both as token ids."""

_SLOWER_FROM = 2 / 3
"""Of the way, from which steps are a third as long: the last third settles."""
_UNHURRIED = 60.0
"""Seconds a slice may take where nobody waits."""


@dataclass(frozen=True, kw_only=True)
class DayZeroSettings:
    """Raises ValueError, naming the field, for a value that cannot work."""

    num_heads: int = 4
    num_blocks: int = 1
    steps: int = 2000
    """Steps of the optimiser, unless `seconds` are over first."""
    seconds: float = 3600.0
    """Of training, the answering not counted."""
    rows_per_step: int = 512
    """Output tokens a step learns from."""
    learning_rate: float = 2e-3
    common_tokens: int = 1024
    sampled_tokens: int = 1024
    held_out: int = 64
    """Prompts kept aside, to say what the heads are worth."""
    budget: int = 16
    """Draft nodes per step at which that is said."""
    cache_bytes: int = 4 << 30
    """Memory for what the target said of its answers."""
    seed: int = 0

    def __post_init__(self) -> None:
        for field in ("num_heads", "num_blocks", "steps", "rows_per_step", "common_tokens", "budget", "cache_bytes"):
            if getattr(self, field) < 1:
                raise ValueError(f"{field} is {getattr(self, field)}, expected at least 1")
        for field in ("sampled_tokens", "held_out"):
            if getattr(self, field) < 0:
                raise ValueError(f"{field} is {getattr(self, field)}, expected 0 or more")
        for field in ("seconds", "learning_rate"):
            if not getattr(self, field) > 0:  # nor nan
                raise ValueError(f"{field} is {getattr(self, field)}, expected more than 0")


def first_heads(
    taught: Taught,
    prompts: Sequence[Tokens],
    generate: Generate,
    store: CheckpointStore,
    settings: DayZeroSettings,
    progress: Callable[[int, float], None] = lambda step, loss: None,
) -> Manifest:
    """Trains heads for a target and saves them as a checkpoint; the manifest says what they are worth.

    progress: called after each step with its number and its loss. Raises ValueError when no prompt got an answer
    to learn from.
    """
    answers = [
        _kept(number, prompt, output, taught)
        for number, (prompt, output) in enumerate(zip(prompts, generate(prompts), strict=True))
        if len(prompt) and len(output) >= 2
    ]
    held_out = answers[: min(settings.held_out, len(answers) // 2)]
    studied = answers[len(held_out) :]
    if not studied:
        raise ValueError(f"prompts: {len(prompts)}, and no answer of two tokens or more to learn from")
    lessons = LessonCache(ReplayTeacher(taught.decoder, Sizing(_UNHURRIED, first=4096)), settings.cache_bytes)
    heads = _train(taught, studied, lessons, settings, progress)
    judgement = _judge(taught, held_out, lessons, heads, settings) if len(held_out) > 1 else None
    log.info("first heads: %s", judgement)
    manifest, _ = store.save(
        dict(heads.named_parameters()),
        kind=KIND,
        parent=None,
        target=taught.fingerprint,
        tokenizer=taught.tokenizer,
        config=heads.config,
        created_at=time.time(),
        span=TrafficSpan(num_traces=len(studied), num_tokens=sum(each.num_rows for each in studied)),
        evaluation=evaluation_of(judgement, settings.budget) if judgement else None,
        note="day zero: learnt from the target's answers to prompts, judged against untrained heads",
    )
    return manifest


def _kept(number: int, prompt: Tokens, output: Tokens, taught: Taught) -> Kept:
    trace = Trace(
        trace_id=f"dayzero-{number}",
        conversation=str(number),
        started_at=0.0,
        finished_at=0.0,
        target=taught.fingerprint,
        tokenizer=taught.tokenizer,
        prompt_ids=tuple(prompt),
        output_ids=tuple(output),
        finish_reason="length",
        sampling=SamplingRecord(temperature=0.0, top_p=1.0, top_k=0, min_p=0.0, seed=0, max_tokens=len(output)),
    )
    return Kept.of(number, trace)


def _train(
    taught: Taught,
    studied: Sequence[Kept],
    lessons: LessonCache,
    settings: DayZeroSettings,
    progress: Callable[[int, float], None],
) -> MedusaHeads:
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
    heads: MedusaHeads,
    settings: DayZeroSettings,
) -> Judgement:
    device = taught.decoder.device
    court = Judge(
        lessons,
        partial(unembed, taught.decoder),
        budget=settings.budget,
        device=device,
        sizing=Sizing(_UNHURRIED, first=256),
    )
    scores = finish(court.scores(held_out, Champion.untrained(_untrained(taught, settings)), heads))
    return finish(judge(scores, Rules(min_conversations=2), look=1, seed=settings.seed))


def _untrained(taught: Taught, settings: DayZeroSettings) -> MedusaHeads:
    config = taught.decoder.config
    heads = MedusaHeads(config.hidden_size, settings.num_heads, settings.num_blocks, config.vocab_size)
    return heads.to(taught.decoder.device)
