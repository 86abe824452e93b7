"""Who waits for whom: by clocks of our own, so that every claim is exact."""

from __future__ import annotations

import socket
import threading
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from statistics import fmean

import msgspec
import pytest
import torch
from torch import Tensor

from models.decoder import Scores
from models.pages import PagePool
from pipelines.wire import Wire
from serving.engine import Engine, FixedBudget
from serving.messages import Request
from serving.target import Target
from speculator.draft_runner import Branch, DraftRunner
from speculator.merged import MergedSpeculator
from speculator.ssd.messages import FromWorker, Reply, ToWorker
from speculator.ssd.speculator import SsdSpeculator
from speculator.ssd.worker import Worker
from tests.serving.rig import VOCAB, plain_engine, tiny_scheduler
from tests.speculator.draft_models import NUM_PAGES, PAGE_SIZE, decoder_of, draft_model, target_of
from tests.speculator.ssd.beside import ROOM
from tests.speculator.ssd.virtual import Costs, Round, rounds
from tests.speculator.test_draft_lm import served

SAME = draft_model(seed=0)
OTHER = draft_model(seed=5)
MS = 0.001


def middle(found: list[Round]) -> list[Round]:
    """Without the start, at which nothing could be prepared, and the end, at which drafts are cut to what is left."""
    assert len(found) > 10
    return found[3:-2]


def test_a_hit_takes_as_long_as_the_verification_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    costs = Costs(verify=30 * MS)
    assert costs.build(4) < costs.verify
    found, _ = rounds(monkeypatch, SAME, SAME, costs)
    assert {each.hit for each in middle(found)} == {True}
    assert [each.seconds for each in middle(found)] == pytest.approx([30 * MS] * len(middle(found)))
    assert {each.num_tokens for each in middle(found)} == {5}, "and in turns it would be 10 ms more"


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_nobody_waits_for_what_was_not_foreseen(monkeypatch: pytest.MonkeyPatch, temperature: float) -> None:
    costs = Costs(verify=30 * MS)
    found, _ = rounds(monkeypatch, SAME, OTHER, costs, fan_out=2, temperature=temperature)
    missed = [each for each in found[1:] if each.hit is False]
    assert len(missed) > 20
    assert [each.seconds for each in missed] == pytest.approx([30 * MS] * len(missed))
    assert {each.num_tokens for each in missed} == {1}


@pytest.mark.parametrize("draft", [SAME, OTHER], ids=["hits", "misses"])
def test_a_build_that_is_not_through_is_cut_off_after_its_pass(monkeypatch: pytest.MonkeyPatch, draft: object) -> None:
    costs = Costs(verify=7 * MS)
    assert costs.build(6) == pytest.approx(14 * MS)
    found, _ = rounds(monkeypatch, SAME, draft, costs, lookahead=6)  # type: ignore[arg-type]
    for each in middle(found):
        assert costs.verify - 1e-9 <= each.seconds < costs.verify + costs.level, "at most what was left of one pass"


def test_the_slower_the_draft_the_shorter_and_there_is_no_cliff(monkeypatch: pytest.MonkeyPatch) -> None:
    """From a worker that takes no time for a round to one that takes five verifications: tokens a round, and a second."""
    lookahead, lengths, speeds = 5, [], []
    for tenths in range(0, 101, 5):  # a pass, in tenths of a millisecond
        pass_seconds = tenths / 10 * MS
        costs = Costs(verify=12 * MS, glue=pass_seconds, level=pass_seconds)
        found = middle(rounds(monkeypatch, SAME, SAME, costs, lookahead=lookahead, patience=1.0)[0])
        longest = max(each.seconds for each in found)
        assert longest < max(costs.verify, costs.build(lookahead)) + 1e-9, "where nothing is cut off: max(verify, draft)"
        assert longest < costs.verify + pass_seconds + 1e-9
        lengths.append(fmean(each.num_tokens for each in found))
        speeds.append(sum(each.num_tokens for each in found) / sum(each.seconds for each in found))
    assert lengths[0] == 6
    assert lengths[-1] < 2.5
    falls = [before - after for before, after in pairwise(lengths)]
    assert min(falls) > -0.35, "never longer for a slower draft, but for how passes and rounds fall together"
    assert max(falls) <= 1.05, "half a millisecond more a pass costs a token at most"
    assert min(speeds) > 1 / (12 * MS), "and at its slowest it is still better than no draft"


