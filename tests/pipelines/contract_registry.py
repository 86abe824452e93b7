"""What every registry keeps, whatever it is made of.

A back end's tests inherit RegistryContract and give it one fixture: `url` of an empty registry that nobody has
opened yet.
"""

from __future__ import annotations

import math
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from pipelines.checkpoint import Evaluation, TrafficSpan
from pipelines.errors import CorruptCheckpoint, RegistryError, RunOpen, StaleGeneration, Superseded, UnknownVersion
from pipelines.registry import Act, Presence, Registry, RunPlan, Slot, SlotState, Switch, open_registry
from tests.pipelines.records import SLOT, make_manifest

ROOT = Path(__file__).parents[2]
OTHER_SLOT = Slot(target=SLOT.target, kind=SLOT.kind, scope="one tenant")
EVALUATION = Evaluation(
    num_conversations=64,
    tokens_per_step=2.5,
    champion_tokens_per_step=2.0,
    gain=0.5,
    gain_lower=0.1,
    budget=16,
    by_group={"sql": 0.3},
)


def publish(registry: Registry, version: str, parent: str | None = None, slot: Slot = SLOT) -> SlotState:
    generation = registry.state(slot).generation
    manifest = make_manifest(version, parent)
    return registry.publish(slot, manifest, f"where {version} is", expected_generation=generation)


def actions(registry: Registry) -> list[tuple[str, str | None]]:
    return [(event.action, event.version) for event in registry.events()]


class RegistryContract:
    @pytest.fixture
    def url(self) -> str:
        raise NotImplementedError

    @pytest.fixture
    def registry(self, url: str) -> Iterator[Registry]:
        registry = open_registry(url)
        yield registry
        registry.close()

    @pytest.fixture
    def other(self, url: str) -> Iterator[Registry]:
        """The registry as another process sees it."""
        other = open_registry(url)
        yield other
        other.close()


