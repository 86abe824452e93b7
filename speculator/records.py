"""What each source did in a step, by depth: for traces and metrics."""

from __future__ import annotations

from pipelines.trace import SourceRecord
from speculator.drafts import Drafts
from speculator.verify import Verdicts


def step_records(drafts: Drafts, verdicts: Verdicts, row: int) -> tuple[SourceRecord, ...]:
    """One record for each source with nodes in tree `row`, in the order of `drafts.source_names`.

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
