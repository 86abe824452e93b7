"""Two versions in service at once: who is served by which, what both did, and what the servers make of it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from torch import Tensor

from pipelines.registry import Presence, Registry, Served, SlotState, Trial, open_registry
from pipelines.store import open_store
from serving.engine import Engine, FixedBudget
from serving.lots import lot
from serving.messages import Request
from serving.referee import Referee
from serving.rollout import RolloutSettings
from serving.swap import Swap
from serving.trial import Trial as Counting
from speculator.medusa import MedusaSpeculator
from speculator.merged import MergedSpeculator
from speculator.protocol import Speculator
from tests.serving.rig import MAX_TREE, plain_engine, tiny_scheduler, tiny_target
from tests.serving.test_swap import DECODER, SLOT, heads
from tests.wait import wait_until

SETTINGS = RolloutSettings(min_requests=4, holdback=0.5)


class House:
    """A replica, its registry and its store."""

    SLOT = SLOT

    def __init__(
        self, folder: Path, settings: RolloutSettings = SETTINGS, name: str = "here", *, url: str = "", interval: float = 0.01
    ) -> None:
        self.url = url or f"sqlite:///{folder / 'registry.db'}"
        self.store = open_store(folder / "checkpoints")
        self.registry: Registry = open_registry(self.url)
        source, rival = self.pair()
        target = tiny_target(DECODER)
        merged = MergedSpeculator([source], rival=rival, max_tree=MAX_TREE)
        self.engine = Engine(target, tiny_scheduler(target), merged, FixedBudget(6), trial=Counting())
        self.engine.swap = Swap(
            self.SLOT,
            open_registry=lambda: open_registry(self.url),
            store=self.store,
            interval=interval,
            presence=lambda: Presence(name=f"serving:{name}", at=time.time(), ttl=60, trial=self.engine.trial.report()),
            referee=Referee(self.SLOT, settings, name, self.engine.trial),
        )
        self.num_asked = 0

    def pair(self) -> tuple[Speculator, Speculator]:
        """Sources of the kind of the slot: the one that learns, and its rival."""
        return (
            MedusaSpeculator(heads(0), DECODER.logits, name="medusa", version="static"),
            MedusaSpeculator(heads(0), DECODER.logits, name="medusa-rival", version="none"),
        )

    def weights(self, seed: int) -> tuple[Mapping[str, int | float | str | bool], dict[str, Tensor]]:
        """Config and weights of a version."""
        made = heads(seed)
        return made.config, dict(made.named_parameters())

    def record(self, seed: int, parent: str | None = None) -> str:
        config, weights = self.weights(seed)
        manifest, location = self.store.save(
            weights,
            kind=self.SLOT.kind,
            parent=parent,
            target=self.SLOT.target,
            tokenizer="tokenizer-1",
            config=config,
            created_at=float(seed),
        )
        self.registry.record(self.SLOT, manifest, location)
        return manifest.version

    def serves(self, generation: int) -> bool:
        self.engine.take_newer()
        return self.engine.swap.generation == generation

    def settled(self) -> bool:
        """Whether both versions of a trial are in use by now."""
        self.engine.take_newer()
        return self.engine.speculator.settled

    def ask(self, number: int = 1, **fields: object) -> list[str]:
        """Serves that many requests of different conversations; the versions that drafted."""
        seen = set()
        for _ in range(number):
            self.num_asked += 1
            request = Request(
                id=self.num_asked,
                prompt_ids=(3, 1, 4, 1, self.num_asked % 7),
                max_tokens=12,
                temperature=0.7,
                seed=self.num_asked,
                lot=lot(str(self.num_asked)),
            )
            assert self.engine.submit(request) is None
            while self.engine.has_work:
                for moved in self.engine.step():
                    seen |= {source.version for source in moved.sources}
        return sorted(seen)


@contextmanager
def house(
    folder: Path, settings: RolloutSettings = SETTINGS, name: str = "here", kind: type[House] = House
) -> Iterator[House]:
    made = kind(folder, settings, name)
    made.engine.swap.start()
    try:
        yield made
    finally:
        made.engine.swap.stop()
        made.registry.close()


def test_a_canary_drafts_for_its_share_and_nobody_else(tmp_path: Path) -> None:
    with house(tmp_path, RolloutSettings(min_requests=10**6, max_requests=10**6)) as here:
        champion = here.record(1)
        candidate = here.record(2, champion)
        here.registry.promote(SLOT, champion)
        here.registry.stage(SLOT, candidate, share=0.25)
        wait_until(lambda: here.serves(2) and here.settled())
        assert here.ask(200) == sorted((champion, candidate))
        trial = here.engine.trial
        assert trial.champion.num_requests + trial.rival.num_requests == 200
        assert 30 <= trial.rival.num_requests <= 70
        assert here.engine.speculator.versions == {"medusa": champion, "medusa-rival": candidate}
        here.registry.withdraw(SLOT)
        wait_until(lambda: here.serves(3) and here.settled())
        assert here.ask(40) == [champion]
        assert here.engine.trial.report() is None
        assert here.engine.swap.num_swaps == 1


def test_of_replicas_some_serve_the_canary_alone_and_the_others_not_at_all(tmp_path: Path) -> None:
    seen = {}
    for name in ("one", "two", "three", "four", "five", "six"):
        with house(tmp_path / name, RolloutSettings(min_requests=10**6, max_requests=10**6), name) as here:
            champion = here.record(1)
            candidate = here.record(2, champion)
            here.registry.promote(SLOT, champion)
            here.registry.stage(SLOT, candidate, share=0.5, share_of="replicas")
            wait_until(lambda: here.serves(2) and here.settled())
            seen[name] = here.ask(20)
            report = here.engine.trial.report()
            assert report is not None
            assert sorted((report.champion.num_requests, report.rival.num_requests)) == [0, 20]
    assert {tuple(versions) for versions in seen.values()} == {(champion,), (candidate,)}


def test_the_text_is_the_same_whoever_drafts_and_whenever_a_trial_begins_or_ends(tmp_path: Path) -> None:
    requests = [
        Request(id=n, prompt_ids=(2, 7, 1, n), max_tokens=30, temperature=0.8, seed=n, lot=n / 8) for n in range(8)
    ]
    plain, expected = plain_engine(tiny_target(DECODER)), {}
    for request in requests:
        plain.submit(request)
    while plain.has_work:
        for moved in plain.step():
            expected[moved.id] = expected.get(moved.id, ()) + moved.token_ids
    with house(tmp_path, RolloutSettings(min_requests=10**6, max_requests=10**6)) as here:
        champion = here.record(1)
        candidate = here.record(2, champion)
        here.registry.promote(SLOT, champion)
        wait_until(lambda: here.serves(1) and here.settled())
        said: dict[int, tuple[int, ...]] = {}
        changes = [lambda: here.registry.stage(SLOT, candidate, share=0.5), lambda: here.registry.promote(SLOT, candidate)]
        for request in requests[:4]:
            here.engine.submit(request)
        generation = 1
        waiting = list(requests[4:])
        while here.engine.has_work:
            for moved in here.engine.step():
                said[moved.id] = said.get(moved.id, ()) + moved.token_ids
            if changes:
                changes.pop(0)()
                generation += 1
                wait_until(lambda: here.serves(generation))  # noqa: B023
            if waiting:
                here.engine.submit(waiting.pop())
        assert said == expected


def test_a_canary_that_is_as_good_is_promoted_by_the_server(tmp_path: Path) -> None:
    with house(tmp_path, RolloutSettings(min_requests=4, max_requests=8, max_drop=0.9, max_slowdown=0.9)) as here:
        champion = here.record(1)
        candidate = here.record(2, champion)
        here.registry.promote(SLOT, champion)
        here.registry.stage(SLOT, candidate, share=0.5)
        wait_until(lambda: here.serves(2) and here.settled())
        here.ask(60)
        wait_until(lambda: bool(here.registry.acts()))
        assert here.registry.state(SLOT).champion == candidate
        assert here.registry.acts()[0].actor == "rollout@here"
        assert "tokens per step" in here.registry.events()[-1].detail


def presence(name: str, generation: int, champion: float, rival: float, num_requests: int = 50) -> Presence:
    """A replica that saw so many tokens per step."""
    sides = []
    for length in (champion, rival):
        sides.append(Served())
        for number in range(num_requests):
            sides[-1].add((20 + number % 5) * length, 20 + number % 5, 0.1 * (20 + number % 5) / 20 * 2.0 / length)
    return Presence(
        name=name, at=time.time(), ttl=60, trial=Trial(generation=generation, champion=sides[0], rival=sides[1])
    )


class Bench:
    """A registry with two versions, and a referee that sees what presences say."""

    def __init__(self, folder: Path, settings: RolloutSettings = SETTINGS) -> None:
        self.house = House(folder, settings)
        self.registry = self.house.registry
        self.old = self.house.record(1)
        self.new = self.house.record(2, self.old)
        self.registry.promote(SLOT, self.old)
        self.referee = Referee(SLOT, settings, "here", Counting())
        self.before = self.registry.state(SLOT)

    def look(self) -> bool:
        return self.referee.look(self.registry, self.registry.state(SLOT))


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.registry.close()


def test_a_canary_that_is_worse_is_thrown_out_and_written_down(bench: Bench) -> None:
    bench.registry.stage(SLOT, bench.new, share=0.25)
    bench.registry.announce(presence("serving:1", 2, champion=2.0, rival=1.4))
    assert not bench.look()
    assert bench.registry.state(SLOT) == SlotState(generation=3, champion=bench.old)
    assert bench.registry.quarantined(SLOT) == {bench.new}
    (act,) = bench.registry.acts()
    assert (act.actor, act.action, act.outcome) == ("rollout@here", "rollback", "done")
    assert "2.00 -> 1.40" in act.reason


def test_the_evidence_of_all_replicas_counts_together(bench: Bench) -> None:
    bench.registry.stage(SLOT, bench.new, share=0.25)
    for number in range(3):
        bench.registry.announce(presence(f"serving:{number}", 2, 2.0, 2.1, num_requests=2))
        bench.look()
        promoted = bench.registry.state(SLOT).champion == bench.new
        assert promoted == (number >= 1), "four requests each are needed"


def test_evidence_of_another_generation_says_nothing(bench: Bench) -> None:
    bench.registry.stage(SLOT, bench.new, share=0.25)
    bench.registry.announce(presence("serving:1", 1, champion=2.0, rival=1.0))
    bench.look()
    assert bench.registry.state(SLOT).candidate == bench.new


def test_a_new_champion_that_is_worse_than_the_one_held_back_is_rolled_back(bench: Bench) -> None:
    state = bench.registry.promote(SLOT, bench.new)
    assert bench.referee.rival(bench.before, state) == (bench.old, SETTINGS.holdback)
    bench.registry.announce(presence("serving:1", 2, champion=1.5, rival=2.0))
    bench.look()
    assert bench.registry.state(SLOT).champion == bench.old
    assert bench.registry.quarantined(SLOT) == {bench.new}


def test_a_new_champion_that_proves_itself_serves_everybody(bench: Bench) -> None:
    state = bench.registry.promote(SLOT, bench.new)
    bench.referee.rival(bench.before, state)
    bench.registry.announce(presence("serving:1", 2, champion=2.3, rival=2.0))
    assert bench.look(), "the watch is over"
    assert not bench.look()
    assert bench.registry.state(SLOT) == state


def test_a_server_that_starts_watches_nobody(bench: Bench) -> None:
    state = bench.registry.promote(SLOT, bench.new)
    assert bench.referee.rival(SlotState(), state) == (None, 0.0)
    bench.registry.announce(presence("serving:1", 2, champion=1.5, rival=2.0))
    assert not bench.look()
    assert bench.registry.state(SLOT) == state


def test_without_a_holdback_nobody_is_watched(tmp_path: Path) -> None:
    bench = Bench(tmp_path, RolloutSettings(holdback=0.0))
    assert bench.referee.rival(bench.before, bench.registry.promote(SLOT, bench.new)) == (None, 0.0)
    bench.registry.close()


def test_a_canary_that_cannot_be_loaded_is_thrown_out(tmp_path: Path) -> None:
    with house(tmp_path) as here:
        champion = here.record(1)
        candidate = here.record(2, champion)
        here.registry.promote(SLOT, champion)
        wait_until(lambda: here.serves(1) and here.settled())
        weights = Path(here.store.place) / candidate / "weights.safetensors"
        weights.write_bytes(weights.read_bytes()[:-10])
        here.registry.stage(SLOT, candidate, share=0.5)
        wait_until(lambda: bool(here.registry.acts()))
        assert here.registry.quarantined(SLOT) == {candidate}
        assert "sha256" in here.registry.acts()[0].reason
        assert here.ask(10) == [champion]


def test_the_kill_switch_stops_drafting_and_lets_it_go_on(tmp_path: Path) -> None:
    with house(tmp_path) as here:
        champion = here.record(1)
        here.registry.promote(SLOT, champion)
        wait_until(lambda: here.serves(1) and here.settled())
        assert here.ask(3) == [champion]
        here.registry.switch(SLOT, "speculation", False)
        wait_until(lambda: not here.engine.swap.speculation)
        assert here.ask(3) == []
        here.registry.switch(SLOT, "speculation", True)
        wait_until(lambda: here.engine.swap.speculation)
        assert here.ask(3) == [champion]


def test_probes_are_served_without_drafts_and_counted_apart(tmp_path: Path) -> None:
    made = House(tmp_path)
    made.engine = Engine(
        made.engine.target, made.engine.scheduler, made.engine.speculator, FixedBudget(6), probe_share=0.3
    )
    made.ask(100)
    counters = made.engine.stats.counters
    assert 0.2 < counters["served_tokens:probe"] / sum(counters[f"served_tokens:{how}"] for how in ("probe", "speculated")) < 0.4
    assert counters["served_seconds:probe"] > 0
    assert counters["served_tokens:speculated"] / counters["served_seconds:speculated"] > 0
    made.registry.close()


def test_whoever_leaves_without_a_decoding_step_is_forgotten(tmp_path: Path) -> None:
    made = House(tmp_path)
    made.engine.trial.restart(1)
    for number, max_tokens in enumerate((1, 9, 9), start=1):
        made.engine.submit(Request(id=number, prompt_ids=(1, 2), max_tokens=max_tokens, lot=0.5))
        made.engine.step()
    made.engine.abort(2)
    while made.engine.has_work:
        made.engine.step()
    assert made.engine.trial.champion.num_requests == 1
    assert made.engine.trial._open == {}
    made.registry.close()
