"""What every measurement shares: requests to come, answers, and a closed loop on an engine in this process."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

from cli.demo.looping import is_looping
from serving.engine import Engine
from serving.messages import Moved, Request
from speculator.batch import Sampling


@dataclass(frozen=True, slots=True)
class Ask:
    """One request to come."""

    id: int
    """Unique within a run of the bench; the seed comes from it."""
    domain: str
    prompt_ids: tuple[int, ...]
    max_tokens: int
    stop_ids: tuple[int, ...]
    temperature: float = 0.0

    @property
    def seed(self) -> int:
        return 1_000_003 * self.id + 17

    @property
    def sampling(self) -> Sampling:
        return Sampling(
            temperature=self.temperature, seed=self.seed, max_tokens=self.max_tokens, stop_ids=frozenset(self.stop_ids)
        )

    def at(self, temperature: float) -> Self:
        return replace(self, temperature=temperature)

    def request(self, request_id: int, learn: bool = True) -> Request:
        return Request(
            id=request_id,
            prompt_ids=self.prompt_ids,
            max_tokens=self.max_tokens,
            temperature=self.temperature,
            seed=self.seed,
            stop_ids=self.stop_ids,
            learn=learn,
        )


@dataclass(slots=True)
class Answer:
    """What came of an Ask."""

    ask: Ask
    token_ids: list[int] = field(default_factory=list)
    moves: list[Moved] = field(default_factory=list)
    """What the engine reported of it, step by step."""
    num_timed: int = 0
    """Tokens emitted while every slot of the loop was taken."""
    seconds: float = 0.0
    """Its share of the time of those steps: a step's time is divided evenly among the requests in it."""

    @property
    def looping(self) -> bool:
        return is_looping(self.token_ids)

    @property
    def num_steps(self) -> int:
        """Verification steps; the first token comes from the prompt and needs none."""
        return sum(moved.nodes >= 0 for moved in self.moves)

    @property
    def num_decoded(self) -> int:
        """Tokens from verification steps."""
        return max(0, len(self.token_ids) - 1)


def tokens_per_second(answers: Iterable[Answer]) -> float:
    """While every slot was taken, in the time that was theirs: of all answers of a run its throughput. 0 if nothing was timed."""
    timed = [(answer.num_timed, answer.seconds) for answer in answers]
    seconds = sum(seconds for _, seconds in timed)
    return sum(tokens for tokens, _ in timed) / seconds if seconds else 0.0


def acceptance_length(answers: Iterable[Answer]) -> float:
    """Tokens per verification step, the bonus token included, long answers weighing by their length."""
    counts = [(answer.num_decoded, answer.num_steps) for answer in answers]
    steps = sum(steps for _, steps in counts)
    return sum(decoded for decoded, _ in counts) / steps if steps else 1.0


AfterStep = Callable[[Sequence[Moved]], None]


class Client:
    """A closed loop on an engine in this process. Request ids never repeat within an engine."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._next_id = 1

    def run(
        self, asks: Iterable[Ask], concurrency: int, *, learn: bool = True, after_step: AfterStep | None = None
    ) -> list[Answer]:
        """Keeps `concurrency` requests under way until all are answered; answers in the order of the asks.

        learn: whether the engine's sources may remember the answers.
        """
        waiting = iter(asks)
        answers: list[Answer] = []
        running: dict[int, Answer] = {}
        last = time.perf_counter()
        while True:
            while len(running) < concurrency and (ask := next(waiting, None)) is not None:
                answers.append(Answer(ask))
                running[self._next_id] = answers[-1]
                refused = self.engine.submit(ask.request(self._next_id, learn))
                assert refused is None, refused
                self._next_id += 1
            if not running:
                break
            moved = self.engine.step()
            now = time.perf_counter()
            _take(running, moved, now - last if len(running) == concurrency else None)
            last = now
            if after_step is not None:
                after_step(moved)
        self.engine.audit()
        return answers


def at_once(client: Client, asks: Sequence[Ask]) -> list[Answer]:
    """All together, and all of it timed: from the first prompt token to the end of the last answer."""
    started = time.perf_counter()
    answers = client.run(asks, len(asks))
    share = (time.perf_counter() - started) / len(asks)
    for answer in answers:
        answer.num_timed, answer.seconds = len(answer.token_ids), share
    return answers


def _take(running: dict[int, Answer], moved: Sequence[Moved], seconds: float | None) -> None:
    """seconds: of the step; None: it is not timed."""
    if seconds is not None:
        for answer in running.values():
            answer.seconds += seconds / len(running)
    for each in moved:
        answer = running[each.id]
        answer.token_ids.extend(each.token_ids)
        answer.moves.append(each)
        if seconds is not None:
            answer.num_timed += len(each.token_ids)
        if each.finish_reason is not None:
            del running[each.id]
