"""Publish: turns a candidate that passed the gate into a version that servers take up."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import msgspec
from torch import Tensor

from pipelines.checkpoint import Checkpoint, Evaluation, Form, Manifest, TrafficSpan
from pipelines.registry import Registry, Slot, SlotState
from pipelines.store import CheckpointStore
from trainer.gate import Judgement

_LINEAGE = 8
"""Ancestors of the champion whose weights are never pruned: what rollbacks may go back to."""


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """Weights before the gate, and where they come from."""

    weights: Mapping[str, Tensor]
    config: dict[str, int | float | str | bool]
    parent: str | None
    span: TrafficSpan


class Publisher:
    """Writes to the store first, then to the registry: a version is never announced before its weights are there."""

    def __init__(
        self,
        registry: Registry,
        store: CheckpointStore,
        slot: Slot,
        tokenizer: str,
        *,
        budget: int,
        form: Form = "tree",
        static: Checkpoint | None,
        fence: Callable[[], int | None] = lambda: None,
    ) -> None:
        """budget, form: of the drafts that are judged. fence: of the trainer's lead, as it is at the moment of publishing."""
        self._registry = registry
        self._store = store
        self._slot = slot
        self._tokenizer = tokenizer
        self._budget, self._form = budget, form
        self._static = static
        self._fence = fence

    def publish(self, candidate: Candidate, judgement: Judgement, generation: int) -> tuple[str, SlotState]:
        """The new version and the slot with it as champion.

        Raises StaleGeneration if the slot has moved on from `generation`, CorruptCheckpoint for weights that are not
        finite (nothing of either leaves the process), Superseded where another trainer leads, RegistryError for a
        quarantined parent.
        """
        self._record_static()
        manifest, location = self._save(candidate, judgement)
        state = self._registry.publish(
            self._slot, manifest, location, expected_generation=generation, detail=str(judgement), fence=self._fence()
        )
        self._prune()
        return manifest.version, state

    def stage(self, candidate: Candidate, judgement: Judgement, generation: int, share: float) -> tuple[str, SlotState]:
        """As `publish`, but the version becomes candidate only, and serves `share` of the requests."""
        version = self.shelve(candidate, judgement)
        state = self._registry.stage(
            self._slot, version, share=share, expected_generation=generation, detail=str(judgement), fence=self._fence()
        )
        self._prune()
        return version, state

    def shelve(self, candidate: Candidate, judgement: Judgement) -> str:
        """Records the version, for somebody to promote by hand; its weights stay until they are pruned."""
        self._record_static()
        manifest, location = self._save(candidate, judgement)
        self._registry.record(self._slot, manifest, location)
        return manifest.version

    def reject(self, candidate: Candidate, judgement: Judgement) -> str:
        """Notes that the gate turned a candidate away; its weights can be looked at until they are pruned."""
        self._record_static()
        manifest, location = self._save(candidate, judgement)
        self._registry.record(self._slot, manifest, location)
        self._registry.reject(self._slot, manifest, str(judgement))
        self._prune()
        return manifest.version

    def _save(self, candidate: Candidate, judgement: Judgement) -> tuple[Manifest, str]:
        evaluation = evaluation_of(judgement, self._budget, self._form)
        manifest, location = self._store.save(
            candidate.weights,
            kind=self._slot.kind,
            parent=candidate.parent,
            target=self._slot.target,
            tokenizer=self._tokenizer,
            config=candidate.config,
            created_at=time.time(),
            scope=self._slot.scope,
            span=candidate.span,
            evaluation=evaluation,
            note="learnt from traffic",
        )
        # weights saved once keep their first manifest: overtaken by a rival, they have been judged again since
        return msgspec.structs.replace(manifest, evaluation=evaluation), location

    def _record_static(self) -> None:
        """Makes the static weights known, as the ancestor that the first rollback goes back to."""
        static = self._static
        if static is None or static.manifest.version in {each.version for each in self._registry.versions(self._slot)}:
            return
        old = static.manifest
        manifest, location = self._store.save(
            static.weights,
            kind=old.kind,
            parent=old.parent,
            target=old.target,
            tokenizer=old.tokenizer,
            config=old.config,
            created_at=old.created_at,
            span=old.span,
            evaluation=old.evaluation,
            note=old.note,
        )
        self._registry.record(self._slot, manifest, location)

    def _prune(self) -> None:
        """The store is every slot's: what others have in service stays as well."""
        self._store.prune([location for slot in self._registry.slots() for location in self._needed(slot)])

    def _needed(self, slot: Slot) -> list[str]:
        state = self._registry.state(slot)
        parents = {each.version: each.parent for each in self._registry.versions(slot)}
        keep = [version for version in (state.champion, state.previous, state.candidate) if version]
        ancestor = state.champion
        for _ in range(_LINEAGE):
            ancestor = parents.get(ancestor or "")
            if ancestor is None:
                break
            keep.append(ancestor)
        return [self._registry.location(slot, each) for each in keep if each in parents]


def evaluation_of(judgement: Judgement, budget: int, form: Form = "tree") -> Evaluation:
    """A judgement as manifests hold it."""
    return Evaluation(
        num_conversations=judgement.num_conversations,
        tokens_per_step=judgement.tokens_per_step,
        champion_tokens_per_step=judgement.champion_tokens_per_step,
        gain=judgement.gain,
        gain_lower=judgement.gain_lower,
        budget=budget,
        form=form,
        by_group=judgement.by_group,
    )