class VersionsContract(RegistryContract):
    def test_an_empty_registry_knows_nothing(self, registry: Registry) -> None:
        assert registry.state(SLOT) == SlotState()
        assert (registry.slots(), registry.versions(SLOT), registry.events()) == ([], [], [])
        assert (registry.runs(), registry.presences(0.0), registry.claim_run(SLOT)) == ([], [], None)
        assert registry.quarantined(SLOT) == frozenset()

    def test_what_is_published_is_champion_and_the_champion_before_is_previous(self, registry: Registry, other: Registry) -> None:
        assert publish(registry, "a") == SlotState(generation=1, champion="a")
        assert publish(other, "b", "a") == SlotState(generation=2, champion="b", previous="a")
        assert registry.state(SLOT) == other.state(SLOT) == SlotState(generation=2, champion="b", previous="a")
        assert actions(registry) == [("published", "a"), ("published", "b")]

    def test_a_manifest_comes_back_as_it_went_in(self, registry: Registry, other: Registry) -> None:
        manifest = make_manifest(
            "a",
            config={"layers": 2, "scale": 1.0, "name": "x", "tied": True},
            span=TrafficSpan(position={0: 9, 2: 4}, num_traces=4, num_tokens=5, newest_at=1.5),
            evaluation=EVALUATION,
            note="day zero",
        )
        registry.record(SLOT, manifest, "somewhere")
        assert other.manifest(SLOT, "a") == manifest
        assert other.location(SLOT, "a") == "somewhere"

    def test_versions_are_listed_oldest_first_and_never_change(self, registry: Registry) -> None:
        first = make_manifest("b")
        registry.record(SLOT, first, "here")
        registry.record(SLOT, make_manifest("a"), "here")
        registry.record(SLOT, make_manifest("b", note="again"), "there")
        assert [manifest.version for manifest in registry.versions(SLOT)] == ["b", "a"]
        assert registry.manifest(SLOT, "b") == first
        assert registry.location(SLOT, "b") == "here"

    def test_recording_moves_no_alias(self, registry: Registry) -> None:
        registry.record(SLOT, make_manifest("a"), "here")
        assert registry.state(SLOT) == SlotState()
        assert registry.events() == []

    def test_an_unknown_version_is_named(self, registry: Registry) -> None:
        publish(registry, "a", slot=OTHER_SLOT)
        with pytest.raises(UnknownVersion, match="'a'"):
            registry.manifest(SLOT, "a")
        with pytest.raises(UnknownVersion, match="'a'"):
            registry.location(SLOT, "a")

    def test_a_slot_that_moved_refuses_the_late_publisher(self, registry: Registry, other: Registry) -> None:
        publish(registry, "a")
        with pytest.raises(StaleGeneration, match="generation is 1, expected 0"):
            other.publish(SLOT, make_manifest("b"), "here", expected_generation=0)
        assert registry.state(SLOT) == SlotState(generation=1, champion="a")
        assert [manifest.version for manifest in registry.versions(SLOT)] == ["a"]
        assert len(registry.events()) == 1

    def test_publishing_the_champion_again_changes_nothing(self, registry: Registry) -> None:
        publish(registry, "a")
        state = publish(registry, "b", "a")
        assert publish(registry, "b", "a") == state
        assert len(registry.events()) == 2

    def test_slots_do_not_touch_each_other(self, registry: Registry) -> None:
        publish(registry, "a")
        publish(registry, "b", slot=OTHER_SLOT)
        assert registry.state(SLOT) == SlotState(generation=1, champion="a")
        assert registry.state(OTHER_SLOT) == SlotState(generation=1, champion="b")
        assert registry.slots() == [SLOT, OTHER_SLOT]

    @pytest.mark.parametrize(("field", "value"), [("target", "target-2"), ("kind", "suffix")])
    def test_a_version_made_for_another_slot_is_refused(self, registry: Registry, field: str, value: str) -> None:
        manifest = make_manifest("a", **{field: value})
        with pytest.raises(RegistryError, match=f"{field} of a is '{value}'"):
            registry.publish(SLOT, manifest, "here", expected_generation=0)
        with pytest.raises(RegistryError, match=f"{field} of a is '{value}'"):
            registry.record(SLOT, manifest, "here")
        assert registry.versions(SLOT) == []

    def test_a_figure_that_is_not_finite_is_refused_by_name(self, registry: Registry) -> None:
        manifest = make_manifest("a", span=TrafficSpan(newest_at=math.nan))
        with pytest.raises(CorruptCheckpoint, match="newest_at"):
            registry.record(SLOT, manifest, "here")
        assert registry.versions(SLOT) == []

    def test_a_rejection_leaves_an_event_and_nothing_else(self, registry: Registry) -> None:
        publish(registry, "a")
        registry.reject(SLOT, make_manifest("b", "a"), "no gain")
        (_, event) = registry.events()
        assert (event.action, event.version, event.detail) == ("rejected", "b", "no gain")
        assert (event.slot, event.generation) == (SLOT, 1)
        assert registry.state(SLOT) == SlotState(generation=1, champion="a")

    def test_events_are_read_in_order_from_where_one_stopped(self, registry: Registry) -> None:
        for version in "abcde":
            publish(registry, version)
        first = registry.events(limit=2)
        rest = registry.events(after=first[-1].id)
        assert [event.version for event in first + rest] == list("abcde")
        assert [event.generation for event in first + rest] == [1, 2, 3, 4, 5]
        assert registry.events(after=rest[-1].id) == []
        assert registry.events(limit=-1) == []


