"""Checkpoint: an immutable, content-hashed set of speculator weights and its manifest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import msgspec

from pipelines.errors import CorruptCheckpoint

if TYPE_CHECKING:  # whoever only reads manifests does not wait two seconds for torch
    from torch import Tensor

SCHEMA = 1

Form = Literal["tree", "chain"]
"""What the nodes of a draft make: `tree`, grown where it is most likely to be right; `chain`, one token after the other."""


class TrafficSpan(msgspec.Struct, frozen=True, kw_only=True):
    """The stretch of the traffic log a checkpoint learnt from, its ancestors' stretches included."""

    position: dict[int, int] = {}
    """Up to where the log was read, partition by partition: a `pipelines.traffic_log.Position`."""
    num_traces: int = 0
    num_tokens: int = 0
    newest_at: float = 0.0
    """Unix seconds of the newest trace learnt from: `now - newest_at` is the freshness of the draft."""


class Evaluation(msgspec.Struct, frozen=True, kw_only=True):
    """A judgement against the champion of its time, on the same held-out conversations.

    Gradient-free sources are off.
    """

    num_conversations: int
    tokens_per_step: float
    """Mean acceptance length at `budget`, the bonus token included."""
    champion_tokens_per_step: float
    gain: float
    """Difference in tokens per step, pooled over the conversations."""
    gain_lower: float
    """One-sided lower bound on `gain` by paired bootstrap over conversations, at the level that this look might spend: 99.5 % at
    the first, more at later ones."""
    budget: int
    """Draft nodes per step at which both were judged."""
    form: Form = "tree"
    """Of those nodes. Figures of the two are not to be compared: a chain of four tokens gets less far than a tree of sixteen."""
    by_group: dict[str, float] = {}
    """Relative change for each domain or tenant with enough conversations."""


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """Everything known of a version but its weights."""

    schema: int = SCHEMA
    version: str
    """Content hash of kind, target, tokenizer, parent, config and weights: the name of the version."""
    kind: str
    """Kind of speculator: `medusa`, `hydra`, `eagle`, `draft-lm`."""
    scope: str = "all"
    """Of the slot that it was made for."""
    parent: str | None
    target: str
    tokenizer: str
    created_at: float
    weights_sha256: str
    num_parameters: int
    config: dict[str, int | float | str | bool] = {}
    """What the speculator needs to rebuild its modules."""
    span: TrafficSpan = TrafficSpan()
    evaluation: Evaluation | None = None
    note: str = ""

    def __post_init__(self) -> None:
        if self.schema != SCHEMA:
            raise ValueError(f"schema is {self.schema}, expected {SCHEMA}")


_decoder = msgspec.json.Decoder(Manifest)


def encode_manifest(manifest: Manifest) -> bytes:
    """The manifest as JSON. Raises CorruptCheckpoint, naming the field, if a number in it is not finite."""
    data = msgspec.json.format(msgspec.json.encode(manifest))
    decode_manifest(data)  # JSON has no nan: it would have become null
    return data


def decode_manifest(data: bytes) -> Manifest:
    """The inverse of `encode_manifest`. Raises CorruptCheckpoint, naming the field, for anything else."""
    try:
        return _decoder.decode(data)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise CorruptCheckpoint(f"not a manifest of schema {SCHEMA}: {error}") from error


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A version with its weights, as it arrives from the registry: checked and on the CPU."""

    manifest: Manifest
    weights: Mapping[str, Tensor]
