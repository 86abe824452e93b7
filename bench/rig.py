"""What every measurement shares: prompts as token ids, engines in this process, and a closed loop of requests."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from cli.demo.looping import is_looping
from cli.demo.prompts import Prompt
from models.tokenizer import Tokenizer
from serving.engine import Engine
from serving.messages import Moved, Request


@dataclass(frozen=True, slots=True)
class Ask:
    """One request to come."""

    id: int
    domain: str
    prompt_ids: tuple[int, ...]
    max_tokens: int
    temperature: float
    seed: int
    stop_ids: tuple[int, ...]

    def request(self, request_id: int) -> Request:
        return Request(
            id=request_id,
            prompt_ids=self.prompt_ids,
            max_tokens=self.max_tokens,
            temperature=self.temperature,
            seed=self.seed,
            stop_ids=self.stop_ids,
        )


@dataclass(slots=True)
class Answer:
    """What came of an Ask."""

    ask: Ask
    token_ids: list[int] = field(default_factory=list)
    num_steps: int = 0
    """Verification steps; the first token comes from the prompt and needs none."""

    @property
    def looping(self) -> bool:
        return is_looping(self.token_ids)

    @property
    def num_decoded(self) -> int:
        """Tokens from verification steps."""
        return max(0, len(self.token_ids) - 1)


@dataclass(frozen=True, slots=True)
class Run:
    """Answers in the order of the asks, and the seconds from the first submission to the last token."""

    answers: list[Answer]
    seconds: float

    @property
    def num_tokens(self) -> int:
        return sum(len(answer.token_ids) for answer in self.answers)

    @property
    def tokens_per_second(self) -> float:
        return self.num_tokens / self.seconds

    @property
    def acceptance_length(self) -> float:
        return acceptance_length(self.answers)


def acceptance_length(answers: Iterable[Answer]) -> float:
    """Tokens per verification step, the bonus token included; token-weighted."""
    pairs = [(answer.num_decoded, answer.num_steps) for answer in answers]
    steps = sum(steps for _, steps in pairs)
    return sum(decoded for decoded, _ in pairs) / steps if steps else 1.0


def asks_from(
    prompts: Sequence[Prompt], tokenizer: Tokenizer, *, temperature: float, max_tokens: int, context: int, first_id: int = 0
) -> list[Ask]:
    """Requests for prompts, those too long for the context left out."""
    asks = []
    for number, prompt in enumerate(prompts):
        messages = [{"role": message.role, "content": message.content} for message in prompt.messages]
        ids = tuple(tokenizer.apply_chat_template(messages))
        if len(ids) + max_tokens <= context:
            seed = 1_000_003 * (first_id + number) + 17
            asks.append(
                Ask(first_id + number, prompt.domain, ids, max_tokens, temperature, seed, tuple(tokenizer.eos_ids))
            )
    return asks


class Client:
    """A closed loop on an engine in this process. Request ids never repeat within an engine."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._next_id = 1

    def run(
        self, asks: Sequence[Ask], concurrency: int, after_step: Callable[[tuple[Moved, ...]], None] | None = None
    ) -> Run:
        """Keeps `concurrency` requests under way until all are answered."""
        waiting = list(reversed([Answer(ask) for ask in asks]))
        answers = list(reversed(waiting))
        running: dict[int, Answer] = {}
        started = time.perf_counter()
        while waiting or running:
            while waiting and len(running) < concurrency:
                answer = waiting.pop()
                refused = self.engine.submit(answer.ask.request(self._next_id))
                assert refused is None, refused
                running[self._next_id] = answer
                self._next_id += 1
            moved = self.engine.step()
            for each in moved:
                answer = running[each.id]
                answer.token_ids.extend(each.token_ids)
                answer.num_steps += each.nodes >= 0
                if each.finish_reason is not None:
                    del running[each.id]
            if after_step is not None:
                after_step(moved)
        seconds = time.perf_counter() - started
        self.engine.audit()
        return Run(answers, seconds)
