"""Operations: what people do to a slot by hand, each with a line in the audit log, whether it was done or refused."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec

from pipelines.errors import RegistryError, RegistryUnavailable
from pipelines.registry import TRIED_OUT, Act, Registry, Run, RunPlan, ShareOf, Slot, SlotState, Switch

PURGE = "purge"
"""What an act is called that tells servers to forget a tenant."""


class Operations:
    """The verbs of the command line and of the admin API. Each raises what the registry raises.

    actor: who is written down for them.
    """

    def __init__(self, registry: Registry, actor: str, *, clock: Callable[[], float] = time.time) -> None:
        self._registry = registry
        self._actor = actor
        self._clock = clock

    def retrain(self, slot: Slot, reason: str, *, plan: RunPlan = RunPlan(), idempotency_key: str | None = None) -> Run:
        """Raises RunOpen where another run of the slot is open."""
        with self._noted("retrain", slot, f"{plan.mode} run", reason):
            return self._registry.request_run(slot, reason, plan=plan, idempotency_key=idempotency_key)

    def cancel(self, run_id: str, reason: str) -> Run:
        """Ends an open run. Raises UnknownRun, and RegistryError for one that is over."""
        slot = self._registry.run(run_id).slot
        with self._noted("cancel", slot, run_id, reason):
            return self._registry.update_run(run_id, "cancelled", detail=reason)

    def promote(self, slot: Slot, version: str, reason: str, *, expected_generation: int | None = None) -> SlotState:
        with self._noted("promote", slot, version, reason):
            return self._registry.promote(slot, version, expected_generation=expected_generation, detail=reason)

    def canary(
        self, slot: Slot, version: str, share: float, share_of: ShareOf, reason: str, *, expected_generation: int | None = None
    ) -> SlotState:
        """Lets a version serve `share` (more than 0, less than 1) of the requests or replicas."""
        with self._noted("canary", slot, f"{version}, {share:g} of {share_of}", reason):
            if not 0 < share < 1:
                raise RegistryError(f"share is {share:g}, expected more than 0 and less than 1")
            if slot.kind not in TRIED_OUT:
                kinds = ", ".join(sorted(TRIED_OUT))
                raise RegistryError(f"kind is {slot.kind}, expected {kinds}: no server can try another out; it can be promoted")
            return self._registry.stage(
                slot, version, share=share, share_of=share_of, expected_generation=expected_generation, detail=reason
            )

    def rollback(
        self, slot: Slot, reason: str, *, version: str | None = None, expected_generation: int | None = None
    ) -> SlotState:
        """Takes a version out of service for good: the champion, or the candidate if `version` is that.

        Raises RegistryError for a version that is neither.
        """
        with self._noted("rollback", slot, version or "the champion", reason):
            state = self._registry.state(slot)
            # looked at and then changed: only if it is still so
            expected = state.generation if expected_generation is None and version is not None else expected_generation
            if version is not None and version == state.candidate:
                return self._registry.withdraw(slot, expected_generation=expected, detail=reason)
            if version not in (None, state.champion):
                serving = " or ".join(filter(None, (state.champion, state.candidate))) or "one in service (there is none)"
                raise RegistryError(f"version is {version!r}, expected {serving}")
            return self._registry.rollback(slot, expected_generation=expected, detail=reason)

    def purge(self, tenant: str) -> None:
        """Has every server forget what its sources remember of a tenant (`serving.purges`)."""
        self._registry.note_act(
            Act(at=self._clock(), actor=self._actor, action=PURGE, slot=Slot(target="", kind="", scope=tenant), what=tenant)
        )

    def switch(self, slot: Slot, switch: Switch, on: bool, reason: str) -> SlotState:
        """Pauses or resumes training; switches speculation on every replica off or on."""
        with self._noted("switch", slot, f"{switch} {'on' if on else 'off'}", reason):
            return self._registry.switch(slot, switch, on, detail=reason)

    @contextmanager
    def _noted(self, action: str, slot: Slot, what: str, reason: str) -> Iterator[None]:
        act = Act(at=self._clock(), actor=self._actor, action=action, slot=slot, what=what, reason=reason)
        try:
            yield
        except RegistryUnavailable:
            raise  # there is nowhere to note it
        except RegistryError as error:
            self._registry.note_act(msgspec.structs.replace(act, outcome=str(error)))
            raise
        self._registry.note_act(act)
