"""Answers: what a target said to prompts before there was any traffic, as traces to learn from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.checkpoint import TrafficSpan
from pipelines.trace import SamplingRecord, Trace
from trainer.kept import Kept
from trainer.taught import Taught

Tokens = Sequence[int]


@dataclass(frozen=True, slots=True)
class Answer:
    """A prompt and the target's answer to it."""

    prompt: Tokens
    output: Tokens
    sampling: SamplingRecord
    """How the answer was chosen, its noise included: who drafts for it knows that, too."""
    conversation: str = ""
    """The same for answers that are to fall on one side of the hold-out; empty: one by itself."""


@dataclass(frozen=True, slots=True)
class Answers:
    """Those to learn from, and those kept aside."""

    studied: Sequence[Kept]
    held_out: Sequence[Kept]

    @classmethod
    def of(cls, answers: Sequence[Answer], taught: Taught, held_out: int) -> Answers:
        """The first are kept aside, conversations whole: at most `held_out`, at most half.

        Raises ValueError when there is nothing to learn from.
        """
        usable = kept(answers, taught)
        if not usable:
            raise ValueError(f"prompts: {len(answers)}, and no answer of two tokens or more to learn from")
        conversations: dict[str, list[Kept]] = {}
        for each in usable:
            conversations.setdefault(each.conversation, []).append(each)
        studied: list[Kept] = []
        aside: list[Kept] = []
        room = min(held_out, len(usable) // 2)
        for together in conversations.values():
            (aside if len(aside) + len(together) <= room else studied).extend(together)
        return cls(studied, aside)

    @property
    def span(self) -> TrafficSpan:
        return TrafficSpan(num_traces=len(self.studied), num_tokens=sum(each.num_rows for each in self.studied))


def kept(answers: Sequence[Answer], taught: Taught) -> list[Kept]:
    """Those that say something: of two tokens or more."""
    return [
        _kept(number, answer, taught)
        for number, answer in enumerate(answers)
        if len(answer.prompt) and len(answer.output) >= 2
    ]


def _kept(number: int, answer: Answer, taught: Taught) -> Kept:
    trace = Trace(
        trace_id=f"dayzero-{number}",
        conversation=answer.conversation or f"dayzero-{number}",
        started_at=0.0,
        finished_at=0.0,
        target=taught.fingerprint,
        tokenizer=taught.tokenizer,
        prompt_ids=tuple(answer.prompt),
        output_ids=tuple(answer.output),
        finish_reason="length",
        sampling=answer.sampling,
    )
    return Kept.of(number, trace)
