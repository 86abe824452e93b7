"""Running the command line in this process, on a data folder with a registry and a log as a stack leaves them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

import everdraft
from pipelines.checkpoint import Evaluation, Manifest, TrafficSpan
from pipelines.registry import Registry, Slot, open_registry
from pipelines.trace import SamplingRecord, Trace
from pipelines.traffic_log import open_writer

SLOT = Slot(target="3fa94c01" + "0" * 56, kind="medusa")
DRAFT_SLOT = Slot(target=SLOT.target, kind="draft-lm")
OTHER_SLOT = Slot(target="77" * 32, kind="medusa", scope="acme")


@dataclass(frozen=True)
class Outcome:
    """What a command came to."""

    code: int
    out: str
    err: str


class Commands:
    """`everdraft VERB --data FOLDER …`."""

    def __init__(self, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.data = data
        self._capsys = capsys

    def __call__(self, verb: str, *words: str) -> Outcome:
        return self.bare(verb, *words, "--data", str(self.data))

    def bare(self, *words: str) -> Outcome:
        """As given, no data folder added."""
        self._capsys.readouterr()
        try:
            code = everdraft.main(words)
        except SystemExit as ending:  # argparse's own
            code = ending.code if isinstance(ending.code, int) else 1
        return Outcome(code, *self._capsys.readouterr())

    def registry(self) -> closing[Registry]:
        return closing(open_registry(f"sqlite:///{self.data / 'registry.db'}"))

    def publish(self, *versions: str, slot: Slot = SLOT) -> None:
        """Each with the one before as its parent."""
        with self.registry() as registry:
            for parent, version in zip((None, *versions), versions, strict=False):
                generation = registry.state(slot).generation
                manifest = manifest_of(version, parent, slot)
                registry.publish(slot, manifest, version, expected_generation=generation)

    def log(self, traces: Sequence[Trace]) -> None:
        """Adds to the traffic log."""
        writer = open_writer(f"sqlite:///{self.data / 'traffic.db'}")
        for trace in traces:
            writer.append(trace)
        assert writer.flush(10.0)
        writer.close()


def manifest_of(version: str, parent: str | None, slot: Slot = SLOT) -> Manifest:
    judged = Evaluation(
        num_conversations=64,
        tokens_per_step=2.5,
        champion_tokens_per_step=2.25,
        gain=0.25,
        gain_lower=0.125,
        budget=16,
    )
    return Manifest(
        version=version,
        kind=slot.kind,
        parent=parent,
        target=slot.target,
        tokenizer="tokenizer",
        created_at=1.7e9,
        weights_sha256="0" * 64,
        num_parameters=10,
        span=TrafficSpan(position={0: 41}, num_traces=40),
        evaluation=judged if parent else None,
    )


def trace_of(trace_id: str, tenant: str = "default") -> Trace:
    return Trace(
        trace_id=trace_id,
        tenant=tenant,
        conversation=trace_id,
        started_at=1.0,
        finished_at=2.0,
        target=SLOT.target,
        tokenizer="tokenizer",
        prompt_ids=(1, 2, 3),
        output_ids=(4, 5),
        finish_reason="stop",
        sampling=SamplingRecord(temperature=0.0, top_p=1.0, top_k=0, min_p=0.0, seed=0, max_tokens=8),
    )
