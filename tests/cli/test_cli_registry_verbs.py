"""status, versions, rollback and retrain, on a real registry."""

from __future__ import annotations

import json
import re
import time

import pytest

from cli.errors import Exit
from pipelines.registry import Presence, RunPlan, RunState, SlotState
from tests.cli.commands import DRAFT_SLOT, OTHER_SLOT, SLOT, Commands, manifest_of, trace_of


def test_status_shows_slots_processes_log_and_events(everdraft_command: Commands) -> None:
    everdraft_command.publish("v1", "v2")
    everdraft_command.log([trace_of("a"), trace_of("b")])
    with everdraft_command.registry() as registry:
        figures = {"acceptance_length": 2.3456789, "tokens": 12345.0}
        here = Presence(name="serving:a", at=time.time(), ttl=60, version="v2", generation=2, figures=figures, state="serving")
        registry.announce(here)
        registry.announce(Presence(name="trainer:gone", at=time.time() - 100, ttl=1))
        registry.reject(SLOT, manifest_of("v3", "v2"), "no gain")
        registry.request_run(SLOT, "because")
    shown = everdraft_command("status")
    assert shown.code == Exit.OK
    words = " ".join(shown.out.split())
    assert "medusa/3fa94c01/all v2 2 v1 2 0 41" in words
    assert re.search(r"serving:a \d s ago v2 2 serving acceptance_length=2\.346 tokens=12345", words)
    assert "trainer:gone" not in shown.out
    assert "the traffic log ends at offset 2" in shown.out
    assert "because" in shown.out
    assert "rejected v3 medusa/3fa94c01/all no gain" in words


def test_status_as_json_holds_the_same(everdraft_command: Commands) -> None:
    everdraft_command.publish("v1", "v2")
    everdraft_command.log([trace_of("a")])
    found = json.loads(everdraft_command("status", "--json").out)
    assert found["slots"][0]["slot"] == "medusa/3fa94c01/all"
    assert found["slots"][0]["state"]["champion"] == "v2"
    assert found["traffic_end"] == {"0": 1}
    assert found["open_runs"] == found["presences"] == []
    assert [event["action"] for event in found["events"]] == ["published", "published"]


def test_status_shows_the_newest_events_of_many(everdraft_command: Commands) -> None:
    everdraft_command.publish("v1")
    with everdraft_command.registry() as registry:
        for number in range(1200):  # more than the registry hands out at once
            registry.reject(SLOT, manifest_of(f"r{number}", "v1"), "")
    events = json.loads(everdraft_command("status", "--json").out)["events"]
    assert [event["version"] for event in events] == [f"r{number}" for number in range(1195, 1200)]


@pytest.mark.parametrize(
    "verb", ["status", "versions", "rollback", "retrain", "promote v1", "canary v1", "pause", "speculation off", "runs", "audit"]
)
def test_without_a_registry_the_verb_says_where_it_looked(everdraft_command: Commands, verb: str) -> None:
    outcome = everdraft_command(*verb.split())
    assert outcome.code == Exit.NOT_THERE
    assert str(everdraft_command.data / "registry.db") in outcome.err
    assert not everdraft_command.data.exists(), "looking leaves nothing behind"


def test_versions_shows_gain_and_state_of_each(everdraft_command: Commands) -> None:
    everdraft_command.publish("v1", "v2", "v3")
    everdraft_command("rollback")
    shown = everdraft_command("versions")
    rows = [line.split() for line in shown.out.splitlines()[1:]]
    assert [row[:2] for row in rows] == [["v1", "-"], ["v2", "champion"], ["v3", "quarantined"]]
    assert rows[1][-4:] == ["40", "2.500", "+0.250", "(+0.125)"]
    found = json.loads(everdraft_command("versions", "--json").out)
    assert [each["manifest"]["parent"] for each in found] == [None, "v1", "v2"]
    assert found[2]["state"] == "quarantined"