def test_a_pass_beyond_all_patience_holds_up_a_round_for_that_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    costs = Costs(verify=30 * MS, glue=90 * MS, level=90 * MS)
    found, answer = rounds(monkeypatch, SAME, SAME, costs, patience=20 * MS)
    assert max(each.seconds for each in found) <= 50 * MS + 1e-9
    assert sum(each.hit is None for each in found) > 10, "rounds that went on without a draft"
    request = Request(id=1, prompt_ids=(3, 1, 4), max_tokens=100, temperature=0.0, seed=7)
    assert {1: answer} == served(plain_engine(target_of(SAME)), [request])


@pytest.mark.parametrize(("verify", "at_least"), [(8, 2), (12, 3), (16, 4), (20, 4), (40, 5)])
def test_what_is_planned_fits_into_the_verification(monkeypatch: pytest.MonkeyPatch, verify: int, at_least: int) -> None:
    """All that is allowed would take 64 ms: once everything was measured, less is prepared and nobody waits."""
    costs = Costs(verify=verify * MS, glue=1 * MS, level=1 * MS, branch=0.25 * MS)
    found, _ = rounds(monkeypatch, SAME, SAME, costs, lookahead=9, fan_out=24, adaptive=True, num_tokens=220)
    late = middle(found)[-6:]
    assert [each.seconds for each in late] == pytest.approx([verify * MS] * len(late))
    assert fmean(each.num_tokens for each in late) >= at_least, "and there is a draft all the same"


class _Counted(DraftRunner):
    """Counts the passes that drafted ahead, by the round that was answered before."""

    def __init__(self) -> None:
        super().__init__(SAME, page_size=PAGE_SIZE, num_pages=4 * NUM_PAGES, device=torch.device("cpu"), dtype=torch.float32)
        self.passes: Counter[int] = Counter()
        self.made = threading.Condition()
        self.wire: _Heard | None = None

    def grow(self, branches: Sequence[Branch]) -> Tensor:
        found = super().grow(branches)
        with self.made:
            assert self.wire is not None
            self.passes[self.wire.round] += 1
            self.made.notify_all()
        return found


class _Heard(Wire[ToWorker]):
    """The worker's end, which remembers the round that it answered last."""

    round = 0

    def send(self, message: msgspec.Struct) -> None:
        super().send(message)
        if isinstance(message, Reply):
            self.round = message.round


class _Patient(Target):
    """Is through with a verification only when the worker has drafted ahead for all that may come of it."""

    def __init__(self, runner: _Counted) -> None:
        super().__init__(decoder_of(SAME), PagePool(NUM_PAGES, PAGE_SIZE))
        self._runner = runner
        self.source: SsdSpeculator | None = None
        self.num_awaited = 0

    def wait(self) -> Scores:
        assert self.source is not None
        if self.source._handed:
            self.num_awaited += 1
            with self._runner.made:
                through = lambda: self._runner.passes[self.source._round] >= self.source.lookahead  # noqa: E731
                assert self._runner.made.wait_for(through, 30), "it drafts when it is asked, not beside the target"
        return super().wait()


def test_the_worker_drafts_while_the_target_verifies() -> None:
    """With real threads and a real wire: a verification lasts here until the drafting beside it is through."""
    ours, theirs = socket.socketpair()
    runner = _Counted()
    runner.wire = wire = _Heard(theirs, ToWorker)  # type: ignore[arg-type]
    worker = Worker(wire, runner, PagePool(4 * NUM_PAGES, PAGE_SIZE), "v1", room=ROOM, adaptive=False)
    thread = threading.Thread(target=worker.run, daemon=True)
    thread.start()
    link: Wire[FromWorker] = Wire(ours, FromWorker)  # type: ignore[arg-type]
    source = SsdSpeculator(lambda: link, version="v1", shape=SAME.shape, vocab_size=VOCAB, fan_out=12, patience=30.0, hang=60.0)
    source._link = link
    target = _Patient(runner)
    target.source = source
    engine = Engine(target, tiny_scheduler(target), MergedSpeculator([source], max_tree=12), FixedBudget(12))
    while not source._present():
        pass
    engine.submit(Request(id=1, prompt_ids=(3, 1, 4), max_tokens=60, temperature=0.0))
    while engine.has_work:
        engine.step()
    assert target.num_awaited > 10
    assert source.counters["ssd_rounds:miss"] == 1, "the first: whatever came of the others was prepared for"
    engine.close()
    thread.join(10)
    assert not thread.is_alive()
