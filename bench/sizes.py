"""How much is measured."""

from __future__ import annotations

from dataclasses import dataclass

TEMPERATURES = (0.0, 0.8)
LEARNT = ("sql", "math")
"""The domains that traffic shifts to, which the static heads never saw."""
KNOWN = ("stories", "dialogue")
"""The domains that the static heads were made for."""


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """The full sizes: half an hour on two cores; those of task groups, from `practice` on, another 25 minutes."""

    identity: int = 500
    """Requests, over all domains."""
    transformers_pairs: int = 20
    transformers_each: int = 5
    """Requests of a pair."""
    transformers_batches: int = 6
    """Pairs at each size above one."""
    sharing_pairs: int = 8
    sharing_tokens: int = 768
    """Of the text that requests share."""
    before: int = 60
    """Requests before the shift."""
    learnt: int = 500
    """Requests of each domain after it."""
    pause_seconds: float = 0.42
    """From the start of one request to the start of the next while it adapts, at least: a server with some idle time."""
    window: int = 50
    """Requests of a window."""
    fresh: int = 100
    """Requests of each domain at each temperature on which what was learnt is measured."""
    pairs: int = 12
    alone_each: int = 6
    """Requests of a pair at batch size 1."""
    crowd: int = 16
    """Requests at once."""
    crowd_each: int = 48
    """Requests of a pair with `crowd` at once."""
    swaps: int = 10
    swap_seconds: float = 2.0
    """Before and after a swap."""
    swap_tokens: int = 1200
    """Of the answers under way meanwhile: few prompts are read."""
    log_pairs: int = 12
    log_each: int = 64
    ssd_lessons: int = 600
    """Answers of each domain that the draft model learns from."""
    ssd_school_seconds: float = 900.0
    ssd_pairs: int = 4
    ssd_each: int = 4
    ssd_fan_out: int = 40
    """Answers on which fan-outs are compared."""
    ssd_swap_seconds: float = 50.0
    draft_requests: int = 1000
    """Of each new domain, that the draft model learns from."""
    long_pairs: int = 6
    long_tokens: int = 8192
    """Of a long text, its last request included."""
    long_answer: int = 96
    practice: int = 8
    """Training prompts of each task group that an engine answers before it is measured on task groups."""
    group_lessons: int = 150
    """Training prompts of each group that are answered while a trainer learns from them."""
    group_pairs: int = 6
    group_each: int = 3
    """Requests of a pair, all of one group."""
    group_transformers_pairs: int = 3
    group_transformers_each: int = 2
    crowds: tuple[int, int, int, int] = (8, 16, 32, 64)
    """Requests at once."""
    crowd_pairs: int = 3
    crowd_rounds: int = 2
    """Requests of a pair, as a multiple of those at once."""
    fixed_pairs: int = 4
    fixed_each: int = 2
    fixed_nodes: tuple[int, ...] = (4, 12)
    """Drafted nodes a step, in the grid of fixed settings."""
    shift_requests: int = 40
    """Between two shifts."""
    ablation: int = 3
    """Requests of each group at each temperature."""
    arctic: int = 10
    """Texts of each group at each temperature."""


FULL = Sizes()

QUICK = Sizes(
    identity=10,
    transformers_pairs=2,
    transformers_each=2,
    transformers_batches=1,
    sharing_pairs=1,
    sharing_tokens=40,
    before=4,
    learnt=6,
    pause_seconds=0.0,
    window=6,
    fresh=3,
    pairs=2,
    alone_each=2,
    crowd=4,
    crowd_each=10,
    swaps=2,
    swap_seconds=0.4,
    swap_tokens=300,
    log_pairs=2,
    log_each=8,
    ssd_lessons=2,
    ssd_school_seconds=2.0,
    ssd_pairs=1,
    ssd_each=1,
    ssd_fan_out=2,
    ssd_swap_seconds=6.0,
    draft_requests=6,
    long_pairs=1,
    long_tokens=192,
    long_answer=16,
    practice=1,
    group_lessons=2,
    group_pairs=2,
    group_each=1,
    group_transformers_pairs=1,
    group_transformers_each=1,
    crowds=(2, 3, 4, 5),
    crowd_pairs=1,
    crowd_rounds=1,
    fixed_pairs=1,
    fixed_each=1,
    fixed_nodes=(4,),
    shift_requests=2,
    ablation=1,
    arctic=1,
)
"""To try the bench itself."""
