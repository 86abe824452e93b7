"""Outputs that loop."""

from __future__ import annotations

import random

import pytest

from cli.demo.looping import is_looping


@pytest.mark.parametrize("period", [1, 2, 7, 31, 32])
def test_three_repeats_of_a_stretch_of_up_to_32_tokens_loop_wherever_they_stand(period: int) -> None:
    stretch = list(range(100, 100 + period))
    assert is_looping([1, 2, 3, *stretch * 3, 4, 5])
    assert is_looping(stretch * 3)


@pytest.mark.parametrize("period", [1, 2, 7, 32])
def test_two_repeats_and_a_bit_do_not_loop(period: int) -> None:
    stretch = list(range(100, 100 + period))
    assert not is_looping([1, *(stretch * 3)[:-1], 2])


def test_a_longer_period_does_not_loop() -> None:
    assert not is_looping(list(range(33)) * 5)


def test_repeats_that_something_interrupts_do_not_loop() -> None:
    assert not is_looping([5, 5, 6, 6, 7, 7, 8, 8])
    assert not is_looping([1, 2, 3, 1, 2, 3, 9, 1, 2, 3])


def test_text_without_repeats_does_not_loop() -> None:
    rng = random.Random(0)
    assert not is_looping([rng.randrange(8192) for _ in range(500)])
    assert not is_looping([])
