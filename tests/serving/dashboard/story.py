"""A slot with a past, as a trainer and its operators leave it behind, and an engine that serves from it: no model needed."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from pipelines.checkpoint import Evaluation, Manifest, TrafficSpan
from pipelines.registry import Presence, Registry, Served, Slot, Trial
from pipelines.sqlite_registry import SqliteRegistry
from serving.dashboard.history import History
from serving.dashboard.reading import Pair, Reading
from serving.messages import Snapshot
from serving.scripted import ScriptedEngine
from tests.pipelines.records import make_manifest

SLOT = Slot(target="target-1", kind="medusa")
STATIC, FIRST, SECOND, WORSE, THIRD, FALLEN, FOURTH, NEXT = (
    "0f5a61c07a2e93d4", "3c11b97d20fe48aa", "77d0ce51b3941c06", "5be2f90acc17d835",
    "a90417ecd6b85f23", "e4470b1f2a9dc681", "c2d86f9be01a7734", "19f7a3d50c64be82",
)  # fmt: skip


DRAFT = "draft-5be71fd20c9a"


class LearningEngine(ScriptedEngine):
    """Shows what an engine with learnt and static heads counts: the learnt ones half as good again on the same text."""

    def __init__(self, version: str = FOURTH, *, worker: bool = False, **options: Any) -> None:
        """worker: whether a draft worker is beside it, which foresees three rounds of four."""
        super().__init__(slot=SLOT, **options)
        self.version = version
        self.worker = worker

    def snapshot(self) -> Snapshot | None:
        found = super().snapshot()
        assert found is not None
        drafts, accepted = found.counters["drafts"], found.counters["accepted_tokens"]
        counters = {
            **found.counters,
            "decode_steps": drafts,
            "decode_tokens": drafts + accepted,
            "shadow_steps:medusa": drafts,
            "shadow_tokens:medusa": drafts + accepted,
            "shadow_steps:medusa-static": drafts,
            "shadow_tokens:medusa-static": drafts + accepted // 3,
        }
        versions = {"medusa": self.version, "medusa-static": STATIC, "suffix": "live"}
        gauges = {"zero_share": 0.12, "gain:1:greedy": 1.71, "arm:1:greedy:medusa+suffix": 1.0}
        gauges |= {"gain:4:sampled": 1.0, "arm:4:sampled:none": 1.0}
        if self.worker:
            versions["ssd"] = DRAFT
            gauges |= {"ssd_passes": 5.0, "ssd_fan_out": 12.0, "ssd_expected_hits": 0.81}
            counters |= {
                "ssd_rounds:hit": 3 * drafts, "ssd_rounds:miss": drafts, "ssd_tokens:hit": 12 * drafts, "ssd_tokens:miss": drafts,
                "ssd_wait_seconds": 0.02 * drafts, "ssd_build_seconds": 0.3 * drafts, "ssd_idle_seconds": 0.1 * drafts,
                "ssd_late": 2.0 * (drafts > 0), "ssd_failures": 1.0 * (drafts > 0),
            }  # fmt: skip
        return msgspec.structs.replace(found, versions=versions, counters=counters, gauges=gauges)


def evaluation(before: float, after: float, lower: float, **groups: float) -> Evaluation:
    return Evaluation(
        num_conversations=96,
        champion_tokens_per_step=before,
        tokens_per_step=after,
        gain=after - before,
        gain_lower=lower,
        budget=12,
        by_group={f"domain:{name}": change for name, change in groups.items()} | {"tenant:acme-secret": 0.5},
    )


def version(name: str, parent: str | None, judged: Evaluation | None, minutes_ago: float, num_traces: int = 0) -> Manifest:
    at = time.time() - 60 * minutes_ago
    return make_manifest(
        name,
        parent,
        created_at=at,
        evaluation=judged,
        span=TrafficSpan(num_traces=num_traces, num_tokens=180 * num_traces, newest_at=at - 5),
        note="learnt from traffic" if judged else "static heads",
    )


def tell(registry: Registry, slot: Slot = SLOT) -> None:
    """Four versions published one after another, one turned away, one rolled back, a candidate, a run and three processes."""
    registry.record(slot, version(STATIC, None, None, 3000), STATIC)
    _published(registry, slot, version(FIRST, STATIC, evaluation(1.52, 1.71, 0.11, sql=0.14, math=0.09), 52, 410))
    _published(registry, slot, version(SECOND, FIRST, evaluation(1.71, 1.94, 0.12, sql=0.19, math=0.07), 41, 960))
    worse = version(WORSE, SECOND, evaluation(1.94, 1.95, -0.02, sql=0.03, math=-0.02), 33, 1300)
    registry.record(slot, worse, WORSE)
    registry.reject(slot, worse, _said("no gain", worse))
    _published(registry, slot, version(THIRD, SECOND, evaluation(1.94, 2.18, 0.15, sql=0.15, math=0.1), 24, 1700))
    _published(registry, slot, version(FALLEN, THIRD, evaluation(2.18, 2.24, 0.01, sql=0.07, math=-0.04), 16, 2050))
    registry.rollback(slot, detail="slower on math than it was judged to be")
    _published(registry, slot, version(FOURTH, THIRD, evaluation(2.18, 2.41, 0.14, sql=0.12, math=0.08), 8, 2600))
    candidate = version(NEXT, FOURTH, evaluation(2.41, 2.55, 0.06, sql=0.08, math=0.02), 2, 3100)
    registry.record(slot, candidate, NEXT)
    registry.stage(slot, NEXT, detail=_said("published", candidate))
    run = registry.request_run(slot, "new prompt format in sql")
    registry.update_run(run.run_id, "champion", version=FOURTH, detail="published")
    registry.request_run(slot, "weekly")
    announce(registry)


def announce(registry: Registry, state: str = "training", at: float | None = None) -> None:
    """What a trainer and two servers say of themselves."""
    now = time.time() if at is None else at
    trainer = {
        "step": 18_240.0, "loss": 2.3187, "lag": 12.0, "held_out_now": 48.0, "freshness_seconds": 41.0, "judgements": 31.0,
        "published": 5.0, "last_gain": 0.231, "idle_seconds": 840.0, "guaranteed_seconds": 290.0, "alone_seconds": 0.0,
    }  # fmt: skip
    said = f"{state}; last judgement: published: 2.180 -> 2.410 tokens per step, gain at least 0.140, 96 conversations"
    registry.announce(Presence(name="trainer:pluto", at=now, ttl=3600, version=FOURTH, generation=7, figures=trainer, state=said))
    here: dict[str, Any]
    for name, champion, length in (("pluto:8000", FOURTH, 2.44), ("charon:8000", THIRD, 2.17)):
        figures = {"busy": 1.0, "num_running": 3.0, "num_waiting": 0.0, "acceptance_length": length, "tokens": 91_000.0}
        generation = registry.state(SLOT).generation - (champion == THIRD)
        here = {"version": champion, "generation": generation, "figures": figures, "state": "serving"}
        registry.announce(Presence(name=f"serving:{name}", at=now, ttl=3600, **here))


def an_hour(history: History) -> None:
    """Traffic with a break in it, drafted for by ever better heads, one swap every ten minutes."""
    now = time.time()
    reading = Reading(at=now - 3600, versions={"medusa": STATIC})
    history.take(reading)
    served = (STATIC, FIRST, SECOND, THIRD, FALLEN, FOURTH)
    for at in range(2, 3600, 2):
        epoch, steps = at // 600, 0 if 1500 < at < 1600 else 60 + round(20 * math.sin(at / 200))
        accepted = steps * (8 + 3 * epoch) // 10
        reading = Reading(
            at=now - 3600 + at,
            tokens=reading.tokens + steps + accepted,
            drafts=reading.drafts + steps,
            draft_tokens=reading.draft_tokens + 4 * steps,
            accepted=reading.accepted + accepted,
            positions={place: reading.positions.get(place, 0) + steps * 0.7 ** (place + 1) for place in range(8)},
            sources=_grown(reading.sources, {
                ("medusa", served[epoch]): (3 * steps, accepted), ("suffix", "live"): (2 * steps, steps // 3),
                ("medusa-static", STATIC): (steps, steps // 8),
            }),
            steps=reading.steps + steps,
            step_tokens=reading.step_tokens + steps + accepted,
            shadow=_grown(reading.shadow, {
                "medusa": (steps // 10, steps // 10 + accepted // 13), "medusa-static": (steps // 10, steps // 7),
            }),
            served=_grown(reading.served, {"speculated": (steps + accepted, 1.2), "probe": (steps // 20, 0.1)}),
            ssd=_grown(reading.ssd, {
                "hit": (steps - steps // (3 + epoch), 3 * steps), "miss": (steps // (3 + epoch), steps // 3),
            }),
            ssd_wait=reading.ssd_wait + 0.001 * steps,
            ssd_build=reading.ssd_build + 0.02 * steps,
            ssd_idle=reading.ssd_idle + 0.003 * steps,
            running=min(steps, 3 + at // 70 % 4),
            waiting=min(steps, at // 90 % 3),
            versions={"medusa": served[epoch]},
            num_swaps=epoch,
            generation=epoch,
        )  # fmt: skip
        history.take(reading)


K = TypeVar("K")


def _grown(before: Mapping[K, Pair], more: Mapping[K, Pair]) -> dict[K, Pair]:
    grown = dict(before)
    for key, (first, second) in more.items():
        old_first, old_second = before.get(key, (0.0, 0.0))
        grown[key] = old_first + first, old_second + second
    return grown


def try_out(registry: Registry) -> None:
    """A canary, and what a server saw of it and of the champion."""
    state = registry.stage(SLOT, NEXT, share=0.25, detail="have a look")
    champion, rival = Served(), Served()
    for number in range(143):
        champion.add(2.4 * (60 + number % 7), 60 + number % 7, 1.1)
    for number in range(48):
        rival.add(2.57 * (60 + number % 5), 60 + number % 5, 1.1)
    trial = Trial(generation=state.generation, champion=champion, rival=rival)
    figures = {"acceptance_length": 2.43, "num_running": 3.0, "num_waiting": 0.0}
    registry.announce(
        Presence(
            name="serving:pluto:8000", at=time.time(), ttl=3600, version=FOURTH, generation=state.generation, figures=figures,
            state="serving", trial=trial,
        )
    )  # fmt: skip


def story_registry(folder: Path, slot: Slot = SLOT) -> SqliteRegistry:
    registry = SqliteRegistry(folder / "registry.db")
    tell(registry, slot)
    return registry


def _published(registry: Registry, slot: Slot, manifest: Manifest) -> None:
    generation = registry.state(slot).generation
    registry.publish(
        slot, manifest, manifest.version, expected_generation=generation, detail=_said("published", manifest)
    )


def _said(decision: str, manifest: Manifest) -> str:
    """As the gate says it."""
    judged = manifest.evaluation
    assert judged is not None
    return (
        f"{decision}: {judged.champion_tokens_per_step:.3f} -> {judged.tokens_per_step:.3f} tokens per step, "
        f"gain at least {judged.gain_lower:.3f}, {judged.num_conversations} conversations"
    )