def test_versions_of_one_slot_are_asked_for_by_part_of_its_name(everdraft_command: Commands) -> None:
    everdraft_command.publish("v1")
    everdraft_command.publish("w1", slot=OTHER_SLOT)
    both = json.loads(everdraft_command("versions", "--json").out)
    assert [each["manifest"]["version"] for each in both] == ["v1", "w1"]
    one = json.loads(everdraft_command("versions", "--json", "--slot", "acme").out)
    assert [each["manifest"]["version"] for each in one] == ["w1"]


def test_a_kind_says_which_slot_of_a_target_is_meant(everdraft_command: Commands) -> None:
    everdraft_command.publish("v1", "v2")
    everdraft_command.publish("d1", "d2", slot=DRAFT_SLOT)
    both = json.loads(everdraft_command("versions", "--json").out)
    assert [each["manifest"]["version"] for each in both] == ["v1", "v2", "d1", "d2"]
    drafts = json.loads(everdraft_command("versions", "--json", "--kind", "draft-lm").out)
    assert [each["manifest"]["version"] for each in drafts] == ["d1", "d2"]
    unsaid = everdraft_command("rollback")
    assert (unsaid.code, "give --kind" in unsaid.err) == (Exit.USAGE, True)
    assert everdraft_command("rollback", "--kind", "draft-lm").code == Exit.OK
    assert everdraft_command("pause", "--kind", "medusa").code == Exit.OK
    run = everdraft_command("retrain", "--kind", "draft-lm", "--key", "one")
    assert run.code == Exit.OK
    with everdraft_command.registry() as registry:
        assert (registry.state(DRAFT_SLOT).champion, registry.state(SLOT).champion) == ("d1", "v2")
        assert (registry.state(DRAFT_SLOT).training, registry.state(SLOT).training) == (True, False)
        assert [each.slot for each in registry.runs()] == [DRAFT_SLOT]
    refused = everdraft_command("canary", "d2", "--kind", "draft-lm")
    assert (refused.code, "kind is draft-lm, expected eagle, hydra, medusa" in refused.err) == (Exit.FAILED, True)
    shown = everdraft_command("status").out
    assert "draft-lm/3fa94c01/all" in shown
    assert "medusa/3fa94c01/all" in shown
    missing = everdraft_command("promote", "w1", "--kind", "draft-lm", "--slot", "acme")
    assert (missing.code, "none of them is draft-lm acme" in missing.err) == (Exit.NOT_THERE, True)


def test_rollback_says_what_it_did(everdraft_command: Commands) -> None:
    everdraft_command.publish("v1", "v2")
    outcome = everdraft_command("rollback", "--reason", "slower on code")
    assert outcome.code == Exit.OK
    assert "v2 is out of service, v1 is again champion (generation 3)" in outcome.out
    assert "quarantined: v2" in outcome.out
    with everdraft_command.registry() as registry:
        assert registry.state(SLOT).champion == "v1"
        assert registry.events()[-1].detail == "slower on code"


def test_rollback_leaves_a_slot_that_has_moved_on_alone(everdraft_command: Commands) -> None:
    everdraft_command.publish("v1", "v2")
    outcome = everdraft_command("rollback", "--expected-generation", "1")
    assert outcome.code == Exit.FAILED
    assert "generation is 2, expected 1" in outcome.err
    with everdraft_command.registry() as registry:
        assert registry.state(SLOT).champion == "v2"


def test_rollback_with_nothing_to_go_back_to_fails_and_says_so(everdraft_command: Commands) -> None:
    everdraft_command.publish("v1")
    outcome = everdraft_command("rollback")
    assert outcome.code == Exit.FAILED
    assert "nothing to go back to" in outcome.err


