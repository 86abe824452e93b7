"""Small valid records for tests to bend."""

from __future__ import annotations

from typing import Any

from pipelines.checkpoint import Manifest
from pipelines.registry import Slot
from pipelines.trace import SamplingRecord, Trace

SAMPLING = SamplingRecord(temperature=0.8, top_p=1.0, top_k=0, min_p=0.0, seed=7, max_tokens=16)
SLOT = Slot(target="target-1", kind="medusa")


def make_trace(trace_id: str = "trace-1", **fields: Any) -> Trace:
    defaults: dict[str, Any] = {
        "conversation": "conversation-1",
        "started_at": 1.0,
        "finished_at": 2.0,
        "target": SLOT.target,
        "tokenizer": "tokenizer-1",
        "prompt_ids": (1, 2, 3),
        "output_ids": (4, 5),
        "finish_reason": "stop",
        "sampling": SAMPLING,
    }
    return Trace(trace_id=trace_id, **(defaults | fields))


def make_traces(count: int, prefix: str = "trace", **fields: Any) -> list[Trace]:
    return [make_trace(f"{prefix}-{number}", **fields) for number in range(count)]


def make_manifest(version: str, parent: str | None = None, **fields: Any) -> Manifest:
    defaults: dict[str, Any] = {
        "kind": SLOT.kind,
        "target": SLOT.target,
        "tokenizer": "tokenizer-1",
        "created_at": 1.0,
        "weights_sha256": "0" * 64,
        "num_parameters": 1,
    }
    return Manifest(version=version, parent=parent, **(defaults | fields))
