"""The closed loop: who is under way, what time is whose."""

from __future__ import annotations

import time

import pytest

from bench.rig import Ask, Client, acceptance_length, tokens_per_second
from tests.serving.rig import GuessingSpeculator, plain_engine, tiny_decoder, tiny_target

DECODER = tiny_decoder()


def asks(num: int, max_tokens: int = 10) -> list[Ask]:
    return [Ask(number, "toy", (number + 1, 7), max_tokens, ()) for number in range(num)]


def client() -> Client:
    return Client(plain_engine(tiny_target(DECODER)))


def test_answers_come_in_the_order_of_the_asks_whoever_ends_first() -> None:
    mixed = [*asks(1, 20), *asks(6, 3)[1:]]
    answers = client().run(mixed, 3)
    assert [answer.ask for answer in answers] == mixed
    assert [len(answer.token_ids) for answer in answers] == [20, 3, 3, 3, 3, 3]


def test_as_many_are_under_way_as_asked_for_and_never_more() -> None:
    subject = client()
    seen: list[int] = []
    subject.run(asks(7), 3, after_step=lambda moved: seen.append(len(moved)))
    assert max(seen) == 3


def test_the_time_of_all_answers_is_that_of_the_steps_with_every_slot_taken() -> None:
    started = time.perf_counter()
    answers = client().run(asks(6, 10), 3)
    wall = time.perf_counter() - started
    assert 0 < sum(answer.seconds for answer in answers) <= wall
    # six equal answers, three at a time: no step has an empty slot, and every token is timed
    assert sum(answer.num_timed for answer in answers) == 60
    lonely = client().run(asks(1, 10), 3)
    assert (lonely[0].num_timed, lonely[0].seconds) == (0, 0.0)
    assert tokens_per_second(lonely) == 0.0


def test_the_first_token_needs_no_verification_step() -> None:
    (answer,) = client().run(asks(1, 10), 1)
    assert (answer.num_steps, answer.num_decoded) == (9, 9)
    assert acceptance_length([answer]) == 1.0


def test_accepted_drafts_lengthen_the_steps() -> None:
    plain = client().run(asks(1, 10), 1)
    speculator = GuessingSpeculator({1: tuple(plain[0].token_ids)}, 0, hit_rate=1.0)
    drafted = Client(plain_engine(tiny_target(DECODER), speculator)).run(asks(1, 10), 1)
    assert drafted[0].token_ids == plain[0].token_ids
    assert acceptance_length(drafted) == pytest.approx(9 / drafted[0].num_steps)
    assert acceptance_length(drafted) > 1.5


def test_a_request_can_be_kept_from_what_is_remembered() -> None:
    subject = client()
    learnt: list[bool] = []
    end = subject.engine.speculator.end
    subject.engine.speculator.end = lambda sequence: (learnt.append(sequence.learn), end(sequence))[1]  # type: ignore[method-assign]
    subject.run(asks(1), 1)
    subject.run(asks(1), 1, learn=False)
    assert learnt == [True, False]