class RollbackContract(RegistryContract):
    def test_a_rollback_returns_to_previous_and_quarantines_the_champion(self, registry: Registry, other: Registry) -> None:
        publish(registry, "a")
        publish(registry, "b", "a")
        state = other.rollback(SLOT, detail="slower than before")
        assert state == registry.state(SLOT) == SlotState(generation=3, champion="a")
        assert registry.quarantined(SLOT) == {"b"}
        assert actions(registry)[2:] == [("quarantined", "b"), ("rolled_back", "a")]
        assert registry.events()[-1].detail == "slower than before"

    def test_descendants_are_quarantined_too_and_siblings_are_not(self, registry: Registry) -> None:
        publish(registry, "a")
        publish(registry, "b", "a")
        for version, parent in (("child", "b"), ("grandchild", "child"), ("sibling", "a")):
            registry.record(SLOT, make_manifest(version, parent), "here")
        registry.rollback(SLOT)
        assert registry.quarantined(SLOT) == {"b", "child", "grandchild"}

    def test_what_is_quarantined_is_never_published_again_nor_what_comes_of_it(self, registry: Registry) -> None:
        publish(registry, "a")
        publish(registry, "b", "a")
        state = registry.rollback(SLOT)
        for version, parent in (("b", "a"), ("late child", "b")):
            with pytest.raises(RegistryError, match=f"{version} is quarantined"):
                publish(registry, version, parent)
        assert registry.state(SLOT) == state
        registry.record(SLOT, make_manifest("later child", "b"), "here")
        assert registry.quarantined(SLOT) == {"b", "later child"}

    def test_a_second_rollback_goes_to_the_nearest_sound_ancestor(self, registry: Registry) -> None:
        for version, parent in (("a", None), ("b", "a"), ("c", "b"), ("d", "c")):
            publish(registry, version, parent)
        assert registry.rollback(SLOT).champion == "c"
        assert registry.rollback(SLOT).champion == "b"
        assert registry.rollback(SLOT) == SlotState(generation=7, champion="a")
        assert registry.quarantined(SLOT) == {"b", "c", "d"}

    def test_a_previous_that_falls_with_the_champion_is_passed_over(self, registry: Registry) -> None:
        for version, parent in (("a", None), ("b", "a"), ("c", "b")):
            publish(registry, version, parent)
        # an older version was published once more: previous is now its own descendant
        assert publish(registry, "b", "a") == SlotState(generation=4, champion="b", previous="c")
        assert registry.rollback(SLOT) == SlotState(generation=5, champion="a")
        assert registry.quarantined(SLOT) == {"b", "c"}

    def test_with_nothing_to_go_back_to_a_rollback_changes_nothing(self, registry: Registry) -> None:
        with pytest.raises(RegistryError, match="no champion"):
            registry.rollback(SLOT)
        state = publish(registry, "a", "an ancestor from elsewhere")
        with pytest.raises(RegistryError, match="nothing to go back to"):
            registry.rollback(SLOT)
        assert registry.state(SLOT) == state
        assert registry.quarantined(SLOT) == frozenset()
        assert actions(registry) == [("published", "a")]

    def test_a_rollback_of_what_is_no_longer_champion_is_refused(self, registry: Registry) -> None:
        publish(registry, "a")
        publish(registry, "b", "a")
        state = publish(registry, "c", "b")
        with pytest.raises(StaleGeneration, match="generation is 3, expected 2"):
            registry.rollback(SLOT, expected_generation=2)
        assert registry.state(SLOT) == state
        assert registry.rollback(SLOT, expected_generation=3).champion == "b"


