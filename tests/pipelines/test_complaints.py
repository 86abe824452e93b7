"""Complaints are few, and the first is not among those left out."""

from __future__ import annotations

import logging

import pytest

from pipelines.complaints import Complaints


def test_of_a_thousand_complaints_one_every_ten_seconds_is_heard(caplog: pytest.LogCaptureFixture) -> None:
    now = 100.0
    complaints = Complaints(logging.getLogger("log"), "traffic log x", clock=lambda: now)
    for number in range(1000):
        now = 100.0 + number / 40
        complaints.warn(f"number {number}")
    assert caplog.messages == [f"traffic log x: number {number}" for number in (0, 400, 800)]


def test_of_two_subjects_neither_silences_the_other(caplog: pytest.LogCaptureFixture) -> None:
    for subject in ("one", "other"):
        Complaints(logging.getLogger("log"), subject).warn("away")
    assert caplog.messages == ["one: away", "other: away"]
