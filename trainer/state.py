"""The trainer's own checkpoint: all it knows, in one file that appears by one rename.

What was learnt and how far the log was read stand in the same file, so whatever moment the process is killed at, a trace is
either in both or in neither. (SpecForge calls it "replay before, skip after".)
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from pipelines.checkpoint import TrafficSpan
from pipelines.folders import try_lock
from pipelines.registry import Slot
from trainer.drift import Drift
from trainer.feed import FeedState
from trainer.kept import Kept
from trainer.reservoir import Stratum

log = logging.getLogger(__name__)

SCHEMA = 2
_RECORD = "record"
"""Name of the tensor of bytes that holds everything but tensors."""


class Progress(msgspec.Struct):
    """Where the trainer stands. Counts are of its whole life."""

    parent: str | None = None
    """Version whose descendant the weights are."""
    champion: str | None = None
    """As last seen; None: nothing was published yet."""
    generation: int = -1
    """As last seen; -1: never looked."""
    config: dict[str, int | float | str | bool] = {}
    """Of the model."""
    age: int = 0
    num_steps: int = 0
    num_skipped: int = 0
    loss: float = 0.0
    rows_received: int = 0
    rows_taught: int = 0
    span: TrafficSpan = TrafficSpan()
    """What the weights have learnt from."""
    looks: int = 0
    """Judgements since the last publication."""
    judged_at_step: int = 0
    judged_through: int = 0
    """Held-out traces there had been at the last judgement."""
    fruitless: int = 0
    """Judgements in a row that found no gain."""
    resume_at: int = 0
    """Studied traces from which training goes on after it was given up for want of gain."""
    last_judgement: str = ""
    last_gain: float = 0.0
    last_gain_lower: float = 0.0
    num_judgements: int = 0
    num_published: int = 0
    used: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Seconds of one thread while the server was idle, while it was busy, and without one."""
    rested: float = 0.0
    """Seconds for which the accelerator was handed back: no gain in sight, or everything learnt."""


class Record(msgspec.Struct, kw_only=True):
    """All that is saved but tensors."""

    schema: int = SCHEMA
    key: bytes
    """Of the hash that holds conversations out."""
    feed: FeedState = msgspec.field(default_factory=FeedState)
    progress: Progress = msgspec.field(default_factory=Progress)
    drift: Drift = msgspec.field(default_factory=Drift)
    recent: list[Kept] = []
    older: dict[str, Stratum] = {}
    held_out: list[Kept] = []

    @classmethod
    def new(cls) -> Record:
        return cls(key=os.urandom(32))


@dataclass(frozen=True, slots=True)
class Saved:
    """What a file held."""

    record: Record
    tensors: Mapping[str, Tensor]


class StateFile:
    """One file for one slot, under `folder`."""

    def __init__(self, folder: Path, slot: Slot, tokenizer: str) -> None:
        name = hashlib.sha256(msgspec.json.encode([slot, tokenizer])).hexdigest()[:16]
        self.path = folder / f"trainer-{name}.safetensors"

    def save(self, record: Record, tensors: Mapping[str, Tensor]) -> None:
        """Writes durably and by one rename. Raises OSError when the disk does not take it: the old file stays."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        body = np.frombuffer(msgspec.msgpack.encode(record), np.uint8).copy()
        held = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        data = safetensors.torch.save(held | {_RECORD: torch.from_numpy(body)})
        temporary = self.path.with_suffix(".tmp")
        with open(temporary, "wb") as out:
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
        os.replace(temporary, self.path)
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """For one trainer at a time: two would save over each other. Raises OSError while another has it."""
        lock = try_lock(self.path.with_suffix(".lock"))
        if lock is None:
            raise OSError(f"another trainer works on {self.path}: give this one a state of its own (--data)")
        try:
            yield
        finally:
            os.close(lock)

    def load(self) -> Saved | None:
        """What was saved last; None if nothing was. A damaged file is moved aside, and said so: the log is read anew."""
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return None
        try:
            return _decoded(data)
        except (safetensors.SafetensorError, msgspec.DecodeError, LookupError, ValueError) as error:
            aside = self.path.with_suffix(".damaged")
            log.error("trainer state %s is damaged (%s): moved to %s, starting anew", self.path, error, aside)
            os.replace(self.path, aside)
            return None


def _decoded(data: bytes) -> Saved:
    tensors: dict[str, Tensor] = safetensors.torch.load(data)
    body = tensors.pop(_RECORD).numpy().tobytes()
    record = msgspec.msgpack.decode(body, type=Record)
    if record.schema != SCHEMA:
        raise ValueError(f"schema is {record.schema}, expected {SCHEMA}")
    return Saved(record, tensors)
