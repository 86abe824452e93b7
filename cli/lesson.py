"""Lesson: what a target is to be learnt from before there is traffic: its own answers, kept in files or made now."""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from cli.answer_files import holds_answers, read_answers, text_of
from cli.answers import Text, answered
from cli.config import Configuration
from cli.demo.prompt_files import MAX_TOKENS, read_prompts
from cli.demo.prompts import Prompt, prompts
from cli.demo.supply import WARM
from models.loading import Target
from serving.assemble import build_engine
from serving.engine import Engine
from speculator.records import record_of
from trainer.answers import Answer
from trainer.taught import Taught

AT_ONCE = 16
"""Answers under way at the same time."""
_SHOWN_EVERY = 50
"""Answers, or steps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """What is to be learnt from."""

    files: tuple[Path, ...]
    """Of prompts or of answers; empty: the project's own stories and dialogues."""
    limit: int | None
    """Answers, at most; None: as many as suit what learns."""
    temperature: float
    seed: int
    max_tokens: int = MAX_TOKENS
    """Of an answer to a prompt of a file."""
    every_turn: bool = False
    """Of recorded conversations every answer is wanted, behind the target's own; else one of them, behind those recorded."""
    for_all: bool = True
    """Whether everybody will be drafted for with what is learnt: then of traces in files those teach that everybody may learn
    from."""


def texts_of(config: Configuration, target: Target, lesson: Lesson, limit: int) -> Iterator[Text]:
    """Answers that files hold, then those that the target gives now to prompts. Raises UsageError for a file that cannot be used.

    limit: of both together, unless the lesson says how many.
    """
    limit = lesson.limit or limit
    kept, asked = _sorted(lesson.files)
    known = _kept(lesson, target, kept, limit)
    yield from known
    if len(known) < limit and (asked or not kept):
        yield from _answers(config, target, lesson, asked, limit - len(known))


def as_answers(texts: Sequence[Text]) -> list[Answer]:
    """As the trainer takes them."""
    return [Answer(text.prompt_ids, text.output_ids, record_of(text.sampling), text.conversation) for text in texts]


def taught_by(target: Target) -> Taught:
    """The target, as the trainer takes it."""
    return Taught(target.decoder, target.fingerprint, target.tokenizer.fingerprint, target.stored)


@contextmanager
def answering_engine(config: Configuration, target: Target) -> Iterator[Engine]:
    """One that nobody else talks to, and that takes nothing which is a running server's: registry, folder, port."""
    alone = replace(config.engine, registry="", suffix_folder="", ssd_listen="", shadow_every=0, max_waiting=AT_ONCE)
    with closing(build_engine(alone, target)) as engine:
        yield engine


def show(number: int, words: str) -> None:
    """Says every now and then how far it is."""
    if number % _SHOWN_EVERY == 0:
        print(words, file=sys.stderr)


def show_learning(steps: int, step: int, loss: float) -> None:
    show(step, f"learning: step {step} of {steps}, loss {loss:.3f}")


def _sorted(files: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Files of answers, and of prompts."""
    kept = [file for file in files if holds_answers(file)]
    return kept, [file for file in files if file not in kept]


def _kept(lesson: Lesson, target: Target, files: Sequence[Path], limit: int) -> list[Text]:
    """Of answers in files, those that may be used; says how many may not."""
    texts: list[Text] = []
    left_out = 0
    for trace in itertools.chain.from_iterable(read_answers(file, target) for file in files):
        if len(texts) == limit:
            break
        if (trace.consent == "shared" or not lesson.for_all) and (trace.expires_at is None or trace.expires_at > time.time()):
            texts.append(text_of(trace))
        else:
            left_out += 1
    if left_out:
        whose = "are for their tenant's speculators alone or " if lesson.for_all else ""
        print(f"{left_out} answers in files are left out: they {whose}have expired", file=sys.stderr)
    return texts


def _answers(config: Configuration, target: Target, lesson: Lesson, files: Sequence[Path], limit: int) -> Iterator[Text]:
    asked = _prompts(lesson, files, limit)
    print(f"the target answers {len(asked)} prompts …", file=sys.stderr)
    with answering_engine(config, target) as engine:
        texts = answered(
            engine,
            target,
            asked,
            temperature=lesson.temperature,
            seed=lesson.seed,
            at_once=AT_ONCE,
            every_turn=lesson.every_turn,
        )
        for number, text in enumerate(itertools.islice(texts, limit), 1):
            show(number, f"answers: {number}")
            yield text


def _prompts(lesson: Lesson, files: Sequence[Path], limit: int) -> list[Prompt]:
    if files:
        return list(itertools.islice(read_prompts(files, lesson.max_tokens, whole=lesson.every_turn), limit))
    sources = [prompts(domain, lesson.seed, "training") for domain in WARM]
    in_turns = itertools.chain.from_iterable(zip(*sources, strict=False))
    return list(itertools.islice(in_turns, limit))
