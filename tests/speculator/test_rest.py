"""The datastore as a source: what it proposes, to whom, and how it takes up newer versions."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from speculator.batch import Batch, Sampling, Sequence
from speculator.datastore import EVERYONE, build, newest_version
from speculator.drafts import Drafts, Tree
from speculator.protocol import Budget
from speculator.rest import POLL_SECONDS, RestSpeculator
from speculator.verify import Verdicts
from tests.serving.rig import engine_with, generate, tiny_decoder, tiny_target
from tests.serving.test_engine_exactness import plain, request
from tests.speculator.test_suffix import likeliest

TOKENIZER = "t"


def sequence_of(text: list[int], tenant: str = "t", max_tokens: int = 100, **traits: bool) -> Sequence:
    return Sequence(1, tenant, text, 1, Sampling(temperature=0.0, max_tokens=max_tokens), **traits)


def draft(source: RestSpeculator, sequence: Sequence, **budget: int) -> Tree:
    (tree,) = source.propose(Batch((sequence,)), Budget(**{"nodes": 16, **budget})).trees
    return tree


def observe(source: RestSpeculator) -> None:
    source.observe(Batch(()), Drafts.empty([]), Verdicts((), ()))


def test_what_followed_the_longest_match_is_proposed(tmp_path: Path) -> None:
    build(tmp_path, {EVERYONE: [[1, 2, 3, 4, 5], [9, 2, 3, 7], [9, 2, 3, 7]]}, TOKENIZER)
    source = RestSpeculator(tmp_path, TOKENIZER)
    assert source.version == newest_version(tmp_path)
    assert likeliest(draft(source, sequence_of([8, 1, 2, 3]))) == [4, 5]
    assert likeliest(draft(source, sequence_of([8, 2, 3])))[0] == 7
    assert len(draft(source, sequence_of([3, 8]))) == 1


def test_tenants_see_their_own_texts_and_everyones(tmp_path: Path) -> None:
    build(tmp_path, {EVERYONE: [[1, 2]], "a": [[3, 4]], "b": [[3, 5]]}, TOKENIZER)
    source = RestSpeculator(tmp_path, TOKENIZER)
    for tenant, expected in (("a", [4]), ("b", [5]), ("c", [])):
        assert likeliest(draft(source, sequence_of([7, 3], tenant))) == expected
        assert likeliest(draft(source, sequence_of([7, 1], tenant))) == [2]


def test_a_draft_keeps_to_its_budget_and_to_what_may_still_be_emitted(tmp_path: Path) -> None:
    build(tmp_path, {EVERYONE: [list(range(30))] * 9}, TOKENIZER)
    source = RestSpeculator(tmp_path, TOKENIZER)
    assert max(draft(source, sequence_of([1, 2, 3], max_tokens=9)).depth) == 9 - 2 - 1
    assert max(draft(source, sequence_of([1, 2, 3]), max_depth=2).depth) == 2
    assert len(draft(source, sequence_of([1, 2, 3]), nodes=3)) == 4
    assert len(draft(source, sequence_of([1, 2, 3], speculative=False))) == 1


def test_a_newer_store_is_taken_up_and_a_bad_one_is_refused_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    now = 0.0
    source = RestSpeculator(tmp_path, TOKENIZER, clock=lambda: now)
    assert len(draft(source, sequence_of([8, 1]))) == 1

    def wait_for(version: str) -> None:
        nonlocal now
        now += POLL_SECONDS
        deadline = time.monotonic() + 10
        observe(source)
        while source.version != version or source._newer.busy:
            assert time.monotonic() < deadline
            time.sleep(0.001)
            observe(source)

    first = build(tmp_path, {EVERYONE: [[1, 2]]}, TOKENIZER).version
    observe(source)
    assert source.version == "", "it is not yet time to look again"
    wait_for(first)
    assert likeliest(draft(source, sequence_of([8, 1]))) == [2]
    build(tmp_path, {EVERYONE: [[1, 3]]}, "another tokenizer")
    for _ in range(3):
        wait_for(first)
    assert caplog.text.count("datastore refused") == 1
    wait_for(build(tmp_path, {EVERYONE: [[1, 4]]}, TOKENIZER).version)
    assert likeliest(draft(source, sequence_of([8, 1]))) == [4]
    assert source.gauges == {"rest_tokens": 2.0}


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_output_is_plain_decodings_and_drafts_are_accepted(tmp_path: Path, temperature: float) -> None:
    decoder = tiny_decoder()
    requests = [request(number, temperature, 6) for number in range(5)]
    expected = plain(requests)
    wrong = [[(token + 1) % 48 for token in answer] for answer in expected.values()]
    build(tmp_path, {EVERYONE: [*map(list, expected.values()), *wrong]}, TOKENIZER)
    target = tiny_target(decoder)
    engine = engine_with(target, RestSpeculator(tmp_path, TOKENIZER))
    assert generate(engine, requests, [0, 0, 2, 3, 5]) == expected
    assert engine.stats.counters["accepted_tokens"] > 20
