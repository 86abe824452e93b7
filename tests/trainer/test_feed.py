"""The feed: what is read, what is left out and why, and which side a conversation falls on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import msgspec
import pytest

from pipelines.registry import Slot
from pipelines.trace import TYPICAL, StepRecord
from pipelines.traffic_log import Place, Position, TrafficReader, covers
from tests.trainer.scripted import SLOT, TARGET, TOKENIZER, House, trace
from trainer.feed import MAX_IDS, Feed, FeedState, Intake
from trainer.kept import Kept, held_out

KEY = b"k" * 32
LOSSY = msgspec.structs.replace(trace(0).sampling, lossy=TYPICAL)


def feed_of(house: House, slot: Slot = SLOT, state: FeedState | None = None) -> Feed:
    return Feed(house.reader, slot, TOKENIZER, max_tokens=64, fraction=0.25, key=KEY, state=state or FeedState())


def offsets(intake: Intake) -> list[int]:
    return sorted(each.place.offset for each in intake.studied + intake.held_out)


def test_every_trace_is_read_once_and_in_order(house: House) -> None:
    house.write([trace(number) for number in range(10)])
    feed = feed_of(house)
    assert [offsets(feed.read(4)) for _ in range(4)] == [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10], []]
    house.write([trace(10)])
    assert offsets(feed.read(4)) == [11]
    assert feed.state.num_read == feed.state.num_studied + feed.state.num_held_out == 11


class Twice:
    """A log that delivers everything twice, the second time under other offsets: at least once is what is promised."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def read(self, after: Position, limit: int) -> list[Any]:
        logged = self._inner.read({}, 1000)
        doubled = logged + [type(each)(Place(each.place.offset + len(logged)), each.trace) for each in logged]
        return [each for each in doubled if not covers(after, each.place)][:limit]


def test_a_trace_delivered_twice_counts_once(house: House) -> None:
    house.write([trace(number) for number in range(10)])
    feed = feed_of(house)
    feed._reader = cast(TrafficReader, Twice(house.reader))
    taken = [len(offsets(feed.read(8))) for _ in range(4)]
    assert sum(taken) == 10
    assert feed.state.num_duplicates == 10


def test_the_memory_for_duplicates_is_bounded(house: House) -> None:
    house.write([trace(1)])
    state = FeedState(recent_ids={f"old-{number}": None for number in range(MAX_IDS)})
    feed_of(house, state=state).read()
    assert len(state.recent_ids) == MAX_IDS
    assert "trace-1" in state.recent_ids
    assert "old-0" not in state.recent_ids


@pytest.mark.parametrize(
    ("change", "counter"),
    [
        ({"target": "another"}, "num_foreign"),
        ({"tokenizer": "another"}, "num_foreign"),
        ({"consent": "tenant"}, "num_withheld"),
        ({"sampling": LOSSY}, "num_lossy"),
        ({"output_ids": (1,)}, "num_short"),
        ({"prompt_ids": ()}, "num_short"),
        ({"output_ids": (1,) * 61}, "num_short"),
    ],
)
def test_what_may_or_can_not_be_learnt_from_is_left_out_and_counted(house: House, change: dict[str, Any], counter: str) -> None:
    house.write([trace(1, **change), trace(2)])
    feed = feed_of(house)
    assert offsets(feed.read()) == [2]
    assert getattr(feed.state, counter) == 1


def test_heads_of_one_tenant_learn_from_that_tenant_alone_consent_for_it_included(house: House) -> None:
    house.write([trace(1, tenant="a", consent="tenant"), trace(2, tenant="a"), trace(3, tenant="b")])
    feed = feed_of(house, Slot(target=TARGET, kind=SLOT.kind, scope="a"))
    assert offsets(feed.read()) == [1, 2]
    assert feed.state.num_withheld == 1


def test_retries_and_later_turns_fall_on_the_side_of_their_conversation(house: House) -> None:
    house.write([trace(number, conversation=f"c{number % 40}") for number in range(200)])
    intake = feed_of(house).read(200)
    sides = [{each.trace.conversation for each in side} for side in (intake.studied, intake.held_out)]
    assert sides[0]
    assert sides[1]
    assert not sides[0] & sides[1]


def side(key: bytes, **changes: Any) -> bool:
    return held_out(Kept.of(1, trace(1, **changes)), key, 0.5)


def test_the_side_depends_on_key_and_tenant_and_on_nothing_else() -> None:
    conversations = [f"c{number}" for number in range(200)]
    by_key = {key: [side(key, conversation=name) for name in conversations] for key in (KEY, b"other" * 6)}
    assert by_key[KEY] != by_key[b"other" * 6]
    assert by_key[KEY] != [side(KEY, conversation=name, tenant="b") for name in conversations]
    assert by_key[KEY] == [side(KEY, conversation=name, output_ids=(1, 2), domain="x") for name in conversations]
    # tenant and conversation do not run into each other
    assert Kept.of(1, trace(1, tenant="a", conversation="b:c")).conversation != (
        Kept.of(1, trace(1, tenant="a:b", conversation="c")).conversation
    )


def test_about_the_fraction_asked_for_is_held_out() -> None:
    count = sum(held_out(Kept.of(1, trace(number)), KEY, 0.2) for number in range(2000))
    assert 330 < count < 470  # 400, and 3.9 standard deviations of 18


def test_traces_that_the_log_dropped_are_noticed(build_house: Callable[..., House]) -> None:
    house = build_house()
    house.write([trace(number, tenant="a" if number < 3 else "b") for number in range(6)])
    feed = feed_of(house)
    intake = feed.read()
    held = intake.studied + intake.held_out
    assert feed.gone(held) == frozenset()
    house.reader.purge("a")
    assert feed.gone(held) == {1, 2, 3}


def test_acceptance_lengths_of_served_traces_are_handed_on(house: House) -> None:
    steps = (StepRecord(start=1, emitted=3, batch_size=1, nodes=4), StepRecord(start=4, emitted=1, batch_size=1, nodes=4))
    house.write([trace(1, steps=steps), trace(2)])
    assert feed_of(house).read().acceptance_lengths == [2.0]
