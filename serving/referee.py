"""Referee: starts and ends the trials of one replica, and acts on what all replicas saw: promotes, or rolls back.

Two kinds of trial put two versions in service at once. A *canary*: the candidate serves its share beside the champion. A
*watch*: after a swap, the champion before goes on serving a small share, so that a new one that is worse as served is rolled
back by itself. Every replica comes to the same verdict from the same presences; the registry takes the first.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Protocol

from pipelines.checkpoint import Checkpoint
from pipelines.errors import RegistryError, RegistryUnavailable
from pipelines.operations import Operations
from pipelines.registry import Registry, Served, Slot, SlotState
from serving.lots import salted
from serving.rollout import RolloutSettings, Verdict, compare
from serving.trial import Trial, own_share
from speculator.batch import Sequence

log = logging.getLogger(__name__)


class TriesOut(Protocol):
    """What can draft with two versions: a `speculator.merged.MergedSpeculator`."""

    def try_out(self, checkpoint: Checkpoint, chosen: Callable[[Sequence], bool]) -> None: ...

    def stop_trial(self) -> None: ...


class Referee:
    """replica: the name of this one. `begin` and `dismiss` are the engine thread's, the rest the polling thread's."""

    def __init__(self, slot: Slot, settings: RolloutSettings, replica: str, trial: Trial) -> None:
        self._slot = slot
        self._settings = settings
        self._replica = replica
        self._trial = trial
        self._watched = 0
        """Generation of the swap after which the champion before is held back; 0: none is."""
        self._decided = 0
        """Generation on which nothing more is to be said."""
        self._unfit = (0, "")
        """Generation whose rival cannot be served here, and why."""

    def rival(self, before: SlotState, state: SlotState) -> tuple[str | None, float]:
        """The second version that `state` puts in service here, and its share of the requests; None: there is none."""
        if state.candidate is not None and state.share > 0:
            self._watched = 0
            return state.candidate, own_share(state, self._slot, self._replica)
        swapped = before.champion is not None and state.champion != before.champion
        if swapped and state.previous == before.champion and self._settings.holdback > 0:
            self._watched = state.generation
            return state.previous, self._settings.holdback
        self._watched = 0
        return None, 0.0

    def begin(self, generation: int, rival: Checkpoint, share: float, speculator: TriesOut) -> None:
        """Puts the rival in service beside the champion. Raises BadCheckpoint where it does not fit."""
        version = rival.manifest.version

        def chosen(sequence: Sequence) -> bool:
            return sequence.lot is not None and salted(sequence.lot, version) < share

        self._trial.restart(0)
        speculator.try_out(rival, chosen)
        self._trial.restart(generation)
        log.info("version %s serves %.0f %% of the requests here, generation %d", version, 100 * share, generation)

    def dismiss(self, speculator: TriesOut) -> None:
        """One version serves everybody."""
        self._trial.restart(0)
        speculator.stop_trial()

    def unfit(self, generation: int, version: str, why: str) -> None:
        """The rival of this generation cannot be served here."""
        self._unfit = (generation, f"{version} cannot be served by {self._replica}: {why}")

    def look(self, registry: Registry, state: SlotState) -> bool:
        """Decides if there is something to decide; True: the trial of this generation is over, and nothing else has changed.

        Raises RegistryUnavailable.
        """
        is_canary = state.candidate is not None and state.share > 0
        if state.generation == self._decided or not (is_canary or self._watched == state.generation):
            return False
        verdict = self._verdict(registry, state, is_canary)
        if verdict.decision == "wait":
            return False
        self._decided = state.generation
        if verdict.decision == "stay" and not is_canary:
            log.info("version %s is as good as the one before: %s", state.champion, verdict.why)
            return True
        self._act(Operations(registry, f"rollout@{self._replica}"), state, verdict, is_canary)
        return False

    def _verdict(self, registry: Registry, state: SlotState, is_canary: bool) -> Verdict:
        generation, why = self._unfit
        if generation == state.generation:
            return Verdict("go" if is_canary else "stay", why)
        champion, rival = Served(), Served()
        for presence in registry.presences(time.time()):
            if presence.trial is not None and presence.trial.generation == state.generation:
                champion, rival = champion + presence.trial.champion, rival + presence.trial.rival
        newer, older = (rival, champion) if is_canary else (champion, rival)
        return compare(newer, older, self._settings)

    def _act(self, do: Operations, state: SlotState, verdict: Verdict, is_canary: bool) -> None:
        version = state.candidate if is_canary else state.champion
        assert version is not None, "a trial has a newer version"
        why, expected = f"as served: {verdict.why}", state.generation
        try:
            if verdict.decision == "stay":
                do.promote(self._slot, version, why, expected_generation=expected)
                log.info("canary %s is promoted, %s", version, why)
            else:
                do.rollback(self._slot, why, version=version, expected_generation=expected)
                log.error("version %s is rolled back, %s", version, why)
        except RegistryUnavailable:
            self._decided = 0
            raise
        except RegistryError as error:  # another replica was faster, or somebody decided by hand
            log.info("version %s: %s", version, error)
