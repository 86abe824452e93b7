"""The worst window of requests after the shift, against the static heads on the same requests.

Both sides have their own controller, as they serve; the trainer runs. The interval is that of the worst window taken by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from bench.adaptation import Served
from bench.context import Bench
from bench.ratios import Rate, ratio_of_sums
from bench.results import Goal, Measure, Trainer
from bench.rig import Answer
from bench.sizes import LEARNT, TEMPERATURES
from bench.windows import worst_window

WINDOW = Goal(name="window", title="worst 50-request window after the shift, against static", at_least=0.95, aim=1.0)
GOALS = (WINDOW,)


def measure(bench: Bench, trainer: Trainer) -> Iterator[Measure]:
    """Raises BenchError."""
    after = [each for each in bench.adapted().after if each.static.num_steps and each.adaptive.num_steps]
    for temperature in (None, *TEMPERATURES):
        for loops in (True, False):
            kept = [each for each in after if temperature in (None, each.static.ask.temperature)]
            kept = [each for each in kept if loops or not each.static.looping]
            if kept:
                yield _worst(kept, bench.sizes.window, "acceptance length", _acceptance, True, temperature, trainer, loops)
                yield _worst(kept, bench.sizes.window, "tokens per second", _speed, False, temperature, trainer, loops)


def _worst(
    served: Sequence[Served],
    size: int,
    what: str,
    rate: Callable[[Answer], Rate],
    judged: bool,
    temperature: float | None,
    trainer: Trainer,
    loops: bool,
) -> Measure:
    ours, theirs = [rate(each.adaptive) for each in served], [rate(each.static) for each in served]
    window = worst_window(ours, theirs, size)
    return Measure(
        goal=WINDOW.name,
        what=what,
        ratio=ratio_of_sums([ours[at] for at in window], [theirs[at] for at in window]),
        domain="+".join(LEARNT),
        temperature=temperature,
        trainer=trainer,
        loops=loops,
        judged=judged,
        detail=f"requests {window.start + 1} to {window.stop} of {len(served)} after the shift; "
        f"over all of them {ratio_of_sums(ours, theirs).value:.3g}",
    )


def _acceptance(answer: Answer) -> Rate:
    return answer.num_decoded, answer.num_steps


def _speed(answer: Answer) -> Rate:
    return answer.num_timed, answer.seconds
