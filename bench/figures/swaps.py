"""The longest gap between steps near a swap, against the median step there; and, as a control, the same far from any swap.

Swaps come through the registry, as when a trainer publishes. Four long answers are under way, two greedy and two sampled; a
machine that others use has long gaps without a swap too, hence the control.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

from bench.context import Bench
from bench.errors import BenchError
from bench.gaps import Gaps, Step, gaps_between
from bench.ratios import median_ratio
from bench.results import Goal, Measure, Trainer
from bench.rig import Ask, Client
from bench.sizes import KNOWN, TEMPERATURES
from pipelines.checkpoint import Checkpoint
from pipelines.errors import PipelineError, StaleGeneration
from serving.messages import Moved

SWAP = Goal(
    name="swap", title="longest gap between steps within 2 s of a swap, against the median step", at_least=3.0, aim=1.0, most=True
)
GOALS = (SWAP,)

_AT_ONCE = 4
_LONGEST_PROMPT = 200
_APART = 2.25
"""Publications are so many times `swap_seconds` apart: windows around swaps do not overlap."""
_PATIENCE = 60.0
"""Seconds within which a published version has to be in service."""


def measure(bench: Bench, trainer: Trainer) -> Iterator[Measure]:
    """Raises BenchError."""
    client = bench.adapted().client if trainer == "on" else bench.serving()
    bench.stack.check_trainer()
    watch = _Watch(client, bench.sizes.swap_seconds)
    publisher = threading.Thread(target=_publish, args=(bench, watch), name="publisher", daemon=True)
    publisher.start()
    client.run(_long_asks(bench, watch), _AT_ONCE, after_step=watch.after_step)
    publisher.join()
    if watch.error is not None:
        raise watch.error
    yield _measured("near swaps", watch.near(), trainer, judged=True)
    if far := watch.far():  # on a machine so busy that none were left, there is no control
        yield _measured("control: far from any swap", far, trainer, judged=False)


class _Watch:
    """Notes when steps ended and when versions were swapped."""

    def __init__(self, client: Client, reach: float) -> None:
        """reach: seconds before and after a swap that count as near."""
        self._engine = client.engine
        self._reach = reach
        self._num_swaps = client.engine.swap.num_swaps
        self.steps: list[Step] = []
        self.swaps: list[float] = []
        self.over = threading.Event()
        self.error: BenchError | None = None

    def after_step(self, moved: Sequence[Moved]) -> None:
        now = time.perf_counter()
        prompts = any(each.nodes < 0 for each in moved) or not all(each.decoding for each in self._engine.scheduler.running)
        self.steps.append(Step(now, prompts))
        if self._engine.swap.num_swaps != self._num_swaps:
            self._num_swaps = self._engine.swap.num_swaps
            self.swaps.append(now)

    def await_swap(self, seen: int) -> None:
        """Until there are more swaps than `seen`. Raises BenchError if none comes."""
        latest = time.perf_counter() + _PATIENCE
        while len(self.swaps) == seen:
            if time.perf_counter() > latest:
                raise BenchError(f"a version was published and not swapped in, expected it within {_PATIENCE:g} s")
            time.sleep(0.01)

    def near(self) -> list[Gaps]:
        """One for each swap."""
        windows = [(at - self._reach, at + self._reach) for at in self.swaps]
        return [gaps for start, stop in windows if (gaps := gaps_between(self.steps, start, stop)) is not None]

    def far(self) -> list[Gaps]:
        """One for each window of the same length after the last swap's own."""
        start, length = self.swaps[-1] + self._reach, 2 * self._reach
        num = int((self.steps[-1].ended_at - start) / length)
        windows = [(start + at * length, start + (at + 1) * length) for at in range(num)]
        return [gaps for begin, end in windows if (gaps := gaps_between(self.steps, begin, end)) is not None]


def _publish(bench: Bench, watch: _Watch) -> None:
    """Another version every few seconds, in the end the one that was in service before; then as long without any."""
    sizes = bench.sizes
    try:
        champion = _champion(bench)
        other = bench.versions.perturbed(champion)
        for number in range(sizes.swaps):
            time.sleep(_APART * sizes.swap_seconds)
            seen = len(watch.swaps)
            _make_champion(bench, other if number % 2 == 0 else champion)
            # a server polls: two publications between two polls would be none to it
            watch.await_swap(seen)
        time.sleep(2 * sizes.swap_seconds * (sizes.swaps + 1))
    except PipelineError as error:
        watch.error = BenchError(f"nothing could be published: {error}")
    except BenchError as error:
        watch.error = error
    finally:
        watch.over.set()


def _champion(bench: Bench) -> Checkpoint:
    version = bench.stack.state().champion
    if version is None:
        return bench.versions.static()
    return bench.versions.load(bench.stack.registry.location(bench.stack.slot, version))


def _make_champion(bench: Bench, version: Checkpoint) -> None:
    registry, slot, name = bench.stack.registry, bench.stack.slot, version.manifest.version
    for _ in range(5):  # the trainer may publish at the same moment
        try:
            registry.publish(slot, version.manifest, name, expected_generation=registry.state(slot).generation, detail="bench")
            return
        except StaleGeneration:
            continue
    raise StaleGeneration(f"version {name}: the slot kept moving")


def _long_asks(bench: Bench, watch: _Watch) -> Iterator[Ask]:
    """Until it is over; greedy and sampled in turns. Where an answer would end is ignored."""
    while not watch.over.is_set():
        for temperature in TEMPERATURES:
            (ask,) = bench.supply.fresh(KNOWN[1], 1)
            if len(ask.prompt_ids) <= _LONGEST_PROMPT:
                yield replace(ask.at(temperature), stop_ids=(), max_tokens=bench.sizes.swap_tokens)


def _measured(what: str, gaps: list[Gaps], trainer: Trainer, *, judged: bool) -> Measure:
    if not gaps:
        raise BenchError(f"no steps {what} were seen, expected some for each swap")
    ratio = median_ratio([each.longest for each in gaps], [each.median for each in gaps])
    worst = max(each.longest for each in gaps)
    return Measure(
        goal=SWAP.name,
        what=what,
        ratio=ratio,
        domain=KNOWN[1],
        concurrency=_AT_ONCE,
        trainer=trainer,
        judged=judged,
        detail=f"longest gap of all {1000 * worst:.1f} ms, median step {1000 * gaps[len(gaps) // 2].median:.2f} ms",
    )
