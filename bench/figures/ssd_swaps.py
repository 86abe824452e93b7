"""A swap to another draft under load: how long anybody waits longer than for a step, and whether every answer is the target's.

Back and forth between two versions of the same weights, one of them disturbed a little, so that drafts go on being accepted and
steps stay comparable. Four answers are under way, two greedy and two sampled. The control is the same far from any swap.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch

from bench.context import Bench
from bench.errors import BenchError
from bench.gaps import Gaps, Step, gaps_between
from bench.ratios import median_ratio
from bench.results import Goal, Measure
from bench.rig import Ask
from bench.sizes import TEMPERATURES
from bench.ssd_sides import Side
from models.draft import DraftModel
from pipelines.checkpoint import Checkpoint
from pipelines.store import open_store
from serving.messages import Moved
from speculator.draft_lm import KIND

SWAPPED = Goal(
    name="ssd-swap",
    title="longest gap between steps around a swap of the draft, in median steps there",
    at_least=3.0,
    aim=2.0,
    most=True,
)
"""An extra wait of two steps, of one: a gap of three and of two."""

_AT_ONCE = 4
_EVERY, _REACH = 4.0, 1.0
"""Seconds between swaps, and around each that count as near."""
_LONGEST_PROMPT = 200
_DISTURBANCE = 1e-3


def measure(bench: Bench, side: Side, draft: DraftModel, domains: Sequence[str], name: str) -> Iterator[Measure]:
    """Raises BenchError."""
    versions = _versions(bench, draft)
    watch = _Watch(side, versions, time.perf_counter() + bench.sizes.ssd_swap_seconds)
    answers = side.run(_asks(bench, domains, watch), _AT_ONCE, after_step=watch.after_step)
    wrong = sum(len(answer.token_ids) != answer.ask.max_tokens for answer in answers)
    assert side.ssd is not None
    if wrong or side.ssd.counters["ssd_failures"]:
        raise BenchError(f"{wrong} of {len(answers)} answers broke off, {side.ssd.counters['ssd_failures']:g} workers failed")
    for what, judged, gaps in (("near swaps", True, watch.near()), ("control: far from any swap", False, watch.far())):
        if not gaps:
            raise BenchError(f"no steps {what} were seen")
        longest, medians = [each.longest for each in gaps], [each.median for each in gaps]
        yield Measure(
            goal=SWAPPED.name,
            what=f"{what}, {name}",
            ratio=median_ratio(longest, medians),
            domain="+".join(domains),
            concurrency=_AT_ONCE,
            judged=judged,
            detail=f"{len(watch.swaps)} swaps, {len(answers)} answers, none failed; "
            f"longest gap of all {1000 * max(longest):.1f} ms, median step {1000 * sorted(medians)[len(medians) // 2]:.2f} ms",
        )


@dataclass(slots=True)
class _Watch:
    """Swaps every few seconds, and notes when steps ended."""

    side: Side
    versions: tuple[Checkpoint, Checkpoint]
    over: float
    steps: list[Step] = field(default_factory=list)
    swaps: list[float] = field(default_factory=list)
    next_swap: float = 0.0

    def after_step(self, moved: Sequence[Moved]) -> None:
        now = time.perf_counter()
        engine = self.side.client.engine
        prompts = any(each.nodes < 0 for each in moved) or not all(each.decoding for each in engine.scheduler.running)
        self.steps.append(Step(now, prompts))
        self.next_swap = self.next_swap or now + _EVERY / 2
        if now >= self.next_swap and now < self.over:
            engine.speculator.load(self.versions[len(self.swaps) % 2])
            self.swaps.append(now)
            self.next_swap = now + _EVERY

    def near(self) -> list[Gaps]:
        return self._gaps([(at - _REACH, at + _REACH) for at in self.swaps])

    def far(self) -> list[Gaps]:
        return self._gaps([(at + _REACH, at + 3 * _REACH) for at in self.swaps])

    def _gaps(self, windows: list[tuple[float, float]]) -> list[Gaps]:
        return [gaps for start, stop in windows if (gaps := gaps_between(self.steps, start, stop)) is not None]


def _asks(bench: Bench, domains: Sequence[str], watch: _Watch) -> Iterator[Ask]:
    while time.perf_counter() < watch.over:
        for temperature in TEMPERATURES:
            (ask,) = bench.supply.mixed(1, domains[:1])
            if len(ask.prompt_ids) <= _LONGEST_PROMPT:
                yield replace(ask.at(temperature), stop_ids=(), max_tokens=bench.sizes.swap_tokens // 4)


def _versions(bench: Bench, draft: DraftModel) -> tuple[Checkpoint, Checkpoint]:
    """The same but for the last digits."""
    generator = torch.Generator().manual_seed(0)
    store, loaded = open_store(str(bench.out / "swapped")), bench.house.loaded
    found = []
    for size in (_DISTURBANCE, 0.0):
        weights = {
            name: each.detach() * (1 + size * torch.randn(each.shape, generator=generator))
            for name, each in draft.tensors.items()
        }
        manifest, _ = store.save(
            weights,
            kind=KIND,
            parent=None,
            target=loaded.fingerprint,
            tokenizer=loaded.tokenizer.fingerprint,
            config=draft.config,
            created_at=time.time(),
        )
        found.append(Checkpoint(manifest, weights))
    return found[0], found[1]