class CandidatesContract(RegistryContract):
    """A version between the gate and the throne."""

    @pytest.fixture
    def staffed(self, registry: Registry) -> Registry:
        """A champion and three versions that are not."""
        publish(registry, "a")
        for version, parent in (("b", "a"), ("c", "b"), ("d", "a")):
            registry.record(SLOT, make_manifest(version, parent), "here")
        return registry

    def test_a_candidate_waits_beside_the_champion(self, staffed: Registry, other: Registry) -> None:
        state = staffed.stage(SLOT, "b", expected_generation=1, detail="gate: better")
        assert state == other.state(SLOT) == SlotState(generation=2, champion="a", candidate="b")
        assert actions(staffed)[1:] == [("staged", "b")]
        assert staffed.stages(SLOT) == {"a": "champion", "b": "candidate"}

    def test_a_canary_serves_its_share(self, staffed: Registry, other: Registry) -> None:
        staffed.stage(SLOT, "b")
        state = staffed.stage(SLOT, "b", share=0.25, share_of="replicas")
        assert state == other.state(SLOT)
        assert state == SlotState(generation=3, champion="a", candidate="b", share=0.25, share_of="replicas")
        assert actions(staffed)[1:] == [("staged", "b"), ("canary", "b")]
        assert other.stages(SLOT)["b"] == "canary"

    def test_promoted_it_is_champion_and_nobody_is_candidate(self, staffed: Registry, other: Registry) -> None:
        staffed.stage(SLOT, "b", share=0.5)
        state = other.promote(SLOT, "b", expected_generation=2, detail="as good as the champion")
        assert state == staffed.state(SLOT) == SlotState(generation=3, champion="b", previous="a")
        assert actions(staffed)[-1] == ("promoted", "b")
        assert staffed.promote(SLOT, "b") == state, "once more changes nothing"
        assert len(staffed.events()) == 3

    def test_withdrawn_it_is_quarantined_with_its_descendants(self, staffed: Registry) -> None:
        staffed.stage(SLOT, "b", share=0.5)
        assert staffed.withdraw(SLOT, expected_generation=2, detail="slower") == SlotState(generation=3, champion="a")
        assert staffed.quarantined(SLOT) == {"b", "c"}
        assert actions(staffed)[-3:] == [("quarantined", "b"), ("quarantined", "c"), ("withdrawn", "b")]
        assert staffed.stages(SLOT) == {"a": "champion", "b": "rolled_back"}, "c never passed the gate"
        for change in (staffed.stage, staffed.promote):
            with pytest.raises(RegistryError, match="b is quarantined"):
                change(SLOT, "b")
        with pytest.raises(RegistryError, match="no candidate"):
            staffed.withdraw(SLOT)

    def test_another_candidate_or_champion_takes_its_place(self, staffed: Registry) -> None:
        staffed.stage(SLOT, "b", share=0.5)
        assert staffed.stage(SLOT, "d").candidate == "d"
        assert staffed.stages(SLOT)["b"] == "candidate", "it serves no longer"
        staffed.stage(SLOT, "d", share=0.5)
        assert publish(staffed, "e", "a") == SlotState(generation=5, champion="e", previous="a")
        assert staffed.stages(SLOT)["d"] == "candidate"

    def test_a_rollback_takes_a_candidate_along_that_descends_from_the_champion(self, staffed: Registry) -> None:
        staffed.promote(SLOT, "b")
        staffed.stage(SLOT, "c", share=0.5)
        assert staffed.rollback(SLOT) == SlotState(generation=4, champion="a")
        staffed.promote(SLOT, "a")
        publish(staffed, "e", "a")
        staffed.stage(SLOT, "d", share=0.5)
        state = staffed.rollback(SLOT)
        assert (state.champion, state.candidate, state.share) == ("a", "d", 0.5), "no descendant of what was rolled back"

    def test_what_is_unknown_champion_or_out_of_date_is_refused_and_changes_nothing(self, staffed: Registry) -> None:
        fence = staffed.lead(SLOT, "ours", 0.01)
        time.sleep(0.05)
        staffed.lead(SLOT, "theirs", 30.0)
        before = staffed.state(SLOT)
        with pytest.raises(RegistryError, match="a is champion already"):
            staffed.stage(SLOT, "a")
        for change in (staffed.stage, staffed.promote):
            with pytest.raises(UnknownVersion, match="'x'"):
                change(SLOT, "x")
            with pytest.raises(StaleGeneration, match="generation is 1, expected 7"):
                change(SLOT, "b", expected_generation=7)
            with pytest.raises(Superseded, match="theirs leads"):
                change(SLOT, "b", fence=fence)
        assert staffed.state(SLOT) == before
        assert len(staffed.events()) == 1

    @pytest.mark.parametrize("switch", ["training", "speculation"])
    def test_a_switch_is_thrown_and_thrown_back(self, staffed: Registry, other: Registry, switch: Switch) -> None:
        staffed.stage(SLOT, "b", share=0.5)
        before = staffed.state(SLOT)
        off = staffed.switch(SLOT, switch, False, detail="maintenance")
        assert getattr(off, switch) is False
        assert off == other.state(SLOT)
        assert staffed.switch(SLOT, switch, False) == off, "once more changes nothing"
        assert other.switch(SLOT, switch, True) == staffed.state(SLOT) == before
        assert actions(staffed)[-2:] == [(f"{switch}_off", None), (f"{switch}_on", None)]
        assert staffed.stages(SLOT)["b"] == "canary"

    def test_a_switch_outlasts_every_move(self, staffed: Registry) -> None:
        staffed.switch(SLOT, "speculation", False)
        assert not staffed.promote(SLOT, "b").speculation
        assert not staffed.rollback(SLOT).speculation


