"""The target's own answers to prompts, from an engine in this process."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from cli.demo.prompts import Message, Prompt
from models.loading import Target
from serving.engine import Engine
from serving.messages import FinishReason, Request
from serving.scheduler import sampling_of
from speculator.batch import Sampling

_GREEDY = Sampling(temperature=0.0)


@dataclass(frozen=True, slots=True)
class Text:
    """A prompt and its answer, as token ids."""

    domain: str
    tenant: str
    tokens: tuple[int, ...]
    num_prompt: int
    sampling: Sampling = _GREEDY
    """How the answer was chosen."""
    conversation: str = ""
    """The same for all answers within one conversation, and to one prompt; empty: nothing is known of others."""
    finish_reason: FinishReason = "length"

    @property
    def prompt_ids(self) -> tuple[int, ...]:
        return self.tokens[: self.num_prompt]

    @property
    def output_ids(self) -> tuple[int, ...]:
        return self.tokens[self.num_prompt :]


@dataclass(frozen=True, slots=True)
class _Ask:
    """An answer that is wanted, and what the user says behind it."""

    number: int
    domain: str
    conversation: str
    said: tuple[Message, ...]
    to_come: tuple[Message, ...]
    max_tokens: int

    @classmethod
    def of(cls, number: int, prompt: Prompt, every_turn: bool) -> _Ask:
        said = prompt.messages
        first = next(place for place, message in enumerate(said, 1) if message.role == "user") if every_turn else len(said)
        to_come = tuple(message for message in said[first:] if message.role == "user")
        return cls(number, prompt.domain, prompt.digest.hex(), said[:first], to_come, prompt.max_tokens)

    def request(self, target: Target, temperature: float, seed: int) -> Request | None:
        """None: there is no room for an answer."""
        turns = [{"role": message.role, "content": message.content} for message in self.said]
        ids = target.tokenizer.apply_chat_template(turns)
        if len(ids) + self.max_tokens > target.config.max_positions:
            return None
        return Request(
            id=self.number,
            prompt_ids=tuple(ids),
            max_tokens=self.max_tokens,
            temperature=temperature,
            seed=seed + self.number,
            stop_ids=tuple(target.eos_ids),
        )

    def after(self, answer: str, number: int) -> _Ask | None:
        """The next of the conversation, where the user says more."""
        if not self.to_come:
            return None
        said = (*self.said, Message("assistant", answer), self.to_come[0])
        return replace(self, number=number, said=said, to_come=self.to_come[1:])


def answered(
    engine: Engine,
    target: Target,
    prompts: Sequence[Prompt],
    *,
    temperature: float,
    seed: int = 0,
    at_once: int = 8,
    every_turn: bool = False,
) -> Iterator[Text]:
    """The prompts with their answers, as they finish. Prompts that leave no room for an answer are left out.

    at_once: answers under way at the same time. every_turn: conversations are played again: each turn of the user's is answered,
    behind the target's own answers to those before, and conversations that have begun before others begin. Each answer has a seed
    of its own.
    """
    asks: dict[int, _Ask] = {}
    waiting: deque[Request] = deque()

    def ask(wanted: _Ask, wait: Callable[[Request], None]) -> None:
        if request := wanted.request(target, temperature, seed):
            asks[wanted.number] = wanted
            wait(request)

    for number, prompt in enumerate(prompts, 1):
        ask(_Ask.of(number, prompt, every_turn), waiting.append)
    for request, said, reason in _finished(engine, waiting, at_once):
        done = asks.pop(request.id)
        yield _text(request, said, reason, domain=done.domain, conversation=done.conversation)
        if following := done.after(target.tokenizer.decode(said), done.number + len(prompts)):
            ask(following, waiting.appendleft)


def answered_again(engine: Engine, target: Target, texts: Sequence[Text], *, at_once: int = 8) -> Iterator[Text]:
    """The same prompts with the answers of another target, chosen in the same way and with the same noise."""
    waiting = deque(_again(number, text, target) for number, text in enumerate(texts))
    for request, said, reason in _finished(engine, waiting, at_once):
        asked = texts[request.id]
        yield _text(request, said, reason, domain=asked.domain, conversation=asked.conversation)


def _again(number: int, text: Text, target: Target) -> Request:
    asked = text.sampling
    return Request(
        id=number,
        prompt_ids=text.prompt_ids,
        max_tokens=asked.max_tokens,
        temperature=asked.temperature,
        top_p=asked.top_p,
        top_k=asked.top_k,
        min_p=asked.min_p,
        seed=asked.seed,
        choice=asked.choice,
        stop_ids=tuple(sorted(asked.stop_ids or target.eos_ids)),
        edits=asked.edits,
    )


def _text(request: Request, said: Sequence[int], reason: FinishReason, *, domain: str, conversation: str) -> Text:
    sampling = sampling_of(request)
    tokens = (*request.prompt_ids, *said)
    return Text(domain, "default", tokens, len(request.prompt_ids), sampling, conversation, reason)


def _finished(
    engine: Engine, waiting: deque[Request], at_once: int
) -> Iterator[tuple[Request, list[int], FinishReason]]:
    """What came of each request, until none waits: more may be added between two. Who needs more pages than there are is left
    out."""
    running: dict[int, tuple[Request, list[int]]] = {}
    while waiting or running:
        while waiting and len(running) < at_once:
            request = waiting.popleft()
            refused = engine.submit(request)
            if refused is None:
                running[request.id] = (request, [])
            else:
                assert refused.code == "too_large", refused
        for moved in engine.step():
            running[moved.id][1].extend(moved.token_ids)
            if moved.finish_reason is not None:
                yield *running.pop(moved.id), moved.finish_reason
