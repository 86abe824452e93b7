"""EngineStats: what the engine counts, and the per-sequence report of a step."""

from __future__ import annotations

from collections import defaultdict

from serving.messages import FinishReason, Moved, SourceStep
from speculator.batch import Batch, Sequence
from speculator.drafts import Drafts
from speculator.records import step_records
from speculator.scored import Scored
from speculator.verify import Verdicts


class EngineStats:
    """Counters that only grow."""

    def __init__(self) -> None:
        self.num_steps = 0
        self.step_seconds = 0.0
        self.num_audits = 0
        self.counters: defaultdict[str, float] = defaultdict(float)

    def stepped(self, seconds: float) -> None:
        self.num_steps += 1
        self.step_seconds += seconds

    def served(self, sequence: Sequence, num_tokens: int, seconds: float) -> None:
        """A decoding sequence took part in a step that took so long."""
        if sequence.speculative or sequence.probe:
            how = "probe" if sequence.probe else "speculated"
            self.counters[f"served_tokens:{how}"] += num_tokens
            self.counters[f"served_seconds:{how}"] += seconds

    def record(
        self,
        batch: Batch,
        drafts: Drafts,
        verdicts: Verdicts,
        reasons: list[FinishReason | None],
        scored: tuple[tuple[Scored, ...], ...],
    ) -> tuple[Moved, ...]:
        """One Moved for each sequence that emitted. scored: [B], of what it emitted."""
        moved = []
        sizes = (drafts.offsets[1:] - drafts.offsets[:-1] - 1).tolist()
        num_decoding = len(batch.decoding)
        for row, (sequence, reason) in enumerate(zip(batch.choosing, reasons, strict=True)):
            emitted = verdicts.emitted[row]
            if row >= num_decoding:
                told = tuple(sequence.prompt_scored)
                moved.append(Moved(sequence.id, emitted, reason, num_decoding, -1, (), scored[row], told, sequence.num_cached))
                continue
            sources = tuple(
                SourceStep(record.source, record.version, record.proposed, record.reached, record.accepted)
                for record in step_records(drafts, verdicts, row)
            )
            moved.append(Moved(sequence.id, emitted, reason, num_decoding, sizes[row], sources, scored[row]))
            self._count(sizes[row], len(verdicts.accepted[row]), len(emitted))
        return tuple(moved)

    def _count(self, drafted: int, accepted: int, emitted: int) -> None:
        counters = self.counters
        counters["decode_steps"] += 1
        counters["decode_tokens"] += emitted
        if drafted:
            counters["drafts"] += 1
            counters["draft_tokens"] += drafted
            counters["accepted_tokens"] += accepted
