"""Constraints are tried out where nothing else can break."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterator

import pytest

from speculator.constraint import proving
from speculator.constraint.constraint import BadConstraint, Constraint
from speculator.constraint.proving import Prover
from tests.speculator.constraint.alphabet import EOS, constraint, small_tokenizer

CHAIN = "\n".join(["start: r0", *(f"r{i}: r{i + 1}" for i in range(8000)), 'r8000: "a"'])
"""Its rules overflow the library's stack."""
ENDLESS = "a?" * 49_000


@pytest.fixture(scope="module")
def prover() -> Iterator[Prover]:
    subject = Prover(small_tokenizer().rules, {EOS}, small_tokenizer().vocab_size, seconds=0.7)
    yield subject
    subject.close()


def refusal(prover: Prover, wanted: Constraint) -> str:
    with pytest.raises(BadConstraint) as refused:
        prover.prove(wanted)
    return str(refused.value)


def test_what_can_be_followed_passes_and_what_cannot_is_refused_with_the_reason(prover: Prover) -> None:
    prover.prove(constraint("json", '{"type": "object"}'))
    assert "uniqueItems" in refusal(prover, constraint("json", '{"type": "array", "uniqueItems": true}'))
    prover.prove(constraint("regex", "a+"))


def test_what_breaks_the_library_or_never_ends_is_refused_and_the_next_is_served(prover: Prover) -> None:
    ours = os.getpid()
    assert refusal(prover, constraint("grammar", CHAIN)) == "structured_outputs.grammar: too complex: compiling it failed"
    prover.prove(constraint("regex", "ab+"))
    assert refusal(prover, constraint("regex", ENDLESS)).startswith("structured_outputs.regex: too complex: not compiled after")
    prover.prove(constraint("regex", "ab*"))
    assert os.getpid() == ours


def test_what_only_the_tokenizer_shows_to_be_wrong_is_found_where_there_is_one(prover: Prover) -> None:
    nobody = constraint("grammar", "start: <|nobody|>")
    assert refusal(prover, nobody).startswith("structured_outputs.grammar: ")
    without = Prover("", (), 0)
    without.prove(nobody)
    without.close()


def test_an_outcome_is_remembered_under_whatever_field_it_comes(prover: Prover, monkeypatch: pytest.MonkeyPatch) -> None:
    assert refusal(prover, constraint("regex", "a[")).startswith("structured_outputs.regex: ")
    prover.prove(constraint("regex", "abab"))
    monkeypatch.setattr(prover, "_tried", lambda each: pytest.fail("it was known"))
    assert refusal(prover, Constraint("regex", "a[", "guided_regex")).startswith("guided_regex: ")
    prover.prove(constraint("regex", "abab"))


def test_no_more_outcomes_are_remembered_than_there_is_room_for(prover: Prover, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proving, "_REMEMBERED", 2)
    tried: list[str] = []
    really = prover._tried
    monkeypatch.setattr(prover, "_tried", lambda each: tried.append(each.text) or really(each))
    monkeypatch.setattr(prover, "_outcomes", OrderedDict())
    for text in "abcca":
        prover.prove(constraint("regex", text))
    assert tried == ["a", "b", "c", "a"]


class Silent:
    """The way to a process that never answers, without the wait for it."""

    def send(self, wanted: Constraint) -> None: ...

    def poll(self, seconds: float) -> bool:
        return False


def test_a_constraint_that_was_too_slow_once_may_try_again(monkeypatch: pytest.MonkeyPatch) -> None:
    subject = Prover("", (), 0, seconds=30.0)
    monkeypatch.setattr(subject, "_ready", Silent)
    assert "not compiled after 30 s" in refusal(subject, constraint("regex", "a{2}"))
    monkeypatch.undo()
    subject.prove(constraint("regex", "a{2}"))
    subject.close()
