"""The runner against an oracle: every branch, run as a text of its own, has the same states."""

from __future__ import annotations

import random

import pytest
import torch
from torch import Tensor

from models.pages import PageTable
from speculator.draft_runner import Branch, Track
from tests.serving.rig import VOCAB
from tests.speculator.draft_models import PAGE_SIZE, decoder_of, draft_model, runner_of

MODEL = draft_model()
DECODER = decoder_of(MODEL)


def alone(tokens: list[int]) -> Tensor:
    """The state of the last token of a text that is read by itself."""
    return DECODER.hidden_states(torch.tensor(tokens))[-1]


def pages_of(number: int, *, scattered: bool) -> PageTable:
    return PageTable(PAGE_SIZE, [7, 3, 12, 1, 20][:number] if scattered else range(2, 2 + number))


@pytest.mark.parametrize("scattered", [False, True])
def test_texts_are_read_in_any_portions(scattered: bool) -> None:
    chance = random.Random(0)
    runner, text = runner_of(MODEL), [chance.randrange(VOCAB) for _ in range(17)]
    track = Track(pages_of(5, scattered=scattered))
    read = 0
    for size in (1, 6, 2, 8):
        states = runner.read([(track, text[read : read + size])])
        read += size
        assert torch.allclose(states[0], alone(text[:read]), atol=1e-5)
    assert track.num_read == 17


def test_several_texts_are_read_at_once_each_by_itself() -> None:
    chance = random.Random(1)
    runner = runner_of(MODEL)
    texts = [[chance.randrange(VOCAB) for _ in range(length)] for length in (3, 9, 5)]
    tracks = [Track(PageTable(PAGE_SIZE, pages)) for pages in ([0, 1, 2], [3, 4, 5], [9, 8, 7])]
    states = runner.read(list(zip(tracks, texts, strict=True)), scored=[2, 2, 2])
    expected = [alone(text[:length]) for text in texts for length in (len(text) - 1, len(text))]
    assert torch.allclose(states, torch.stack(expected), atol=1e-5)


@pytest.mark.parametrize("scattered", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_branches_see_the_text_and_their_ancestors_and_nothing_else(scattered: bool, seed: int) -> None:
    chance = random.Random(seed)
    runner = runner_of(MODEL)
    texts = [[chance.randrange(VOCAB) for _ in range(length)] for length in (2, 6)]
    tracks = [Track(pages_of(5, scattered=scattered)), Track(PageTable(PAGE_SIZE, [30, 31, 32, 33, 34]))]
    runner.read(list(zip(tracks, texts, strict=True)))
    grown: list[tuple[int, list[int], tuple[int, ...]]] = [(0, [], ()), (1, [], ())]
    """(text, tokens of the branch, their places)"""
    places = [len(text) for text in texts]
    for _ in range(3):
        parents = chance.sample(grown, min(3, len(grown)))
        new, branches = [], []
        for which, tokens, behind in parents:
            for _ in range(2):
                token, place = chance.randrange(VOCAB), places[which]
                places[which] += 1
                branches.append(Branch(tracks[which], len(texts[which]), token, place, behind))
                new.append((which, [*tokens, token], (*behind, place)))
        states = runner.grow(branches)
        expected = [alone(texts[which] + tokens) for which, tokens, _ in new]
        assert torch.allclose(states, torch.stack(expected), atol=1e-5)
        grown += new
        if max(places) > 5 * PAGE_SIZE - 6:
            break


def test_what_is_drafted_past_the_end_of_the_context_breaks_nothing() -> None:
    """Who drafts ahead of the target does not know where a text has to end; nobody verifies what he drafts there."""
    last = MODEL.shape.max_positions
    runner = runner_of(MODEL, num_pages=last // PAGE_SIZE + 4)
    track = Track(PageTable(PAGE_SIZE, range(last // PAGE_SIZE + 4)), num_read=last - 2, first=last - 2)
    inside = runner.read([(track, [1])])
    beyond = runner.read([(track, [2, 3])])
    branch = runner.grow([Branch(track, last + 1, 4, last + 1)])
    assert all(bool(states.isfinite().all()) for states in (inside, beyond, branch))


def test_what_was_tried_leaves_no_trace_in_the_text() -> None:
    runner, text = runner_of(MODEL), [5, 9, 3]
    track = Track(PageTable(PAGE_SIZE, [0, 1, 2]))
    runner.read([(track, text)])
    runner.grow([Branch(track, 3, 7, 3), Branch(track, 3, 8, 4)])
    runner.grow([Branch(track, 3, 11, 5, (3,))])
    states = runner.read([(track, [20, 21, 22])])
    assert torch.allclose(states[0], alone([5, 9, 3, 20, 21, 22]), atol=1e-5)


def test_other_weights_draft_on_over_what_the_old_ones_read() -> None:
    runner = runner_of(MODEL)
    track = Track(PageTable(PAGE_SIZE, [0, 1, 2]))
    runner.read([(track, [5, 9, 3])])
    runner.take(runner.prepared(draft_model(seed=1).tensors))
    assert torch.isfinite(runner.read([(track, [4])])).all()
    fresh = Track(PageTable(PAGE_SIZE, [3, 4, 5]))
    other = decoder_of(draft_model(seed=1)).hidden_states(torch.tensor([5, 9, 3]))[-1]
    assert torch.allclose(runner.read([(fresh, [5, 9, 3])])[0], other, atol=1e-5)
