"""What traces hold of a step and of a choice, and back."""

from __future__ import annotations

from pipelines.trace import SamplingRecord, SourceRecord
from speculator.batch import Sampling
from speculator.drafts import Drafts
from speculator.verify import Verdicts


def sampling_of(record: SamplingRecord) -> Sampling:
    """How the choices of a trace were made, its noise included."""
    return Sampling(
        temperature=record.temperature,
        top_p=record.top_p,
        top_k=record.top_k,
        min_p=record.min_p,
        seed=record.seed,
        choice=record.choice,
        max_tokens=record.max_tokens,
        stop_ids=frozenset(record.stop_ids),
        edits=record.edits,
        lossy=record.lossy,
    )


def record_of(sampling: Sampling) -> SamplingRecord:
    """The inverse of `sampling_of`."""
    return SamplingRecord(
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        top_k=sampling.top_k,
        min_p=sampling.min_p,
        seed=sampling.seed,
        choice=sampling.choice,
        max_tokens=sampling.max_tokens,
        stop_ids=tuple(sorted(sampling.stop_ids)),
        edits=sampling.edits,
        lossy=sampling.lossy,
    )


def step_records(drafts: Drafts, verdicts: Verdicts, row: int) -> tuple[SourceRecord, ...]:
    """What each source did in the step, by depth: one record for each with nodes in tree `row`, in the order of
    `drafts.source_names`.

    A node that several sources proposed counts for each of them.
    """
    tree = drafts.trees[row]
    if len(tree) == 1:
        return ()
    taken = {0, *verdicts.accepted[row]}
    records = []
    for bit, name in enumerate(drafts.source_names):
        nodes = [node for node in range(1, len(tree)) if tree.sources[node] >> bit & 1]
        if not nodes:
            continue
        proposed = [0] * max(tree.depth[node] for node in nodes)
        reached, accepted = proposed.copy(), proposed.copy()
        for node in nodes:
            level = tree.depth[node] - 1
            proposed[level] += 1
            reached[level] += tree.parent[node] in taken
            accepted[level] += node in taken
        records.append(
            SourceRecord(
                source=name,
                version=drafts.versions.get(name, ""),
                proposed=tuple(proposed),
                reached=tuple(reached),
                accepted=tuple(accepted),
            )
        )
    return tuple(records)
