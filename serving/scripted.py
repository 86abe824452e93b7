"""ScriptedEngine: an engine without weights that says what a script tells it, for tests and demonstrations.

Only the words are scripted. Requests queue for slots, move in steps of several tokens, leave when aborted,
are refused when too large, and all fail when it dies: as with a real engine.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace

from pipelines.registry import Slot
from serving.link import EngineDead, RequestRefused
from serving.messages import FinishReason, Moved, Refused, Request, Snapshot, SourceStep
from speculator.scored import Scored

Script = Callable[[Request], Sequence[int]]
"""The answer to a request. At its end comes the end token; where that stops nothing, it starts over."""


def parrot(request: Request) -> Sequence[int]:
    """Says the prompt again; a sampled answer starts at a place that the seed chooses."""
    start = request.seed % len(request.prompt_ids) if request.temperature else 0
    return request.prompt_ids[start:] + request.prompt_ids[:start]


def opinion(tokens: Sequence[int], num_top: int | None) -> tuple[Scored, ...]:
    """What it claims to have thought of tokens: each was the likeliest, the ids after it the next. None: it was not asked."""
    if num_top is None:
        return ()
    return tuple(Scored(each, -0.5, 1, tuple((each + k, -0.5 - k) for k in range(num_top))) for each in tokens)


@dataclass(slots=True, eq=False)
class _Running:
    """One request on its way."""

    request: Request
    words: Sequence[int]
    inbox: asyncio.Queue[Moved | EngineDead] = field(default_factory=asyncio.Queue)
    num_said: int = 0
    num_steps: int = 0

    def say(self, num_tokens: int) -> tuple[tuple[int, ...], FinishReason | None]:
        """The next tokens, ended early by a stop token or the token limit."""
        said: list[int] = []
        while len(said) < num_tokens:
            said.append(self.words[self.num_said % len(self.words)])
            self.num_said += 1
            if said[-1] in self.request.stop_ids:
                return tuple(said), "stop"
            if self.num_said == self.request.max_tokens:
                return tuple(said), "length"
        return tuple(said), None


class ScriptedEngine:
    """An `EngineLink` whose clock is the event loop it is used in.

    accepts: how many drafted tokens each successive step of a request accepts, round and round; depth: tokens
    drafted in a step. max_total: prompt and answer tokens of the largest request it takes.
    """

    def __init__(
        self,
        script: Script = parrot,
        *,
        eos_id: int | None = None,
        accepts: Sequence[int] = (2, 0, 3, 1),
        depth: int = 4,
        max_running: int = 4,
        max_waiting: int = 64,
        max_total: int = 1 << 20,
        step_seconds: float = 0.0,
        slot: Slot = Slot(target="scripted", kind="scripted"),
    ) -> None:
        self._script = script
        self._ending = () if eos_id is None else (eos_id,)
        self._accepts = tuple(accepts)
        self._depth = depth
        self._max_running = max_running
        self._max_waiting = max_waiting
        self._max_total = max_total
        self._step_seconds = step_seconds
        self._slot = slot
        self._ids = itertools.count(1)
        self._waiting: deque[_Running] = deque()
        self._running: list[_Running] = []
        self._loop: asyncio.Task[None] | None = None
        self._paused = False
        self._draining = False
        self._death: str | None = None
        self._speculation = True
        self._versions = {"scripted": "v0"}
        self._generation = 0
        self._num_steps = 0
        self._counters = {"drafts": 0.0, "draft_tokens": 0.0, "accepted_tokens": 0.0}

    # What a server asks of an engine.

    async def submit(self, request: Request) -> AsyncIterator[Moved]:
        """See `EngineLink.submit`."""
        self._admit(request)
        running = _Running(request, (*self._script(request), *self._ending))
        self._waiting.append(running)
        self._wake()
        try:
            while True:
                moved = await running.inbox.get()
                if isinstance(moved, EngineDead):
                    raise moved
                yield moved
                if moved.finish_reason is not None:
                    return
        finally:
            self._forget(running)

    def next_id(self) -> int:
        return next(self._ids)

    def snapshot(self) -> Snapshot | None:
        tokens = sum(len(each.request.prompt_ids) + each.num_said for each in self._running)
        return Snapshot(
            at=time.time(),
            num_running=len(self._running),
            num_waiting=len(self._waiting),
            pages_used=tokens,
            pages_total=self._max_total * self._max_running,
            num_steps=self._num_steps,
            step_seconds=self._num_steps * self._step_seconds,
            busy=bool(self._running),
            versions=dict(self._versions),
            generation=self._generation,
            num_swaps=self._generation,
            num_swap_failures=0,
            last_swap_at=0.0,
            last_swap_error="",
            speculation=self._speculation,
            counters=dict(self._counters),
            target=self._slot.target,
            kind=self._slot.kind,
        )

    def alive(self) -> bool:
        return self._death is None

    def set_speculation(self, on: bool) -> None:
        self._speculation = on

    # What a test does to it.

    def pause(self) -> None:
        """Makes no step until `resume`: requests stay where they are."""
        self._paused = True

    def resume(self) -> None:
        """To be called in the event loop that the requests wait in."""
        self._paused = False
        self._wake()

    def drain(self) -> None:
        """Takes no more requests."""
        self._draining = True

    def swap(self, version: str) -> None:
        """Puts another version in service."""
        self._versions["scripted"] = version
        self._generation += 1

    def count(self, name: str, value: float) -> None:
        """Shows a counter of this name in its snapshots."""
        self._counters[name] = value

    def die(self, error: str) -> None:
        """Fails everything that runs or waits, and everything to come."""
        self._death = error
        for each in (*self._running, *self._waiting):
            each.inbox.put_nowait(EngineDead(error))
        self._running.clear()
        self._waiting.clear()

    # The engine itself.

    def _admit(self, request: Request) -> None:
        if self._death is not None:
            raise EngineDead(self._death)
        assert request.max_tokens > 0, "the HTTP side lets no such request through"
        total = len(request.prompt_ids) + request.max_tokens
        if total > self._max_total:
            message = f"{total} tokens are needed and {self._max_total} is all there is"
            raise RequestRefused(Refused(request.id, "too_large", message))
        if self._draining:
            raise RequestRefused(Refused(request.id, "draining", "the engine is shutting down"))
        if len(self._waiting) >= self._max_waiting:
            raise RequestRefused(Refused(request.id, "queue_full", f"{len(self._waiting)} requests wait already"))

    def _wake(self) -> None:
        if self._loop is None or self._loop.done():
            self._loop = asyncio.get_running_loop().create_task(self._run())

    def _forget(self, running: _Running) -> None:
        if running in self._running:
            self._running.remove(running)
        if running in self._waiting:
            self._waiting.remove(running)

    async def _run(self) -> None:
        while (self._running or self._waiting) and not self._paused:
            self._step()
            await asyncio.sleep(self._step_seconds)

    def _step(self) -> None:
        while self._waiting and len(self._running) < self._max_running:
            self._running.append(self._waiting.popleft())
        self._num_steps += 1
        batch_size = len(self._running)
        for each in tuple(self._running):
            moved = self._move(each, batch_size)
            each.inbox.put_nowait(moved)
            if moved.finish_reason is not None:
                self._running.remove(each)

    def _move(self, running: _Running, batch_size: int) -> Moved:
        request, moved = running.request, self._said(running, batch_size)
        prompt = request.prompt_ids[1:] if running.num_steps == 1 else ()
        scored, told = opinion(moved.token_ids, request.logprobs), opinion(prompt, request.prompt_logprobs)
        return replace(moved, scored=scored, prompt_scored=told)

    def _said(self, running: _Running, batch_size: int) -> Moved:
        num_steps, running.num_steps = running.num_steps, running.num_steps + 1
        request = running.request
        if num_steps == 0:
            said, finish = running.say(1)
            return Moved(request.id, said, finish, batch_size, -1)
        depth = min(self._depth, request.max_tokens - running.num_said - 1)
        if depth == 0 or not (request.speculative and self._speculation):
            said, finish = running.say(1)
            return Moved(request.id, said, finish, batch_size, 0)
        accepted = min(self._accepts[(num_steps - 1) % len(self._accepts)], depth)
        said, finish = running.say(accepted + 1)
        accepted = min(accepted, len(said))  # a stop token among the accepted ends the step
        self._counters["drafts"] += 1
        self._counters["draft_tokens"] += depth
        self._counters["accepted_tokens"] += accepted
        source = SourceStep(
            "scripted",
            self._versions["scripted"],
            proposed=(1,) * depth,
            reached=tuple(int(level <= accepted) for level in range(depth)),
            accepted=tuple(int(level < accepted) for level in range(depth)),
        )
        return Moved(request.id, said, finish, batch_size, depth, (source,))
