"""`everdraft answers`: a target's own answers to prompts, kept in a file to be learnt from again and again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cli.answer_files import holds_answers, write_answers
from cli.answers import Text
from cli.config import Configuration
from cli.demo.looping import is_looping
from cli.errors import NotThere, UsageError
from cli.lesson import Lesson, texts_of
from cli.target import loaded_target

_LIMIT = 1500


@dataclass(slots=True)
class _Count:
    """Of what passed."""

    answers: int = 0
    tokens: int = 0
    loops: int = 0

    def along(self, texts: Iterator[Text]) -> Iterator[Text]:
        for text in texts:
            self.answers += 1
            self.tokens += len(text.output_ids)
            self.loops += is_looping(text.output_ids)
            yield text


def answers(config: Configuration, lesson: Lesson, out: Path) -> None:
    """Writes a trace for each answer to the file `out`.

    Raises UsageError where something is in the way, or a file of prompts cannot be used or holds answers already, NotThere where
    no prompt leaves room for an answer, ModelError.
    """
    if out.exists():
        raise UsageError(f"--out is {out}, which is there already; expected a file to be made")
    for file in lesson.files:
        if holds_answers(file):
            raise UsageError(f"{file}: holds answers already; expected prompts")
    target = loaded_target(config)
    count = _Count()
    write_answers(out, count.along(texts_of(config, target, lesson, _LIMIT)), target)
    if not count.answers:
        out.unlink()
        room = f"the target has {target.config.max_positions} positions, its pages hold {config.engine.max_cached_tokens} tokens"
        raise NotThere(f"no prompt leaves room for an answer: {room} (engine.max_cached_tokens)")
    print(f"{count.answers} answers of {count.tokens} tokens written to {out}; {count.loops} of them loop")
    print(f"target {target.fingerprint}: for any other they are no answers of its own")
