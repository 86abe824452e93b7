"""What each source did in a step, by depth."""

from __future__ import annotations

from pipelines.trace import SourceRecord
from speculator.drafts import Drafts, Tree
from speculator.records import step_records
from speculator.verify import Verdicts


def test_a_step_is_counted_by_source_and_depth() -> None:
    tree = Tree.rooted(0)
    both = tree.add(0, 1, 0.5, 0b11)
    tree.add(0, 2, 0.2, 0b01)
    tree.add(0, 3, 0.2, 0b10)
    deep = tree.add(both, 4, 0.5, 0b10)
    tree.add(deep, 5, 0.5, 0b10)
    drafts = Drafts.pack([Tree.rooted(9), tree], ("a", "b", "silent"), {"a": "1", "b": "2", "silent": "3"})
    verdicts = Verdicts(((), (both, deep)), ((7,), (1, 4, 8)))
    assert step_records(drafts, verdicts, 0) == ()
    assert step_records(drafts, verdicts, 1) == (
        SourceRecord(source="a", version="1", proposed=(2,), reached=(2,), accepted=(1,)),
        SourceRecord(source="b", version="2", proposed=(2, 1, 1), reached=(2, 1, 1), accepted=(1, 1, 0)),
    )


def test_below_a_rejected_node_nothing_was_reached() -> None:
    tree = Tree.rooted(0)
    tree.add(tree.add(0, 1, 0.5, 1), 2, 0.5, 1)
    drafts = Drafts.pack([tree], ("a",), {"a": "1"})
    (record,) = step_records(drafts, Verdicts(((),), ((9,),)), 0)
    assert (record.proposed, record.reached, record.accepted) == ((1, 1), (1, 0), (0, 0))