def test_with_several_slots_one_has_to_be_named(everdraft_command: Commands) -> None:
    everdraft_command.publish("v1", "v2")
    everdraft_command.publish("w1", "w2", slot=OTHER_SLOT)
    outcome = everdraft_command("rollback")
    assert outcome.code == Exit.USAGE
    assert "medusa/3fa94c01/all, medusa/77777777/acme" in outcome.err
    assert everdraft_command("rollback", "--slot", "nowhere").code == Exit.NOT_THERE
    assert everdraft_command("rollback", "--slot", "acme").code == Exit.OK
    with everdraft_command.registry() as registry:
        assert registry.state(SLOT).champion == "v2"
        assert registry.state(OTHER_SLOT).champion == "w1"


def test_retrain_queues_one_run_and_prints_its_id(everdraft_command: Commands) -> None:
    everdraft_command.publish("v1")
    first = everdraft_command("retrain", "--reason", "new prompts")
    second = everdraft_command("retrain")
    with everdraft_command.registry() as registry:
        (run,) = registry.runs()
    assert (run.reason, run.state) == ("new prompts", "queued")
    assert first.out == f"{run.run_id} queued: new prompts\n"
    assert second.out == f"{run.run_id} open already: new prompts\n"
    assert first.code == second.code == Exit.OK
    assert "no trainer of medusa runs just now" in first.err


@pytest.mark.parametrize(
    ("end", "code"),
    [
        ("champion", Exit.OK),
        ("candidate", Exit.OK),
        ("rolled_back", Exit.FAILED),
        ("rejected", Exit.REJECTED),
        ("failed", Exit.FAILED),
        ("cancelled", Exit.FAILED),
    ],
)
def test_retrain_that_waits_tells_the_outcome_by_its_exit_code(
    everdraft_command: Commands, monkeypatch: pytest.MonkeyPatch, end: RunState, code: Exit
) -> None:
    everdraft_command.publish("v1")
    with everdraft_command.registry() as registry:
        run_id = registry.request_run(SLOT, "asked before").run_id
        registry.announce(Presence(name="trainer:a:medusa:all", at=time.time(), ttl=60))
        states: list[RunState] = ["training", end]  # what the trainer does while the verb sleeps
        monkeypatch.setattr(time, "sleep", lambda _: registry.update_run(run_id, states.pop(0), detail="as told"))
        outcome = everdraft_command("retrain", "--wait")
    assert outcome.code == code
    assert outcome.out.splitlines()[1:] == [f"{run_id} training as told", f"{run_id} {end} as told"]
    assert outcome.err == ""


def test_retrain_stops_waiting_when_told_and_the_run_goes_on(everdraft_command: Commands) -> None:
    everdraft_command.publish("v1")
    outcome = everdraft_command("retrain", "--wait", "--timeout", "0")
    assert outcome.code == Exit.TIMED_OUT
    assert "still queued after 0 s" in outcome.err
    with everdraft_command.registry() as registry:
        assert registry.runs()[0].state == "queued"


def test_retrain_says_how_the_run_is_to_be_done(everdraft_command: Commands) -> None:
    everdraft_command.publish("v1")
    how = "--full --since 1970-01-02T00:00:00+00:00 --from-offsets 0:3,1:4 --max-steps 80 --promote manual --key monday"
    first = everdraft_command("retrain", *how.split())
    again = everdraft_command("retrain", "--key", "monday")
    with everdraft_command.registry() as registry:
        (run,) = registry.runs()
    assert run.plan == RunPlan(mode="full", since=86400.0, from_position={0: 3, 1: 4}, max_steps=80, promote="manual")
    assert first.out == again.out == f"{run.run_id} queued: asked for by hand\n"


@pytest.mark.parametrize(
    "flag", ["--since soon", "--from-offsets x", "--from-offsets 0:1,0:2", "--from-offsets 0:-1", "--max-steps 0"]
)
def test_retrain_refuses_what_makes_no_sense(everdraft_command: Commands, flag: str) -> None:
    everdraft_command.publish("v1")
    outcome = everdraft_command("retrain", *flag.split())
    assert (outcome.code, flag.split()[0] in outcome.err) == (Exit.USAGE, True)
    with everdraft_command.registry() as registry:
        assert registry.runs() == []


