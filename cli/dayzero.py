"""`everdraft dayzero`: first heads for a target from prompts alone, which the target answers."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cli.answers import Text, answered
from cli.config import Configuration
from cli.demo.prompt_files import read_prompts
from cli.demo.prompts import Prompt, prompts
from cli.demo.supply import WARM
from cli.errors import UsageError
from cli.target import loaded_target
from models.loading import Target
from pipelines.checkpoint import Manifest
from pipelines.registry import Slot, open_registry
from pipelines.store import CheckpointStore, open_store
from serving.assemble import build_engine
from speculator.static_heads import KIND
from trainer.assemble import Taught
from trainer.dayzero import DayZeroSettings, first_heads

_AT_ONCE = 16
_SHOWN_EVERY = 50
"""Answers, or steps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """What the heads are to learn from."""

    files: tuple[Path, ...]
    """Of prompts; empty: the project's own stories and dialogues."""
    limit: int
    """Prompts, at most."""
    temperature: float
    seed: int


def dayzero(config: Configuration, lesson: Lesson, *, out: Path | None, given: Mapping[str, int | float]) -> None:
    """Trains heads and writes them into the folder `out`, or publishes them where there is none.

    given: fields of `DayZeroSettings` that are not to have their default. Raises UsageError for a value that
    cannot work and for prompts that taught nothing, ModelError, PipelineError.
    """
    try:
        settings = DayZeroSettings(**given, seed=lesson.seed)  # type: ignore[arg-type]  # checked at the door
        store = open_store(out or config.registry.checkpoints)
        target = loaded_target(config)
        texts = list(_answers(config, target, _prompts(lesson), lesson))
        manifest = _learnt(target, texts, store, settings)
    except ValueError as error:
        raise UsageError(str(error)) from None
    judged = manifest.evaluation
    worth = f", {judged.tokens_per_step:.3f} tokens per step on answers kept aside" if judged else ""
    print(f"version {manifest.version}: {manifest.span.num_traces} answers{worth}")
    print(_published(config, manifest) if out is None else f"written to {out / manifest.version}")


def _prompts(lesson: Lesson) -> list[Prompt]:
    if lesson.files:
        return list(itertools.islice(read_prompts(lesson.files), lesson.limit))
    sources = [prompts(domain, lesson.seed, "training") for domain in WARM]
    in_turns = itertools.chain.from_iterable(zip(*sources, strict=False))
    return list(itertools.islice(in_turns, lesson.limit))


def _answers(config: Configuration, target: Target, asked: Sequence[Prompt], lesson: Lesson) -> Iterator[Text]:
    engine = build_engine(replace(config.engine, registry="", shadow_every=0), target)
    texts = answered(engine, target, asked, temperature=lesson.temperature, seed=lesson.seed, at_once=_AT_ONCE)
    for number, text in enumerate(texts, 1):
        _show(number, f"the target answers: {number} of {len(asked)}")
        yield text


def _learnt(target: Target, texts: Sequence[Text], store: CheckpointStore, settings: DayZeroSettings) -> Manifest:
    def progress(step: int, loss: float) -> None:
        _show(step, f"the heads learn: step {step} of {settings.steps}, loss {loss:.3f}")

    return first_heads(
        Taught(target.decoder, target.fingerprint, target.tokenizer.fingerprint),
        [text.tokens[: text.num_prompt] for text in texts],
        lambda asked: [text.output_ids for text in texts],
        store,
        settings,
        progress,
    )


def _published(config: Configuration, manifest: Manifest) -> str:
    """A location is the version's own name (`pipelines.store`)."""
    slot = Slot(target=manifest.target, kind=KIND)
    registry = open_registry(config.registry.url)
    try:
        generation = registry.state(slot).generation
        state = registry.publish(slot, manifest, manifest.version, expected_generation=generation, detail="day zero")
    finally:
        registry.close()
    return f"published: champion of generation {state.generation}"


def _show(number: int, words: str) -> None:
    if number % _SHOWN_EVERY == 0:
        print(words, file=sys.stderr)
