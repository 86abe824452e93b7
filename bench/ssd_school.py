"""School: a draft model that learnt the target's answers to training prompts of the domains it is measured on."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from bench.context import Bench
from bench.errors import BenchError
from bench.rig import Answer
from models.draft import DraftModel
from models.source import locate
from models.weights import read_weights
from pipelines.store import open_store
from pipelines.trace import SamplingRecord, Trace
from speculator.draft_lm import KIND
from speculator.static_draft import draft_model, find_static_draft
from trainer.dayzero_settings import RATE_OF_LAYERS
from trainer.draft_distil import DraftDistiller, DraftRecipe
from trainer.excerpt import Excerpt
from trainer.kept import Kept
from trainer.precision import fast_dtype
from trainer.shortlist import Shortlist
from trainer.sizing import Sizing
from trainer.slicing import finish
from trainer.teacher import ReplayTeacher

_MAX_TOKENS = 512
_TEXTS = 8
"""Of a slice."""
_SETTLING = 0.4
"""Of the time, at the end, in which the steps become smaller."""


_LAYERS = 3
"""Of the target, with which the draft begins: a sixteenth of the cost-true target's work. Larger than the bundled draft, since
what drafts beside the target has the time."""


def drafted_for(bench: Bench, domains: Sequence[str]) -> DraftModel:
    """The one that another run has made; else answers of the target at temperatures 0 and 0.8, then so many seconds of training.

    Raises BenchError where there is none for this target in the folder that was named.
    """
    loaded = bench.house.loaded
    if bench.draft:
        found = find_static_draft(Path(bench.draft), target=loaded.fingerprint, tokenizer=loaded.tokenizer.fingerprint)
        if found is None:
            raise BenchError(f"--draft {bench.draft}: no draft model for this target there")
        bench.say(f"  draft model {found.manifest.version}: {found.manifest.note}")
        return draft_model(found)
    draft = _made(bench, domains)
    open_store(str(bench.out / "draft")).save(
        {name: tensor.detach() for name, tensor in draft.tensors.items()},
        kind=KIND,
        parent=None,
        target=loaded.fingerprint,
        tokenizer=loaded.tokenizer.fingerprint,
        config=draft.config,
        created_at=time.time(),
        note=f"learnt {', '.join(domains)} for {bench.sizes.ssd_school_seconds:g} s",
    )
    return draft


def _made(bench: Bench, domains: Sequence[str]) -> DraftModel:
    sizes, loaded = bench.sizes, bench.house.loaded
    asks = [
        ask.at((0.0, 0.8)[number % 2])
        for domain in domains
        for number, ask in enumerate(bench.supply.training(domain, sizes.ssd_lessons))
    ]
    bench.say(f"  a draft model learns from {len(asks)} answers, for {sizes.ssd_school_seconds:g} s")
    answers = bench.house.plain.run(asks, 16, learn=False)
    teacher = ReplayTeacher(loaded.decoder, Sizing(60.0, first=4096))
    excerpts = []
    for number, answer in enumerate(answers):
        if len(answer.token_ids) >= 2:
            trace = _kept(number, answer, loaded.fingerprint, loaded.tokenizer.fingerprint)
            excerpts.append(Excerpt.of(trace, finish(teacher.read(trace)), _MAX_TOKENS))
    settings = bench.house.settings
    weights = read_weights(locate(settings.target, settings.revision), loaded.config)
    last = loaded.config.num_layers - 1
    draft = DraftModel.of_layers(loaded.config, weights, sorted({*range(min(_LAYERS, last + 1) - 1), last}))
    _taught(draft, excerpts, loaded.decoder.output_embeddings(), sizes.ssd_school_seconds)
    return draft


def _taught(draft: DraftModel, excerpts: Sequence[Excerpt], embeddings: torch.Tensor, seconds: float) -> None:
    generator = torch.Generator().manual_seed(0)
    columns = embeddings.to(fast_dtype(embeddings.device)).contiguous()
    recipe = DraftRecipe(learning_rate=RATE_OF_LAYERS)
    distiller = DraftDistiller(draft, Shortlist(columns, len(columns), 0, generator), recipe)
    started = time.monotonic()
    while (way := (time.monotonic() - started) / seconds) < 1:
        rate = recipe.learning_rate * min(1.0, max(0.02, (1 - way) / _SETTLING))
        distiller.recipe = replace(recipe, learning_rate=rate)
        while not distiller.ready:
            drawn = torch.randint(len(excerpts), (_TEXTS,), generator=generator).tolist()
            distiller.teach([excerpts[index] for index in drawn])
        distiller.step()
    draft.copy_weights(distiller.averaged())


def _kept(number: int, answer: Answer, target: str, tokenizer: str) -> Kept:
    ask = answer.ask
    trace = Trace(
        trace_id=f"lesson-{number}",
        conversation=str(number),
        started_at=0.0,
        finished_at=0.0,
        target=target,
        tokenizer=tokenizer,
        prompt_ids=ask.prompt_ids,
        output_ids=tuple(answer.token_ids),
        finish_reason="length",
        sampling=SamplingRecord(
            temperature=ask.temperature, top_p=1.0, top_k=0, min_p=0.0, seed=ask.seed, max_tokens=ask.max_tokens
        ),
    )
    return Kept.of(number, trace)