class WatchingContract(RegistryContract):
    def test_waiting_ends_with_the_event(self, registry: Registry, other: Registry) -> None:
        assert not registry.wait(0, 0.05)
        publish(other, "a")
        started = time.monotonic()
        assert registry.wait(0, 5.0)
        assert time.monotonic() - started < 2.0
        assert not registry.wait(registry.events()[-1].id, 0.05)

    def test_what_was_done_by_hand_is_kept_newest_first(self, registry: Registry, other: Registry) -> None:
        acts = [
            Act(at=float(number), actor="admin", action="promote", slot=SLOT, what=f"version {number}", reason="because")
            for number in range(3)
        ]
        for act in acts:
            registry.note_act(act)
        assert other.acts() == acts[::-1]
        assert (other.acts(limit=1), other.acts(limit=0)) == ([acts[2]], [])


class RunsContract(RegistryContract):
    def test_a_run_is_requested_claimed_and_followed(self, registry: Registry, other: Registry) -> None:
        run = registry.request_run(SLOT, "somebody asked")
        assert (run.slot, run.reason, run.state, run.version) == (SLOT, "somebody asked", "queued", None)
        assert other.claim_run(SLOT) == run
        trained = other.update_run(run.run_id, "training", detail="step 3")
        assert (trained.state, trained.detail, trained.created_at) == ("training", "step 3", run.created_at)
        assert trained.updated_at >= run.updated_at
        done = other.update_run(run.run_id, "rejected", version="b")
        assert registry.run(run.run_id) == done
        assert (done.state, done.detail, done.version) == ("rejected", "", "b")
        assert registry.claim_run(SLOT) is None

    def test_a_restarted_trainer_finds_its_run_again(self, registry: Registry, other: Registry) -> None:
        run = registry.request_run(SLOT, "somebody asked")
        claimed = registry.claim_run(SLOT)
        assert claimed is not None
        training = registry.update_run(claimed.run_id, "training")
        assert other.claim_run(SLOT) == training
        assert training.run_id == run.run_id

    def test_a_slot_has_one_open_run(self, registry: Registry, other: Registry) -> None:
        run = registry.request_run(SLOT, "first")
        with pytest.raises(RunOpen, match=f"run {run.run_id} is open"):
            other.request_run(SLOT, "second")
        assert registry.runs() == [run]
        assert registry.request_run(OTHER_SLOT, "another slot").run_id != run.run_id
        registry.update_run(run.run_id, "rejected")
        assert registry.request_run(SLOT, "third").run_id != run.run_id

    def test_the_same_key_gets_the_same_run_for_ever(self, registry: Registry, other: Registry) -> None:
        run = registry.request_run(SLOT, "first", idempotency_key="key")
        assert other.request_run(SLOT, "first", idempotency_key="key") == run
        with pytest.raises(RunOpen, match=run.run_id):
            registry.request_run(SLOT, "too early", idempotency_key="later key")
        ended = registry.update_run(run.run_id, "failed", detail="out of memory")
        assert other.request_run(SLOT, "first", idempotency_key="key") == ended
        assert other.request_run(SLOT, "again", idempotency_key="later key").run_id != run.run_id, "it was refused before"
        assert other.request_run(OTHER_SLOT, "first", idempotency_key="key").run_id != run.run_id

    def test_a_run_that_ended_stays_ended(self, registry: Registry) -> None:
        run = registry.request_run(SLOT, "somebody asked")
        registry.update_run(run.run_id, "cancelled")
        with pytest.raises(RegistryError, match=f"{run.run_id} is cancelled"):
            registry.update_run(run.run_id, "training")
        assert registry.update_run(run.run_id, "cancelled", version="b").version == "b"
        assert registry.update_run(run.run_id, "cancelled").version == "b"

    def test_a_run_keeps_the_plan_it_was_asked_for_with(self, registry: Registry, other: Registry) -> None:
        plan = RunPlan(mode="full", since=1.5, from_position={0: 3, 2: 7}, max_steps=40, promote="canary")
        run = registry.request_run(SLOT, "from last week on", plan=plan)
        assert (run.plan, other.run(run.run_id).plan) == (plan, plan)

    def test_a_run_follows_the_version_that_came_of_it(self, registry: Registry, other: Registry) -> None:
        publish(registry, "a")
        run = registry.request_run(SLOT, "somebody asked")
        registry.record(SLOT, make_manifest("b", "a"), "here")
        registry.stage(SLOT, "b")
        registry.update_run(run.run_id, "candidate", version="b")
        states = [other.run(run.run_id).state]
        for change in (
            lambda: registry.stage(SLOT, "b", share=0.5),
            lambda: registry.promote(SLOT, "b"),
            lambda: publish(registry, "c", "a"),
            lambda: registry.promote(SLOT, "b"),
            lambda: registry.rollback(SLOT),
        ):
            change()
            states.append(other.run(run.run_id).state)
        assert states == ["candidate", "canary", "champion", "champion", "champion", "rolled_back"]
        assert other.runs()[0].state == "rolled_back"

    def test_an_unknown_run_is_named(self, registry: Registry) -> None:
        with pytest.raises(RegistryError, match="'run-x'"):
            registry.run("run-x")
        with pytest.raises(RegistryError, match="'run-x'"):
            registry.update_run("run-x", "training")

    def test_runs_are_listed_newest_first(self, registry: Registry) -> None:
        asked = []
        for number in range(3):
            run = registry.request_run(SLOT, f"reason {number}")
            asked.append(registry.update_run(run.run_id, "rejected"))
        assert registry.runs() == asked[::-1]
        assert registry.runs(limit=2) == [asked[2], asked[1]]


