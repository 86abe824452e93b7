"""How a slot's records become what the page shows."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from pipelines.checkpoint import Evaluation
from pipelines.registry import Event, Presence, Run, Served, SlotState, Trial
from serving.dashboard.slot_view import SHOWN_VERSIONS, slot_view, stage_of, versions_view
from tests.pipelines.records import make_manifest
from tests.serving.dashboard.story import SLOT, evaluation


def event(action: str, version: str | None = "v", detail: str = "", number: int = 1) -> Event:
    return Event(id=number, at=1.0, slot=SLOT, generation=1, action=action, version=version, detail=detail)


@pytest.mark.parametrize(
    ("stage", "state", "reached", "quarantined", "judged"),
    [
        ("champion", SlotState(champion="v"), "champion", False, "published"),
        ("candidate", SlotState(candidate="v"), "candidate", False, "staged"),
        ("canary", SlotState(candidate="v", share=0.25), "canary", False, "staged"),
        ("previous", SlotState(champion="w", previous="v"), "champion", False, "published"),
        ("was_champion", SlotState(champion="w"), "champion", False, "published"),
        ("was_candidate", SlotState(champion="w"), "canary", False, "staged"),
        ("rolled_back", SlotState(champion="w"), "rolled_back", True, "published"),
        ("quarantined", SlotState(champion="w"), None, True, None),
        ("rejected", SlotState(champion="w"), None, False, "rejected"),
        ("recorded", SlotState(champion="w"), None, False, None),
    ],
)
def test_a_stage_is_where_a_version_stands_now(
    stage: str, state: SlotState, reached: Any, quarantined: bool, judged: str | None
) -> None:
    stages = {"v": reached} if reached else {}
    found = stage_of("v", state, stages, frozenset({"v"} if quarantined else ()), event(judged) if judged else None)
    assert found == stage


def test_what_the_gate_said_is_its_latest_word_and_nobody_elses() -> None:
    events = [
        event("rejected", detail="no gain"),
        event("published", detail="published: better"),
        event("promoted", detail="by hand"),
        event("quarantined", detail="slower"),
        event("published", version="w", detail="another"),
    ]
    (shown,) = versions_view(SlotState(champion="v"), [make_manifest("v")], {"v": "champion"}, frozenset(), events)
    assert shown.gate == "published: better"


def test_nothing_tells_of_a_tenant() -> None:
    judged = evaluation(1.5, 1.8, 0.1, sql=0.2)
    assert "tenant:acme-secret" in judged.by_group
    (shown,) = versions_view(SlotState(), [make_manifest("v", evaluation=judged)], {}, frozenset(), [])
    assert shown.evaluation is not None
    assert shown.evaluation.by_domain == {"sql": 0.2}
    assert b"acme" not in msgspec.json.encode(shown)


def test_the_newest_versions_are_shown_and_those_in_service_however_old() -> None:
    manifests = [make_manifest(f"v{number}") for number in range(SHOWN_VERSIONS + 20)]
    state = SlotState(champion="v3", candidate="v1", previous="v2")
    shown = [each.version for each in versions_view(state, manifests, {}, frozenset(), [])]
    newest = [f"v{number}" for number in reversed(range(20, SHOWN_VERSIONS + 20))]
    assert shown == [*newest, "v3", "v2", "v1"]


def test_an_evaluation_keeps_what_it_says() -> None:
    judged = Evaluation(
        num_conversations=70, tokens_per_step=1.9, champion_tokens_per_step=1.7, gain=0.2, gain_lower=0.05, budget=12
    )
    (shown,) = versions_view(SlotState(), [make_manifest("v", "u", evaluation=judged)], {}, frozenset(), [])
    assert shown.evaluation is not None
    assert (shown.evaluation.tokens_per_step, shown.evaluation.champion_tokens_per_step) == (1.9, 1.7)
    assert (shown.evaluation.gain, shown.evaluation.gain_lower, shown.evaluation.num_conversations) == (0.2, 0.05, 70)
    assert shown.parent == "u"


def test_servers_and_trainers_are_told_apart_and_a_loss_of_nan_is_sent_as_null() -> None:
    presences = [
        Presence(name="serving:a", at=1, ttl=9, version="v", generation=3, figures={"acceptance_length": 2.1}),
        Presence(name="trainer:b", at=1, ttl=9, figures={"loss": float("nan")}, state="training"),
        Presence(name="somebody:c", at=1, ttl=9),
    ]
    view = slot_view(SlotState(generation=3, training=False, share_of="replicas"), presences, [])
    assert [each.name for each in view.servers] == ["serving:a"]
    assert [each.name for each in view.trainers] == ["trainer:b"]
    assert b'"loss":null' in msgspec.json.encode(view)
    assert (view.generation, view.training, view.speculation, view.share_of) == (3, False, True, "replicas")


def served(num_requests: int, tokens: float) -> Served:
    found = Served()
    for _ in range(num_requests):
        found.add(tokens, 10.0, 0.5)
    return found


def test_two_versions_in_service_are_compared_over_all_servers_that_know_of_it() -> None:
    state = SlotState(generation=7, champion="v", candidate="w", previous="u", share=0.25)
    trials = [
        Trial(generation=7, champion=served(3, 20.0), rival=served(1, 30.0)),
        Trial(generation=7, champion=served(1, 24.0), rival=Served()),
        Trial(generation=6, champion=served(9, 99.0), rival=served(9, 99.0)),
        None,
    ]
    presences = [Presence(name=f"serving:{n}", at=1, ttl=9, trial=trial) for n, trial in enumerate(trials)]
    found = slot_view(state, presences, []).trial
    assert found is not None
    assert found.kind == "canary"
    assert (found.champion.version, found.champion.num_requests, found.champion.tokens_per_step) == ("v", 4, 2.1)
    assert (found.rival.version, found.rival.num_requests, found.rival.tokens_per_second) == ("w", 1, 60.0)
    watched = slot_view(msgspec.structs.replace(state, candidate=None, share=0.0), presences[1:], []).trial
    assert watched is not None
    assert (watched.kind, watched.rival.version, watched.rival.tokens_per_step) == ("watch", "u", None)
    assert slot_view(state, presences[2:], []).trial is None


def test_what_somebody_wrote_at_length_is_cut() -> None:
    run = Run(run_id="r", slot=SLOT, reason="x" * 5000, state="queued", created_at=1, updated_at=1)
    (shown,) = slot_view(SlotState(), [], [run]).runs
    assert len(shown.reason) == 300
    assert shown.reason.endswith("x…")
