"""Runs: the retrainings that somebody asked for."""

from __future__ import annotations

import time
import uuid
from typing import cast

import msgspec

from pipelines.errors import RegistryError, RunOpen, UnknownRun
from pipelines.redis_registry.server import Part, slot_name, slot_of
from pipelines.registry import OPEN_STATES, Run, RunPlan, RunState, Slot


class Runs(Part):
    """See `pipelines.registry.Registry`."""

    def request_run(self, slot: Slot, reason: str, *, plan: RunPlan = RunPlan(), idempotency_key: str | None = None) -> Run:
        server, run_id, now = self._server, f"run-{uuid.uuid4().hex[:12]}", time.time()
        keys = [server.key("open-run", slot), server.key("run-keys", slot), server.key("runs"), self._key(run_id)]
        keys.append(server.key("order"))
        times = {"created_at": now, "updated_at": now}
        fields = {"slot": slot_name(slot), "reason": reason, "state": "queued", "detail": "", **times}
        words = ["plan", msgspec.json.encode(plan), *(each for pair in fields.items() for each in pair)]
        # a key that is empty is a key all the same: marked, since the script takes '' for none
        key = "" if idempotency_key is None else f"key:{idempotency_key}"
        word, found = server.run("request_run", keys, key, run_id, *words)
        if word == b"open":
            raise RunOpen(found.decode())
        return self.run(found.decode())

    def claim_run(self, slot: Slot) -> Run | None:
        found = self._server.ask(lambda redis: redis.get(self._server.key("open-run", slot)))
        return None if found is None else self.run(found.decode())

    def update_run(self, run_id: str, state: RunState, *, detail: str = "", version: str | None = None) -> Run:
        before = self.run(run_id)
        keys = [self._key(run_id), self._server.key("open-run", before.slot)]
        words = (run_id, state, detail, version or "", time.time(), *sorted(OPEN_STATES))
        found = self._server.run("update_run", keys, *words).decode()
        if found not in OPEN_STATES and found != state:
            raise RegistryError(f"run {run_id} is {found}, expected an open one: not made {state}")
        return self.run(run_id)

    def run(self, run_id: str) -> Run:
        fields = self._server.ask(lambda redis: redis.hgetall(self._key(run_id)))
        if not fields:
            raise UnknownRun(f"run_id is {run_id!r}, expected one that was requested here")
        texts = {name.decode(): value.decode() for name, value in fields.items()}
        slot, version = slot_of(fields[b"slot"]), texts.get("version")
        stage = self._server.ask(lambda redis: redis.hget(self._server.key("reached", slot), version)) if version else None
        return Run(
            run_id=run_id,
            slot=slot,
            reason=texts["reason"],
            state=cast(RunState, stage.decode() if stage else texts["state"]),
            created_at=float(texts["created_at"]),
            updated_at=float(texts["updated_at"]),
            detail=texts["detail"],
            version=version,
            plan=msgspec.json.decode(texts.get("plan", "{}"), type=RunPlan),
        )

    def runs(self, limit: int = 20) -> list[Run]:
        if limit <= 0:
            return []
        names = self._server.ask(lambda redis: redis.zrevrange(self._server.key("runs"), 0, limit - 1))
        return [self.run(name.decode()) for name in names]

    def _key(self, run_id: str) -> str:
        return self._server.key(f"run:{run_id}")
