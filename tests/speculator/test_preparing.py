"""Something is made by a thread, taken once, and nothing that goes wrong with it stands in the way of the next."""

from __future__ import annotations

import logging
import threading

import pytest

from speculator.preparing import Preparing
from tests.wait import wait_until


def taken(preparing: Preparing[str]) -> str:
    found: list[str] = []

    def came() -> bool:
        made = preparing.taken()
        if made is not None:
            found.append(made)
        return bool(found)

    wait_until(came)
    return found[0]


def test_it_is_made_by_another_thread_and_taken_once() -> None:
    preparing: Preparing[str] = Preparing("not made")
    assert preparing.taken() is None
    assert not preparing.busy
    go, ours = threading.Event(), threading.get_ident()

    def make() -> str:
        assert go.wait(10)
        return "ours" if threading.get_ident() == ours else "another"

    preparing.want(make)
    assert preparing.taken() is None
    assert preparing.busy
    go.set()
    assert taken(preparing) == "another"
    assert preparing.taken() is None
    assert not preparing.busy


def test_of_what_is_wanted_meanwhile_only_the_newest_is_made() -> None:
    preparing: Preparing[str] = Preparing("not made")
    go, made = threading.Event(), []

    def making(what: str) -> str:
        assert go.wait(10)
        made.append(what)
        return what

    for what in ("first", "second", "third"):
        preparing.want(lambda what=what: making(what))  # type: ignore[misc]
    go.set()
    assert [taken(preparing), taken(preparing)] == ["first", "third"]
    assert made == ["first", "third"]
    assert not preparing.busy


@pytest.mark.parametrize("error", [ValueError("no such thing"), MemoryError("none left")])
def test_what_cannot_be_made_is_said_and_the_next_is_made(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    preparing: Preparing[str] = Preparing("not made")

    def fail() -> str:
        raise error

    with caplog.at_level(logging.ERROR):
        preparing.want(fail)
        wait_until(lambda: preparing.taken() is not None or not preparing.busy)
    assert f"not made: {error}" in caplog.text
    assert preparing.failure == str(error)
    preparing.want(lambda: "next")
    assert taken(preparing) == "next"
    assert preparing.failure == ""