def test_runs_are_listed_shown_and_cancelled(everdraft_command: Commands) -> None:
    everdraft_command.publish("v1")
    everdraft_command("retrain", "--reason", "new prompts")
    with everdraft_command.registry() as registry:
        (run,) = registry.runs()
    assert f"{run.run_id} queued" in " ".join(everdraft_command("runs").out.split())
    assert everdraft_command("runs", "--cancel").code == Exit.USAGE
    cancelled = everdraft_command("runs", run.run_id, "--cancel", "--reason", "never mind")
    assert f"{run.run_id} cancelled" in " ".join(cancelled.out.split())
    (found,) = json.loads(everdraft_command("runs", run.run_id, "--json").out)
    assert (found["state"], found["detail"]) == ("cancelled", "never mind")
    assert everdraft_command("runs", "run-x").code == Exit.FAILED


def test_a_canary_is_started_promoted_and_rolled_back_by_the_start_of_its_name(everdraft_command: Commands) -> None:
    everdraft_command.publish("v1", "v2")
    with everdraft_command.registry() as registry:
        registry.record(SLOT, manifest_of("w3", "v2"), "here")
    started = everdraft_command("canary", "w", "--share", "0.25", "--of", "replicas")
    assert "w3 serves 0.25 of the replicas (generation 3)" in started.out
    assert "candidate w3 serves 0.25 of the replicas" in everdraft_command("status").out
    assert "w3 canary" in " ".join(everdraft_command("versions").out.split())
    assert "w3 is champion (generation 4)" in everdraft_command("promote", "w").out
    assert "w3 is out of service, v2 is again champion" in everdraft_command("rollback", "w3").out
    with everdraft_command.registry() as registry:
        assert registry.state(SLOT) == SlotState(generation=5, champion="v2")


def test_a_canary_is_withdrawn_by_name_and_the_champion_stays(everdraft_command: Commands) -> None:
    everdraft_command.publish("v1", "v2")
    with everdraft_command.registry() as registry:
        registry.record(SLOT, manifest_of("w3", "v2"), "here")
    everdraft_command("canary", "w3")
    outcome = everdraft_command("rollback", "w3", "--reason", "slow")
    assert "w3 is out of service, v2 is champion (generation 4)" in outcome.out
    assert "quarantined: w3" in outcome.out


def test_a_version_is_named_well_enough_or_refused(everdraft_command: Commands) -> None:
    everdraft_command.publish("v1", "v2")
    assert "v1, v2" in everdraft_command("promote", "v").err
    assert everdraft_command("promote", "v").code == Exit.USAGE
    assert everdraft_command("promote", "x").code == Exit.NOT_THERE
    assert everdraft_command("canary", "v1", "--share", "1").code == Exit.USAGE
    with everdraft_command.registry() as registry:
        assert registry.state(SLOT).champion == "v2"


def test_switches_are_thrown_shown_and_written_down(everdraft_command: Commands) -> None:
    everdraft_command.publish("v1")
    assert "training is paused" in everdraft_command("pause", "--reason", "maintenance").out
    assert "speculation is off" in everdraft_command("speculation", "off").out
    assert "training is paused" in everdraft_command("status").out
    assert "training goes on" in everdraft_command("resume").out
    assert "speculation is on" in everdraft_command("speculation", "on").out
    assert "paused" not in everdraft_command("status").out
    acts = json.loads(everdraft_command("audit", "--json").out)
    assert [act["what"] for act in acts] == ["speculation on", "training on", "speculation off", "training off"]
    assert acts[3]["reason"] == "maintenance"
    assert "@" in acts[3]["actor"]
    assert "maintenance" in everdraft_command("audit").out