class PresencesContract(RegistryContract):
    def test_a_presence_holds_until_it_lapses(self, registry: Registry, other: Registry) -> None:
        presence = Presence(name="serving:1", at=100.0, ttl=5.0, version="a", figures={"step": 3.0})
        registry.announce(presence)
        assert other.presences(105.0) == [presence]
        assert other.presences(105.1) == []

    def test_a_presence_replaces_what_its_process_said_before(self, registry: Registry) -> None:
        registry.announce(Presence(name="trainer:1", at=100.0, ttl=5.0, state="collecting"))
        registry.announce(Presence(name="serving:1", at=101.0, ttl=5.0))
        registry.announce(Presence(name="trainer:1", at=102.0, ttl=5.0, state="training"))
        assert [(each.name, each.state) for each in registry.presences(102.0)] == [
            ("serving:1", ""),
            ("trainer:1", "training"),
        ]

    def test_figures_that_are_not_finite_are_shown_as_they_are(self, registry: Registry) -> None:
        registry.announce(Presence(name="trainer:1", at=100.0, ttl=5.0, figures={"loss": math.inf}))
        assert registry.presences(100.0)[0].figures == {"loss": math.inf}


class ConcurrencyContract(RegistryContract):
    def test_of_many_threads_exactly_one_publishes_a_generation(self, url: str) -> None:
        registry = open_registry(url)
        won: list[str] = []

        def compete(version: str) -> None:
            for generation in range(10):
                try:
                    manifest = make_manifest(f"{version}-{generation}")
                    registry.publish(SLOT, manifest, "here", expected_generation=generation)
                except StaleGeneration:
                    continue
                won.append(manifest.version)

        threads = [threading.Thread(target=compete, args=(name,)) for name in "abc"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert registry.state(SLOT).generation == len(won) == len(registry.events())
        assert sorted(won) == sorted(event.version or "" for event in registry.events())
        registry.close()

    @pytest.mark.slow
    def test_of_many_processes_exactly_one_publishes_a_generation(self, url: str) -> None:
        names = ["a", "b", "c"]
        winners = []
        with ExitStack() as stack:
            racers = [stack.enter_context(_racer(url, name)) for name in names]
            for generation in range(10):
                for racer in racers:
                    print(generation, file=racer.stdin, flush=True)
                answers = [racer.stdout.readline().strip() for racer in racers if racer.stdout]
                assert sorted(answers) == ["lost", "lost", "won"]
                winners.append(f"{names[answers.index('won')]}-{generation}")
        registry = open_registry(url)
        assert [event.version for event in registry.events()] == winners
        assert registry.state(SLOT).generation == len(winners)
        registry.close()


def _racer(url: str, name: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.pipelines.racing_process", url, name]
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


class LeadContract(RegistryContract):
    def test_one_trainer_leads_and_keeps_the_lead_while_it_says_so(self, registry: Registry, other: Registry) -> None:
        assert registry.lead(SLOT, "ours", 30.0) == 1
        assert other.lead(SLOT, "theirs", 30.0) is None
        assert registry.lead(SLOT, "ours", 30.0) == 1, "kept, not taken anew"
        assert other.lead(OTHER_SLOT, "theirs", 30.0) == 1, "every slot has a lead of its own"

    def test_a_lead_that_lapsed_or_was_given_up_goes_to_whoever_asks_with_a_greater_fence(
        self, registry: Registry, other: Registry
    ) -> None:
        registry.lead(SLOT, "ours", 0.05)
        time.sleep(0.1)
        assert other.lead(SLOT, "theirs", 30.0) == 2
        registry.resign(SLOT, "ours")
        assert registry.lead(SLOT, "ours", 30.0) is None, "only its holder gives a lead up"
        other.resign(SLOT, "theirs")
        assert registry.lead(SLOT, "ours", 30.0) == 3

    def test_whoever_lost_the_lead_publishes_no_more(self, registry: Registry, other: Registry) -> None:
        """A trainer paused past its lead wakes up and knows nothing of it."""
        mine = registry.lead(SLOT, "ours", 0.05)
        time.sleep(0.1)
        theirs = other.lead(SLOT, "theirs", 30.0)
        with pytest.raises(Superseded, match="theirs leads"):
            registry.publish(SLOT, make_manifest("a"), "here", expected_generation=0, fence=mine)
        assert (registry.state(SLOT), registry.versions(SLOT)) == (SlotState(), [])
        assert other.publish(SLOT, make_manifest("b"), "here", expected_generation=0, fence=theirs).champion == "b"

    def test_a_lead_that_lapsed_but_was_taken_by_nobody_still_counts(self, registry: Registry) -> None:
        mine = registry.lead(SLOT, "ours", 0.05)
        time.sleep(0.1)
        assert registry.publish(SLOT, make_manifest("a"), "here", expected_generation=0, fence=mine).champion == "a"

    def test_a_hand_that_publishes_needs_no_lead(self, registry: Registry) -> None:
        registry.lead(SLOT, "ours", 30.0)
        assert publish(registry, "a").champion == "a"
