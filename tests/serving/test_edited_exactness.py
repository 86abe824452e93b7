"""With penalties, biases, masks and a least length the engine still emits what plain decoding emits: a loop that reads the
whole text anew for each token and applies the law's steps one by one, in numpy."""

from __future__ import annotations

from collections import Counter

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from kernels.gumbel.reference import gumbel
from pipelines.trace import Edits
from serving.messages import Request
from tests.serving.rig import VOCAB, GuessingSpeculator, generate, plain_engine, tiny_target
from tests.serving.test_engine_exactness import DECODER, request

Floats = NDArray[np.float32]
TOKENS = st.integers(0, VOCAB - 1)
EDITS = st.builds(
    Edits,
    repetition_penalty=st.sampled_from([1.0, 1.0, 0.5, 1.3, 2.0]),
    presence_penalty=st.sampled_from([0.0, 0.0, -2.0, 0.7, 2.0]),
    frequency_penalty=st.sampled_from([0.0, 0.0, -1.0, 0.5, 2.0]),
    logit_bias=st.lists(
        st.tuples(TOKENS, st.sampled_from([-100.0, -1.5, 1.0, 4.0])), max_size=4, unique_by=lambda pair: pair[0]
    ).map(tuple),
    min_tokens=st.sampled_from([0, 0, 3, 9]),
    allowed_token_ids=st.just(()) | st.sets(TOKENS, min_size=12).map(tuple),
    bad_words=st.just(()) | st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=3).map(tuple), max_size=8).map(tuple),
)
ASKS = st.fixed_dictionaries(
    {
        "temperature": st.sampled_from([0.0, 0.0, 0.7, 1.3]),
        "edits": EDITS,
        "stop_ids": st.sets(TOKENS, max_size=5).map(tuple),
        "top_k": st.sampled_from([0, 0, 8]),
        "top_p": st.sampled_from([1.0, 1.0, 0.8]),
        "min_p": st.sampled_from([0.0, 0.0, 0.05]),
    }
)


PAIRS = Edits(bad_words=tuple((a, b) for a in range(VOCAB) for b in range(VOCAB) if (a + b) % 3))
"""What may follow a token depends on that token alone."""


def read(tokens: list[int]) -> Floats:
    """[n, V] the target's raw scores after each token, from a pass of its own."""
    found: Floats = DECODER.logits(DECODER.hidden_states(torch.tensor(tokens))).numpy()
    return found


def edited(scores: Floats, ask: Request, said: list[int]) -> Floats:
    """Step by step, as the law says it."""
    edits = ask.edits
    scores = scores.copy()
    for token, bias in edits.logit_bias:
        scores[token] += np.float32(bias)
    for token in range(VOCAB):
        if edits.allowed_token_ids and token not in edits.allowed_token_ids:
            scores[token] = -np.inf
        if len(said) < edits.min_tokens and token in ask.stop_ids:
            scores[token] = -np.inf
    for word in edits.bad_words:
        if [*said, word[-1]][-len(word) :] == list(word):
            scores[word[-1]] = -np.inf
    penalty = np.float32(edits.repetition_penalty)
    for token in {*ask.prompt_ids, *said}:
        scores[token] = scores[token] / penalty if scores[token] > 0 else scores[token] * penalty
    for token, count in Counter(said).items():
        scores[token] -= np.float32(edits.frequency_penalty) * np.float32(count)
        scores[token] -= np.float32(edits.presence_penalty)
    return scores


def filtered(scores: Floats, ask: Request) -> Floats:
    scores = scores / np.float32(ask.temperature)
    probs = np.exp(scores - scores.max())
    scores[probs < ask.min_p] = -np.inf
    if ask.top_k:
        scores[scores < np.sort(scores)[-ask.top_k]] = -np.inf
    probs = np.exp(scores - scores.max(), dtype=np.float64)
    order = np.argsort(-probs, kind="stable")
    before = np.cumsum(probs[order]) - probs[order]
    edge = scores[order[before < ask.top_p * probs.sum()][-1]]
    if ask.top_p < 1.0:
        scores[scores < edge] = -np.inf
    return scores


def by_hand(ask: Request) -> tuple[int, ...]:
    said: list[int] = []
    while len(said) < ask.max_tokens:
        scores = edited(read([*ask.prompt_ids, *said])[-1], ask, said)
        if ask.temperature:
            noise = gumbel(ask.seed, ask.choice, len(said), VOCAB, torch.device("cpu")).numpy()
            scores = filtered(scores, ask) + noise
        said.append(int(scores.argmax()))
        if said[-1] in ask.stop_ids:
            break
    return tuple(said)


def asked(number: int, length: int, **fields: object) -> Request:
    return msgspec.structs.replace(request(number, 0.0, length), max_tokens=16, **fields)


def drafted(asks: list[Request], expected: dict[int, tuple[int, ...]], seed: int, hit_rate: float, joins: list[int]) -> int:
    """Accepted tokens of the engine, which says what is expected."""
    speculator = GuessingSpeculator(expected, seed, hit_rate=hit_rate)
    assert generate(plain_engine(tiny_target(DECODER), speculator), asks, joins) == expected
    return speculator.num_accepted


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(ASKS, st.integers(1, 15), st.integers(0, 8)), min_size=1, max_size=4),
    st.integers(0, 2**31),
    st.floats(0.0, 1.0),
)
def test_output_is_that_of_plain_decoding_by_hand_whatever_is_edited_drafted_and_mixed(
    shapes: list[tuple[dict[str, object], int, int]], seed: int, hit_rate: float
) -> None:
    asks = [asked(number, length, **fields) for number, (fields, length, _) in enumerate(shapes)]
    drafted(asks, {each.id: by_hand(each) for each in asks}, seed, hit_rate, [join for _, _, join in shapes])


@pytest.mark.parametrize("temperature", [0.0, 0.9])
@pytest.mark.parametrize(
    "edits",
    [Edits(repetition_penalty=2.0), Edits(presence_penalty=2.0), Edits(frequency_penalty=2.0), Edits(min_tokens=9), PAIRS],
    ids=lambda edits: next(iter(msgspec.to_builtins(edits))),
)
def test_history_within_an_accepted_draft_counts(edits: Edits, temperature: float) -> None:
    """Deep drafts of the right tokens: most choices are made below the root, where the history is the root's and the path's."""
    stops = tuple(range(0, VOCAB, 3)) if edits.min_tokens else ()
    asks = [asked(number, 4, edits=edits, temperature=temperature, stop_ids=stops) for number in range(6)]
    expected = {each.id: by_hand(each) for each in asks}
    unedited = {each.id: by_hand(msgspec.structs.replace(each, edits=Edits())) for each in asks}
    assert sum(expected[each] != unedited[each] for each in expected) >= 3, "the edits change nothing: this would prove nothing"
    num_tokens = sum(map(len, expected.values()))
    assert drafted(asks, expected, 3, 1.0, [0] * len(asks)) > num_tokens / 3
