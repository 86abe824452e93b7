"""Two versions of an EAGLE layer in service at once: each drafts for its own, with its own weights, and the text is the same."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest
from torch import Tensor

from pipelines.registry import Slot
from serving.rollout import RolloutSettings
from speculator.eagle_runner import EagleRunner
from speculator.protocol import Speculator
from speculator.static_eagle import eagle_source
from tests.serving.rig import generate, plain_engine, tiny_target
from tests.serving.test_engine_exactness import request
from tests.serving.test_trials import House, house
from tests.speculator.eagle_layers import DECODER, FORMS, NUM_PAGES, PAGE_SIZE, eagle_layer
from tests.wait import wait_until

ENDLESS = RolloutSettings(min_requests=10**6, max_requests=10**6)


class EagleHouse(House):
    SLOT = Slot(target="target-1", kind="eagle")
    PARALLEL = False

    def pair(self) -> tuple[Speculator, Speculator]:
        layer = eagle_layer(parallel=self.PARALLEL)
        places = {"max_tree": 12, "page_size": PAGE_SIZE, "num_pages": NUM_PAGES}
        return (
            eagle_source(layer, version="static", name="eagle", **places),
            eagle_source(layer, version="none", name="eagle-rival", **places),
        )

    def weights(self, seed: int) -> tuple[Mapping[str, int | float | str | bool], dict[str, Tensor]]:
        layer = eagle_layer(seed, parallel=self.PARALLEL)
        return layer.config, {name: each.detach() for name, each in layer.tensors.items()}


class ParallelHouse(EagleHouse):
    PARALLEL = True


@FORMS
def test_a_canary_drafts_for_its_share_and_nobody_else(tmp_path: Path, parallel: bool) -> None:
    with house(tmp_path, ENDLESS, kind=ParallelHouse if parallel else EagleHouse) as here:
        champion = here.record(1)
        candidate = here.record(2, champion)
        here.registry.promote(here.SLOT, champion)
        here.registry.stage(here.SLOT, candidate, share=0.25)
        wait_until(lambda: here.serves(2))
        wait_until(here.settled)
        assert here.ask(40) == sorted((champion, candidate))
        trial = here.engine.trial
        assert trial.champion.num_requests + trial.rival.num_requests == 40
        assert 3 <= trial.rival.num_requests <= 20
        assert here.engine.speculator.versions == {"eagle": champion, "eagle-rival": candidate}


def test_nobody_is_drafted_for_by_a_rival_or_counts_before_its_weights_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared, go_on = EagleRunner.prepared, threading.Event()

    def late(runner: EagleRunner, weights: Mapping[str, Tensor]) -> object:
        go_on.wait(30)
        return prepared(runner, weights)

    with house(tmp_path, ENDLESS, kind=EagleHouse) as here, ExitStack() as at_last:
        at_last.callback(go_on.set)  # or the house would wait for the thread that waits
        monkeypatch.setattr(EagleRunner, "prepared", late)
        champion = here.record(1)
        candidate = here.record(2, champion)
        here.registry.promote(here.SLOT, champion)
        here.registry.stage(here.SLOT, candidate, share=0.5)
        wait_until(lambda: here.serves(2))
        assert here.ask(10) == ["static"]
        assert here.engine.trial.champion.num_requests + here.engine.trial.rival.num_requests == 0
        go_on.set()
        wait_until(here.settled)
        assert here.ask(20) == sorted((champion, candidate))
        assert here.engine.trial.champion.num_requests + here.engine.trial.rival.num_requests == 20


def test_a_candidate_that_cannot_be_prepared_is_taken_back_and_the_next_one_is_tried_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(runner: EagleRunner, weights: Mapping[str, Tensor]) -> object:
        raise MemoryError("none left")

    with house(tmp_path, ENDLESS, kind=EagleHouse) as here:
        champion = here.record(1)
        unfit, sound = here.record(2, champion), here.record(3, champion)
        here.registry.promote(here.SLOT, champion)
        wait_until(lambda: here.serves(1) and here.settled())
        with monkeypatch.context() as patch:
            patch.setattr(EagleRunner, "prepared", fail)
            here.registry.stage(here.SLOT, unfit, share=0.5)
            wait_until(lambda: here.serves(2) and not here.settled())
            assert here.ask(10) == [champion]
            wait_until(lambda: here.registry.state(here.SLOT).candidate is None)
        told = [event.detail for event in here.registry.events(0, 100)]
        assert any(f"version {unfit} cannot be prepared: none left" in detail for detail in told), told
        assert here.engine.swap.num_failures == 1
        assert here.engine.trial.report() is None
        here.registry.stage(here.SLOT, sound, share=0.5)
        wait_until(lambda: here.serves(4) and here.settled())
        assert here.ask(20) == sorted((champion, sound))
        assert here.engine.trial.champion.num_requests + here.engine.trial.rival.num_requests == 20


@FORMS
def test_the_text_is_the_same_whoever_drafts_and_whenever_a_trial_begins_or_ends(tmp_path: Path, parallel: bool) -> None:
    asked = [request(number, 0.7 * (number % 2), 4 + number, max_tokens=20, lot=number / 8) for number in range(8)]
    expected = generate(plain_engine(tiny_target(DECODER)), asked, [0] * 8)
    with house(tmp_path, ENDLESS, kind=ParallelHouse if parallel else EagleHouse) as here:
        champion = here.record(1)
        candidate = here.record(2, champion)
        here.registry.promote(here.SLOT, champion)
        here.registry.stage(here.SLOT, candidate, share=0.5)
        wait_until(lambda: here.serves(2) and here.settled())
        said: dict[int, tuple[int, ...]] = {each.id: () for each in asked}
        drafted = set()
        for each in asked:
            here.engine.submit(each)
        while here.engine.has_work:
            for moved in here.engine.step():
                said[moved.id] += moved.token_ids
                drafted |= {source.version for source in moved.sources}
            if len(drafted) == 2 and here.engine.swap.generation == 2:
                here.registry.withdraw(here.SLOT)
                wait_until(lambda: here.serves(3))
        assert drafted == {champion, candidate}
        assert here.engine.swap.generation == 3, "the trial ended in mid-text"
        assert said == expected
