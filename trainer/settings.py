"""TrainerSettings: everything the trainer is told at birth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from pipelines.registry import Kind, Promotion

COUNTS = (
    "window_traces", "reservoir_traces", "pool_bytes", "cache_bytes", "passes", "min_traces", "min_steps",
    "min_conversations", "max_held_out", "budget", "lookahead", "rows_per_step", "common_tokens", "max_store_bytes",
)  # fmt: skip
SHARES = ("held_out_fraction", "recent_share", "tenant_share", "guaranteed_share", "level", "canary_share")
SPANS = ("slice_seconds", "poll_seconds", "commit_seconds", "learning_rate")


@dataclass(frozen=True, kw_only=True)
class TrainerSettings:
    """Raises ValueError, naming the field, for a value that cannot work."""

    target: str
    """Directory or hub id of the target."""
    revision: str | None = None
    dtype: str = "auto"
    """Of the target while it teaches: `float32`, `bfloat16`, or `auto`, the one this machine multiplies faster in."""
    served_dtype: str = "float32"
    """Of the target where it is served. In `int8` its weights are others: the teacher has them so too, whatever `dtype` says."""
    device: str = "cpu"
    """cpu, cuda or cuda:<number>: where it learns, best not where the server runs."""
    traffic: str
    """URL of the traffic log."""
    registry: str
    """URL of the registry."""
    checkpoints: str
    """Directory of the checkpoint store."""
    state: str
    """Directory of the trainer's own checkpoint."""
    heads: str = ""
    """Directory with the static heads, or EAGLE layer; empty: the bundled ones, where they fit the target."""
    draft: str = ""
    """Directory with the static draft model; empty: the bundled one, where it fits the target."""
    kind: Kind = "hydra"
    """What is trained: heads (`medusa` or `hydra`), a layer on the target (`eagle`), or a draft language model (`draft-lm`).
    A trainer of each may run at the same time."""
    scope: str = "all"
    """Whose: everyone's (`all`), or that of the tenant of that name."""
    name: str = "trainer"
    metrics_host: str = "127.0.0.1"
    """Address on which Prometheus may ask; 0.0.0.0: every interface."""
    metrics_port: int = 0
    """Port on which Prometheus may ask; 0: none."""

    held_out_fraction: float = 0.2
    """Of the conversations, never learnt from: the gate judges on them."""
    window_traces: int = 512
    """Newest traces that are studied most."""
    reservoir_traces: int = 1024
    """Older traces kept against forgetting, the same number for each domain."""
    pool_bytes: int = 64 << 20
    """Size that newest, older and held-out traces may have, each."""
    cache_bytes: int = 256 << 20
    """Memory for what the target said of traces."""
    recent_share: float = 0.7
    """Of what is studied, from the newest traces."""
    tenant_share: float = 0.5
    """Of what is studied, at most from one tenant while there are others."""

    learning_rate: float = 2e-3
    """Size of the optimiser's steps."""
    rows_per_step: int = 128
    """Output tokens that a step of the optimiser learns from."""
    hybrid: float = 0.0
    """Of a draft model: how soon, where it agrees with the target already, the share of choices that they have in common counts
    instead of the divergence (3 is usual); 0: never. It made no difference where it was measured."""
    common_tokens: int = 512
    """Tokens of the vocabulary looked at in every step."""
    sampled_tokens: int = 512
    """Further tokens drawn for each slice, standing for the rest of the vocabulary."""
    passes: int = 8
    """How often, on average, a trace is studied: then the trainer waits for more."""
    min_traces: int = 16
    """Traces before it starts."""

    budget: int = 16
    """Draft nodes per step at which heads are judged: a tree of so many."""
    lookahead: int = 4
    """Tokens per step at which draft models and EAGLE layers are judged: a chain of so many."""
    level: float = 0.01
    """Chance that candidates without a gain ever pass between two publications."""
    min_conversations: int = 64
    """Held-out conversations a judgement needs."""
    max_held_out: int = 256
    """Held-out traces kept; the newest."""
    min_steps: int = 50
    """Steps between two judgements."""
    promote: Promotion = "auto"
    """What becomes of a version that passes: champion at once (auto), a canary first (canary), champion when somebody says so
    (manual), or nothing but a record (never)."""
    canary_share: float = 0.25
    """Of the requests, that a canary serves."""

    guaranteed_share: float = 0.1
    """Of one thread, while the server is busy."""
    slice_seconds: float = 0.05
    """Longest stretch of work without looking up."""
    niceness: int = 10
    """Added to the process's own."""
    poll_seconds: float = 0.25
    """Between two looks at the log, the registry and the server's load."""
    commit_seconds: float = 5.0
    """Between two savings of the state: what a crash makes it do again."""
    max_store_bytes: int = 8 << 30
    """Size that the checkpoint store may reach; the oldest versions that nobody points at go first."""
    seed: int = 0
    """Of what is drawn at random."""

    def __post_init__(self) -> None:
        for field in ("target", "traffic", "registry", "checkpoints", "state", "scope", "name"):
            if not getattr(self, field):
                raise ValueError(f"{field} is empty, expected a value")
        for field in COUNTS:
            expect(field, getattr(self, field), getattr(self, field) >= 1, "at least 1")
        for field in SHARES:
            expect(field, getattr(self, field), 0 < getattr(self, field) < 1, "more than 0 and less than 1")
        for field in SPANS:
            expect(field, getattr(self, field), getattr(self, field) > 0, "more than 0")
        expect("hybrid", self.hybrid, self.hybrid >= 0, "0 or more")
        expect("kind", self.kind, self.kind in get_args(Kind), f"one of {', '.join(get_args(Kind))}")
        expect("sampled_tokens", self.sampled_tokens, self.sampled_tokens >= 0, "0 or more")
        expect("metrics_port", self.metrics_port, 0 <= self.metrics_port <= 65535, "0 to 65535")
        expect("niceness", self.niceness, 0 <= self.niceness <= 19, "0 to 19")
        expect(
            "max_held_out",
            self.max_held_out,
            self.max_held_out >= self.min_conversations,
            "at least min_conversations",
        )
        expect("promote", self.promote, self.promote in get_args(Promotion), f"one of {', '.join(get_args(Promotion))}")
        served = ("float32", "bfloat16", "int8")
        expect("served_dtype", self.served_dtype, self.served_dtype in served, "float32, bfloat16 or int8")
        expect("device", self.device, self.served_dtype != "int8" or self.device == "cpu", "cpu: the target is served in int8")
        expect("dtype", self.dtype, self.dtype in ("auto", "float32", "bfloat16"), "auto, float32 or bfloat16")


def expect(field: str, value: object, holds: bool, expected: str) -> None:
    """Raises ValueError, naming the field, for a value that does not hold."""
    if not holds:
        raise ValueError(f"{field} is {value!r}, expected {expected}")
