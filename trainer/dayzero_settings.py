"""Settings of day zero: what is learnt from a target's answers before there is traffic, and how long."""

from __future__ import annotations

from dataclasses import dataclass, field

from models.draft import DraftShape
from speculator.kinds import HEADS, HYDRA, MEDUSA
from trainer.settings import expect


@dataclass(frozen=True, kw_only=True)
class DayZeroSettings:
    """What every kind of speculator has in common. Raises ValueError, naming the field, for a value that cannot work."""

    steps: int = 2000
    """Steps of the optimiser, unless `seconds` are over first."""
    seconds: float = 3600.0
    """Of training, the answering not counted."""
    rows_per_step: int = 512
    """Output tokens a step learns from."""
    learning_rate: float = 2e-3
    common_tokens: int = 1024
    """Of the vocabulary, looked at in every step."""
    sampled_tokens: int = 1024
    """Of the rest, another sample each time."""
    held_out: int = 64
    """Prompts kept aside, to say what came of it."""
    budget: int = 16
    """Draft nodes per step at which that is said."""
    cache_bytes: int = 4 << 30
    """Memory for what the target said of its answers."""
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "rows_per_step", "common_tokens", "budget", "cache_bytes"):
            self._expect_one(name)
        for name in ("sampled_tokens", "held_out"):
            expect(name, getattr(self, name), getattr(self, name) >= 0, "0 or more")
        for name in ("seconds", "learning_rate"):
            expect(name, getattr(self, name), getattr(self, name) > 0, "more than 0")

    def _expect_one(self, name: str) -> None:
        expect(name, getattr(self, name), getattr(self, name) >= 1, "at least 1")


@dataclass(frozen=True, kw_only=True)
class HeadsSettings(DayZeroSettings):
    """Of heads."""

    kind: str = HYDRA
    num_heads: int = 4
    num_blocks: int = 1
    """Of Medusa's."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("num_heads", "num_blocks"):
            self._expect_one(name)
        expect("kind", self.kind, self.kind in HEADS, f"one of {', '.join(HEADS)}")


@dataclass(frozen=True, kw_only=True)
class TextSettings(DayZeroSettings):
    """Of who learns from whole texts."""

    max_tokens: int = 256
    """Of a text, prompt and answer."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._expect_one("max_tokens")


@dataclass(frozen=True, kw_only=True)
class EagleSettings(TextSettings):
    """Of an EAGLE layer. Of a text that is too long another stretch is learnt from each time."""

    parallel: bool = False
    """Whether it drafts all its tokens in one pass (see `models.eagle`)."""
    rows_per_step: int = 128
    learning_rate: float = 1e-3
    common_tokens: int = 512
    sampled_tokens: int = 512


RATE_OF_LAYERS = 1e-3
"""Learning rate of a draft that begins as layers of the target: they know something, and want smaller steps than new ones (see
`trainer.draft_distil`)."""


@dataclass(frozen=True, kw_only=True)
class DraftSettings(TextSettings):
    """Of a draft language model. Of a text that is too long the end is learnt from."""

    shape: DraftShape = field(default_factory=DraftShape)
    steps: int = 6000
    rows_per_step: int = 256
    learning_rate: float = 3e-3
    max_tokens: int = 1024
    hybrid: float = 0.0
    """See `trainer.draft_distil`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        expect("hybrid", self.hybrid, self.hybrid >= 0, "0 or more")


_COST_ALONE = 1 / 6
"""Of a step of the heads alone, in steps of heads and target together."""


@dataclass(frozen=True, kw_only=True)
class JointSettings(TextSettings):
    """Of a target and Medusa heads that are trained together. See `trainer.joint_distil`."""

    steps: int = 500
    heads_first: int = 1000
    """Steps of the heads alone before."""
    rows_per_step: int = 256
    learning_rate: float = 1e-4
    """Of the target."""
    max_tokens: int = 512
    num_heads: int = 4
    num_blocks: int = 1
    heads_rate: float = 20.0
    """The heads' learning rate, in multiples of the target's."""
    heads_weight: float = 0.2
    """Of the heads' loss beside the target's own, at the end of the way; 0: nothing is learnt."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("num_heads", "num_blocks", "heads_first"):
            self._expect_one(name)
        if not self.heads_rate > 0:  # nor nan
            raise ValueError(f"heads_rate is {self.heads_rate}, expected more than 0")
        if not self.heads_weight >= 0:
            raise ValueError(f"heads_weight is {self.heads_weight}, expected 0 or more")

    @property
    def of_heads(self) -> HeadsSettings:
        """For the heads alone: as here, but for steps and their size. Of the time they have what their steps should cost."""
        same = "num_heads", "num_blocks", "common_tokens", "sampled_tokens", "held_out", "budget", "cache_bytes", "seed"
        cost = self.heads_first * _COST_ALONE
        return HeadsSettings(
            kind=MEDUSA,
            steps=self.heads_first,
            seconds=self.seconds * cost / (cost + self.steps),
            **{name: getattr(self, name) for name in same},
        )
