"""The outbox hands out every record once, in order, and its books always balance."""

from __future__ import annotations

import threading
import time

from hypothesis import given
from hypothesis import strategies as st

from pipelines.outbox import Outbox

ACTIONS = st.one_of(
    st.tuples(st.just("put"), st.integers(0, 6)),
    st.tuples(st.sampled_from(["take", "settle", "refuse", "close", "abandon"]), st.just(0)),
)
NEVER = 3600.0
"""Seconds nobody waits for: a test that does hangs, and its join fails."""


@given(st.lists(ACTIONS, max_size=60))
def test_the_books_balance_after_every_action(actions: list[tuple[str, int]]) -> None:
    outbox: Outbox[int] = Outbox(max_records=5, max_bytes=12)
    queued: list[int] = []
    taken: list[int] = []
    in_flight = False
    for number, (action, size) in enumerate(actions):
        if action == "put":
            if outbox.put(number, size):
                queued.append(number)
        elif action == "refuse":
            outbox.refuse()
        elif action == "take" and not in_flight:
            batch = outbox.take(linger=0.0, patience=0.0)
            taken += batch or []
            in_flight = bool(batch)
        elif action == "settle":
            outbox.settle()
            in_flight = False
        elif action == "close":
            outbox.close()
        elif action == "abandon":
            outbox.abandon()
            in_flight = False
        counters = outbox.counters()
        assert counters.appended == counters.written + counters.dropped + counters.pending
        assert counters.pending <= 5
        assert counters.written <= len(taken)
        assert taken == queued[: len(taken)]


def test_bytes_in_flight_still_take_room() -> None:
    outbox: Outbox[str] = Outbox(max_records=100, max_bytes=10)
    assert outbox.put("first", 10)
    assert outbox.take(0.0, 0.0) == ["first"]
    assert not outbox.put("second", 1)
    outbox.settle()
    assert outbox.put("second", 1)


def test_a_flush_ends_the_lingering() -> None:
    outbox: Outbox[str] = Outbox(max_records=100, max_bytes=100)

    def write() -> None:
        while outbox.take(linger=NEVER, patience=NEVER) is not None:
            outbox.settle()

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    for _ in range(3):
        outbox.put("record", 1)
        assert outbox.flush(30.0)
    outbox.close()
    writer.join(30.0)
    assert not writer.is_alive()


def test_a_queue_half_full_ends_the_lingering() -> None:
    outbox: Outbox[int] = Outbox(max_records=10, max_bytes=100)
    taken: list[int] = []
    writer = threading.Thread(target=lambda: taken.extend(outbox.take(NEVER, NEVER) or []), daemon=True)
    writer.start()
    for number in range(5):
        time.sleep(0.02)  # so that the writer lingers already when the queue gets crowded
        outbox.put(number, 1)
    writer.join(30.0)
    assert taken == [0, 1, 2, 3, 4]


def test_a_flush_of_what_is_given_up_says_no() -> None:
    outbox: Outbox[str] = Outbox(max_records=10, max_bytes=100)
    outbox.put("record", 1)
    answers: list[bool] = []
    waiting = threading.Thread(target=lambda: answers.append(outbox.flush(NEVER)), daemon=True)
    waiting.start()
    assert outbox.abandon() == 1
    waiting.join(30.0)
    assert answers == [False]
