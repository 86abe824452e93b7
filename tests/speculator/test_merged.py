"""Several sources as one."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import SimpleNamespace

import pytest

from pipelines.checkpoint import Checkpoint
from pipelines.errors import ForeignCheckpoint
from pipelines.trace import TYPICAL
from speculator.batch import Batch, Sampling, Sequence
from speculator.drafts import Drafts, Tree
from speculator.merge import prune
from speculator.merged import MergedSpeculator
from speculator.protocol import Budget, Speculator
from speculator.shadow import Shadow
from speculator.verify import Verdicts
from tests.speculator.toys import mean_of, paths


@dataclass
class Scripted:
    """Proposes the same trees in every step and notes what it is told."""

    name: str
    trees: list[Tree]
    version: str = "1"
    needs_hidden: bool = False
    needs_layers: tuple[int, ...] = ()
    told: list[str] = field(default_factory=list)

    def begin(self, sequence: Sequence) -> None:
        self.told.append(f"begin {sequence.id}")

    def propose(self, batch: Batch, budget: Budget) -> Drafts:
        self.told.append("propose")
        return Drafts.pack(self.trees[: len(batch.decoding)], (self.name,), {self.name: self.version})

    def verifying(self, batch: Batch, drafts: Drafts) -> None:
        self.told.append("verifying")

    def observe(self, batch: Batch, drafts: Drafts, verdicts: Verdicts) -> None:
        self.told.append("observe")

    def end(self, sequence: Sequence) -> None:
        self.told.append(f"end {sequence.id}")

    def load(self, checkpoint: Checkpoint) -> None:
        self.version = checkpoint.manifest.version

    def cost(self, rows: int) -> float:
        return 1.0 * rows


def chain(*steps: tuple[int, float]) -> Tree:
    tree = Tree.rooted(0)
    for node, (token, confidence) in enumerate(steps):
        tree.add(node, token, confidence, 1)
    return tree


def batch_of(number: int) -> Batch:
    return Batch(tuple(Sequence(row, "t", [1, 0], 1, Sampling(max_tokens=99)) for row in range(number)))


def observed(speculator: MergedSpeculator, batch: Batch, drafts: Drafts, *emitted: tuple[int, ...]) -> None:
    for sequence, said in zip(batch.decoding, emitted, strict=True):
        sequence.tokens += said
    speculator.observe(batch, drafts, Verdicts(((),) * len(emitted), emitted))


def test_it_is_a_speculator() -> None:
    speculator: Speculator = MergedSpeculator([Scripted("a", [])])
    assert speculator.name == "merged"


def test_one_source_without_prices_is_plain_best_first_pruning() -> None:
    tree = chain((5, 0.9), (6, 0.2), (7, 0.9))
    tree.add(0, 8, 0.3, 1)
    (kept,) = MergedSpeculator([Scripted("a", [tree])]).propose(batch_of(1), Budget(3)).trees
    (pruned,) = prune([tree], 3)
    assert (paths(kept), kept.confidence) == (paths(pruned), pruned.confidence)


def test_trees_are_united_and_every_node_says_who_proposed_it() -> None:
    first = Scripted("a", [chain((5, 0.9), (6, 0.8))])
    second = Scripted("b", [chain((5, 0.5), (7, 0.6))], version="2")
    drafts = MergedSpeculator([first, second]).propose(batch_of(1), Budget(8))
    (tree,) = drafts.trees
    assert dict(zip(paths(tree), tree.sources, strict=True)) == {(): 0, (5,): 0b11, (5, 6): 0b01, (5, 7): 0b10}
    assert tree.confidence[1] == 0.9
    assert (drafts.source_names, drafts.versions) == (("a", "b"), {"a": "1", "b": "2"})


def test_only_sources_that_the_budget_allows_are_asked() -> None:
    first, second = Scripted("a", [chain((5, 0.9))]), Scripted("b", [chain((6, 0.9))])
    speculator = MergedSpeculator([first, second])
    (tree,) = speculator.propose(batch_of(1), Budget(8, sources=frozenset({"b"}))).trees
    assert tree.tokens[1:] == [6]
    assert (first.told, second.told) == ([], ["propose"])
    speculator.propose(batch_of(1), Budget(0))
    assert second.told == ["propose"]


def test_a_batch_shares_the_budget_and_no_tree_outgrows_its_limit() -> None:
    source = Scripted("a", [chain((5, 0.9), (5, 0.9), (5, 0.9)), chain((6, 0.2), (6, 0.2))])
    assert [len(tree) - 1 for tree in MergedSpeculator([source]).propose(batch_of(2), Budget(3)).trees] == [3, 0]
    capped = MergedSpeculator([source], max_tree=2).propose(batch_of(2), Budget(3))
    assert [len(tree) - 1 for tree in capped.trees] == [2, 1]


def test_prices_stop_growth() -> None:
    source = Scripted("a", [chain((5, 0.9), (5, 0.1))])
    budget = Budget(2, step_seconds=(1.0, 1.2, 1.4))
    (tree,) = MergedSpeculator([source]).propose(batch_of(1), budget).trees
    assert tree.tokens[1:] == [5]


def test_who_is_wrong_loses_its_place_to_who_is_right() -> None:
    boaster, modest = Scripted("a", [chain((5, 0.9))]), Scripted("b", [chain((6, 0.3))])
    speculator, batch = MergedSpeculator([boaster, modest]), batch_of(1)
    assert speculator.propose(batch, Budget(1)).trees[0].tokens[1:] == [5]
    for _ in range(200):
        observed(speculator, batch, speculator.propose(batch, Budget(2)), (6,))
    assert speculator.propose(batch, Budget(1)).trees[0].tokens[1:] == [6]


def test_what_was_pruned_is_judged_too() -> None:
    """Else a source that fell out of favour could never come back."""
    favourite, other = Scripted("a", [chain((5, 0.9))]), Scripted("b", [chain((6, 0.3))])
    speculator, batch = MergedSpeculator([favourite, other]), batch_of(1)
    for _ in range(200):
        drafts = speculator.propose(batch, Budget(1))
        observed(speculator, batch, drafts, (6,))
    assert drafts.trees[0].tokens[1:] == [6]


def test_every_source_hears_of_every_sequence_and_step() -> None:
    sources = [Scripted("a", [chain((5, 0.9))]), Scripted("b", [chain((6, 0.9))])]
    speculator, batch = MergedSpeculator(sources), batch_of(1)
    speculator.begin(batch.decoding[0])
    drafts = speculator.propose(batch, Budget(1, sources=frozenset({"a"})))
    speculator.verifying(batch, drafts)
    observed(speculator, batch, drafts, (5, 1))
    speculator.end(batch.decoding[0])
    assert sources[1].told == ["begin 0", "verifying", "observe", "end 0"]
    assert speculator.cost(3) == 6.0


def test_weights_go_to_the_source_of_their_kind() -> None:
    sources = [Scripted("medusa", []), Scripted("medusa-static", [])]
    speculator = MergedSpeculator(sources)
    speculator.load(SimpleNamespace(manifest=SimpleNamespace(kind="medusa", version="9")))  # type: ignore[arg-type]
    assert speculator.versions == {"medusa": "9", "medusa-static": "1"}
    with pytest.raises(ForeignCheckpoint, match="kind is 'eagle', expected one of medusa, medusa-static"):
        speculator.load(SimpleNamespace(manifest=SimpleNamespace(kind="eagle", version="9")))  # type: ignore[arg-type]


def test_a_rival_drafts_in_place_of_the_heads_of_its_kind_alone() -> None:
    names = ("medusa", "hydra", "hydra-static", "hydra-rival")
    sources = {name: Scripted(name, [chain((number, 0.9)), chain((number, 0.9))]) for number, name in enumerate(names, 5)}
    *ours, rival = sources.values()
    speculator, batch = MergedSpeculator(ours, rival=rival), batch_of(2)
    speculator.try_out(
        SimpleNamespace(manifest=SimpleNamespace(kind="hydra", version="2")),  # type: ignore[arg-type]
        lambda sequence: sequence.id == 1,
    )
    for sequence in batch.decoding:
        speculator.begin(sequence)

    def drafted(*arm: str) -> list[list[int]]:
        drafts = speculator.propose(batch, Budget(8, sources=frozenset(arm)))
        return [sorted(tree.tokens[1:]) for tree in drafts.trees]

    assert drafted("hydra") == [[6], [8]]
    assert drafted("hydra-static") == [[7], [8]]
    assert drafted("medusa") == [[5], [5]]
    assert drafted("medusa", "hydra") == [[5, 6], [5, 8]]


def test_after_a_swap_the_new_weights_earn_their_place_quickly() -> None:
    """The old ones were always wrong; the new ones are always right."""
    confidence = []
    for swapped in (False, True):
        source = Scripted("medusa", [chain((5, 0.5))])
        speculator, batch = MergedSpeculator([source]), batch_of(1)
        for _ in range(300):
            observed(speculator, batch, speculator.propose(batch, Budget(1)), (6,))
        if swapped:
            speculator.load(SimpleNamespace(manifest=SimpleNamespace(kind="medusa", version="2")))  # type: ignore[arg-type]
        for _ in range(10):
            observed(speculator, batch, speculator.propose(batch, Budget(1)), (5, 1))
        confidence.append(speculator.propose(batch, Budget(1)).trees[0].confidence[1])
    assert confidence[1] > 2 * confidence[0]


def test_a_shadowed_step_asks_everybody_but_drafts_with_the_allowed() -> None:
    used, left_out = Scripted("a", [chain((5, 0.9))]), Scripted("b", [chain((6, 0.9), (7, 0.9))])
    shadow = Shadow(every=2, share=1.0)
    speculator, batch = MergedSpeculator([used, left_out], shadow=shadow), batch_of(1)
    for _ in range(4):
        drafts = speculator.propose(batch, Budget(4, sources=frozenset({"a"})))
        assert drafts.trees[0].tokens[1:] == [5]
        observed(speculator, batch, drafts, (6, 7, 8))
    assert left_out.told.count("propose") == 2
    assert mean_of(shadow, "b") == (3.0, 2)  # six, seven and the bonus token
    assert mean_of(shadow, "a") == (1.0, 2)


def test_steps_with_new_prompts_only_draft_nothing() -> None:
    speculator = MergedSpeculator([Scripted("a", [])])
    drafts = speculator.propose(Batch(()), Budget(4))
    assert len(drafts) == 0
    speculator.observe(Batch(()), drafts, Verdicts((), ()))


def test_the_time_that_drafting_takes_is_measured_by_arm() -> None:
    now = iter(float(second) for second in range(100))
    speculator = MergedSpeculator([Scripted("a", [chain((5, 0.9))])], clock=lambda: next(now))
    speculator.propose(batch_of(1), Budget(1))
    assert speculator.costs.drafting(frozenset({"a"}), 1) == pytest.approx(1.0)


@dataclass
class ForOne(Scripted):
    """Drafts for one sequence only."""

    lucky: int = 0

    def propose(self, batch: Batch, budget: Budget) -> Drafts:
        self.told.append(" ".join(str(sequence.id) for sequence in batch.decoding))
        trees = [self.trees[0] if sequence.id == self.lucky else Tree.rooted(0) for sequence in batch.decoding]
        return Drafts.pack(trees, (self.name,), {self.name: self.version})


def test_in_a_crowd_whoever_gains_nothing_rests_and_drafts_stay_with_their_sequences() -> None:
    source = ForOne("a", [chain((5, 0.9), (6, 0.9))], lucky=2)
    speculator, batch = MergedSpeculator([source]), batch_of(4)
    budget = Budget(8, step_seconds=tuple(1.0 + 0.01 * nodes for nodes in range(9)))
    for _ in range(30):
        drafts = speculator.propose(batch, budget)
        assert [len(tree) for tree in drafts.trees] == [1, 1, 3, 1]
        speculator.observe(batch, drafts, Verdicts(((), (), (1, 2), ()), ((7,), (7,), (5, 6, 7), (7,))))
    assert source.told.count("2") > 10
    assert all("2" in asked for asked in source.told if asked[0].isdigit())
    assert speculator.propose(batch, budget).trees[2].confidence[1] > 0.9, "calibrated on its own row"


def test_sources_are_not_calibrated_on_the_text_of_a_lossy_answer() -> None:
    merged = MergedSpeculator([Scripted("a", [chain((5, 0.9)), chain((5, 0.9))])])
    exact, lossy = batch_of(2).decoding
    lossy.sampling = replace(lossy.sampling, lossy=TYPICAL)

    def factors_after(sequence: Sequence) -> list[float]:
        batch = Batch((sequence,))
        observed(merged, batch, merged.propose(batch, Budget(4)), (6,))
        return list(merged._calibration.factors)

    before = list(merged._calibration.factors)
    assert factors_after(lossy) == before
    assert factors_after(exact) != before
