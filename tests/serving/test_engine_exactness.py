"""The engine emits what plain decoding emits, whatever is drafted, whenever requests come and go."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.messages import Request
from speculator.batch import Sequence
from speculator.drafts import Drafts, Tree
from tests.serving.rig import VOCAB, GuessingSpeculator, generate, plain_engine, tiny_decoder, tiny_scheduler, tiny_target

DECODER = tiny_decoder()
MAX_TOKENS = 24


def request(number: int, temperature: float, prompt_length: int, **changes: object) -> Request:
    rng = random.Random(number)
    prompt = tuple(rng.randrange(VOCAB) for _ in range(prompt_length))
    values: dict[str, object] = {
        "id": number,
        "prompt_ids": prompt,
        "max_tokens": MAX_TOKENS,
        "temperature": temperature,
        "seed": number * 7 + 1,
    }
    return Request(**{**values, **changes})  # type: ignore[arg-type]


def plain(requests: list[Request]) -> dict[int, tuple[int, ...]]:
    """Each alone, without a draft."""
    answers = {}
    for each in requests:
        answers |= generate(plain_engine(tiny_target(DECODER)), [each], [0])
    return answers


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from([0.0, 0.7, 1.3]), st.integers(1, 19), st.integers(0, 12)),
        min_size=1,
        max_size=5,
    ),
    st.integers(0, 2**31),
    st.floats(0.0, 1.0),
)
def test_output_is_plain_decodings_whatever_is_drafted_and_whoever_shares_the_batch(
    shapes: list[tuple[float, int, int]], seed: int, hit_rate: float
) -> None:
    requests = [
        request(number, temperature, length) for number, (temperature, length, _) in enumerate(shapes)
    ]
    expected = plain(requests)
    speculator = GuessingSpeculator(expected, seed, hit_rate=hit_rate)
    engine = plain_engine(tiny_target(DECODER), speculator)
    assert generate(engine, requests, [join for _, _, join in shapes]) == expected


def test_good_guesses_are_accepted_so_that_the_identity_above_is_not_vacuous() -> None:
    requests = [request(number, 0.7, 5) for number in range(4)]
    expected = plain(requests)
    speculator = GuessingSpeculator(expected, 3, hit_rate=0.9)
    engine = plain_engine(tiny_target(DECODER), speculator)
    generate(engine, requests, [0, 0, 2, 3])
    emitted = sum(len(answer) for answer in expected.values())
    assert speculator.num_accepted > emitted / 3
    assert engine.stats.num_steps < MAX_TOKENS


def fresh_prefill(tokens: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """The keys and values of `tokens`, from pages that held nothing before."""
    target = tiny_target(DECODER)
    scheduler = tiny_scheduler(target)
    sequence = scheduler.submit(Request(id=99, prompt_ids=tuple(tokens), max_tokens=1))
    assert isinstance(sequence, Sequence)
    while sequence.num_written < len(tokens):
        batch = scheduler.schedule()
        target.launch(batch, Drafts.empty([each.tokens[-1] for each in batch.choosing]))
        sequence.num_written += batch.num_prompt_tokens
    return target.keys_and_values(sequence)


@pytest.mark.parametrize("scattered", [False, True], ids=["pages in one piece", "scattered pages"])
def test_keys_and_values_after_every_step_are_those_of_a_fresh_prefill(scattered: bool) -> None:
    requests = [request(number, 0.7, 3 + number) for number in range(3)]
    target = tiny_target(DECODER)
    if scattered:  # every other page is taken: no run of two is left
        pages = target.pool.allocate(target.pool.num_pages)
        target.pool.release(pages[::2])
    engine = plain_engine(target, GuessingSpeculator(plain(requests), 5))
    for each in requests:
        engine.submit(each)
    steps_checked = 0
    while engine.has_work:
        engine.step()
        for sequence in engine.scheduler.running:
            if sequence.num_written:
                expected = fresh_prefill(sequence.tokens[: sequence.num_written])
                # rounding of other shapes is below 1e-5; a wrong slot or position is of order 1
                torch.testing.assert_close(target.keys_and_values(sequence), expected, atol=1e-4, rtol=1e-4)
                steps_checked += 1
    assert steps_checked >= 10


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 80))
def test_logits_at_each_node_are_those_of_its_path_run_alone(seed: int, num_nodes: int) -> None:
    rng = random.Random(seed)
    prompt = [rng.randrange(VOCAB) for _ in range(6)]
    tree = Tree.rooted(rng.randrange(VOCAB))
    for _ in range(num_nodes):
        tree.add(rng.randrange(len(tree)), rng.randrange(VOCAB), 0.5, 1)
    target = tiny_target(DECODER)
    scheduler = tiny_scheduler(target, max_tree=96)
    sequence = scheduler.submit(Request(id=1, prompt_ids=tuple(prompt), max_tokens=90))
    assert isinstance(sequence, Sequence)
    batch = scheduler.schedule()
    target.launch(batch, Drafts.empty([prompt[-1]]))
    sequence.num_written = len(prompt)
    sequence.tokens.append(tree.tokens[0])
    target.launch(scheduler.schedule(), Drafts.pack([tree]))
    logits = target.wait().logits
    for node in rng.sample(range(len(tree)), min(6, len(tree))):
        path = [node]
        while tree.parent[path[0]] >= 0:
            path.insert(0, tree.parent[path[0]])
        alone = DECODER.hidden_states(torch.tensor(prompt + [tree.tokens[each] for each in path]))[-1]
        torch.testing.assert_close(logits[node], DECODER.logits(alone), atol=1e-4, rtol=1e-4)


def test_an_abort_in_mid_flight_frees_everything_and_leaves_the_others_alone() -> None:
    requests = [request(number, 0.0, 4) for number in range(3)]
    expected = plain(requests)
    engine = plain_engine(tiny_target(DECODER), GuessingSpeculator(expected, 1))
    for each in requests:
        engine.submit(each)
    emitted: dict[int, tuple[int, ...]] = {each.id: () for each in requests}
    for _ in range(3):
        for moved in engine.step():
            emitted[moved.id] += moved.token_ids
    aborted = engine.abort(1)
    assert aborted is not None
    assert aborted.finish_reason == "abort"
    assert engine.abort(1) is None
    while engine.has_work:
        for moved in engine.step():
            assert moved.id != 1
            emitted[moved.id] += moved.token_ids
    engine.audit()
    assert emitted[0] == expected[0]
    assert emitted[2] == expected[2]
    assert engine.scheduler.num_pages_held == 0


def test_a_stop_id_inside_an_accepted_run_ends_the_answer_there() -> None:
    base = request(2, 0.0, 5)
    answer = plain([base])[2]
    stop = answer[9]
    first = answer.index(stop)
    stopping = request(2, 0.0, 5, stop_ids=(stop,))
    engine = plain_engine(tiny_target(DECODER), GuessingSpeculator({2: answer}, 4, hit_rate=1.0))
    assert generate(engine, [stopping], [0])[2] == answer[: first + 1]


def test_a_request_larger_than_the_pool_is_refused_and_one_that_must_wait_is_not() -> None:
    engine = plain_engine(tiny_target(DECODER, num_pages=16, page_size=4))
    refused = engine.submit(request(1, 0.0, 60))
    assert refused is not None
    assert refused.code == "too_large"
    fits = [request(number, 0.0, 8) for number in (2, 3)]
    assert generate(engine, fits, [0, 0]) == plain(fits)


def test_ancestor_sets_cover_trees_of_more_than_64_nodes() -> None:
    tree = Tree.rooted(0)
    for _ in range(130):
        tree.add(len(tree) - 1, 1, 0.5, 1)
    drafts = Drafts.pack([tree])
    counts = [sum(int(word).bit_count() for word in row) for row in drafts.ancestors]
    assert counts == list(range(1, 132))
    assert drafts.ancestors.dtype == np.uint64
