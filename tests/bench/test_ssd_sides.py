"""The sides of the SSD figures: a target that costs more and says the same, and a worker on a core of its own."""

from __future__ import annotations

import os

import pytest
import torch

from bench.figures.ssd import _difference
from bench.ssd_sides import config_of, cost_true, on_cores
from models.loading import load_target
from models.source import bundled_target


@pytest.mark.slow
def test_a_cost_true_target_has_more_layers_and_the_same_scores() -> None:
    path = str(bundled_target())
    target, wide = load_target(path, dtype="float32"), cost_true(path, None, config_of(path, None), 3)
    assert wide.config.num_layers == 3 * target.config.num_layers
    tokens = torch.tensor([5, 900, 17, 33, 4000])
    assert torch.equal(wide.logits(wide.hidden_states(tokens)), target.decoder.logits(target.decoder.hidden_states(tokens)))


def test_cores_and_threads_are_lent_and_given_back() -> None:
    before, threads = os.sched_getaffinity(0), torch.get_num_threads()
    first = sorted(before)[:1]
    with on_cores(first):
        assert (os.sched_getaffinity(0), torch.get_num_threads()) == (set(first), 1)
    assert (os.sched_getaffinity(0), torch.get_num_threads()) == (before, threads)


def test_a_difference_of_rates_is_paired() -> None:
    ours, theirs = [(8.0, 10.0), (4.0, 10.0)] * 20, [(7.0, 10.0), (3.0, 10.0)] * 20
    found = _difference(ours, theirs)
    assert found.value == pytest.approx(0.1)
    assert found.lower == pytest.approx(0.1)
    assert found.upper == pytest.approx(0.1)
