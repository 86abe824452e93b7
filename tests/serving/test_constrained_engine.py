"""Constrained answers of the engine: within their grammar, and those of plain masked decoding whatever is drafted."""

from __future__ import annotations

import json
import random
import re
import threading

import jsonschema
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.engine import Engine
from serving.messages import Moved, Refused, Request
from speculator.batch import Sampling
from speculator.constraint.constraint import Constraint
from speculator.constraint.drafting import SOURCE as GRAMMAR
from speculator.constraint.grammars import Grammars
from speculator.law import noisy_scores
from speculator.merged import MergedSpeculator
from speculator.protocol import Speculator
from tests.serving.rig import (
    MAX_TREE,
    GuessingSpeculator,
    NoSpeculator,
    generate,
    plain_engine,
    tiny_decoder,
    tiny_scheduler,
    tiny_target,
)
from tests.speculator.constraint.alphabet import EOS, VOCAB, constraint, grammars, ids, small_tokenizer

DECODER = tiny_decoder()
MAX_TOKENS = 60
MIXED = {
    "type": "object",
    "properties": {
        "tau": {"type": "integer", "minimum": 0, "maximum": 99},
        "é": {"type": "string", "pattern": "^[abé]*$", "maxLength": 5},
        "set": {"type": ["boolean", "null"]},
    },
    "required": ["tau", "é", "set"],
    "additionalProperties": False,
}
NESTED = {
    "type": "array",
    "items": {"type": "array", "items": {"enum": ["ab", "é", 12, None, [1]]}, "maxItems": 3},
    "minItems": 1,
    "maxItems": 3,
}
WANTED: tuple[tuple[str, object], ...] = (
    ("json", MIXED),
    ("json", NESTED),
    ("json", {"type": "number", "minimum": -3, "maximum": 12}),
    ("regex", "(ab|é)+-[0-9]{2,3}"),
    ("regex", "[a-f]{1,4}( [0-9])*"),
    ("choice", ["ab", "abé", "tau 12", "éé"]),
    ("grammar", 'start: "a" start "b" | "12"'),
)


def keeps(kind: str, value: object, text: str) -> bool:
    """Whether a whole answer is what was wanted."""
    match kind:
        case "json":
            jsonschema.validate(json.loads(text), value)  # type: ignore[arg-type]
            return True
        case "regex":
            return re.fullmatch(str(value), text) is not None
        case "choice":
            return text in value  # type: ignore[operator]
    return re.fullmatch("(a*)12(b*)", text) is not None and text.count("a") == text.count("b")


def wanted(number: int) -> Constraint:
    kind, value = WANTED[number % len(WANTED)]
    return constraint(kind, value if isinstance(value, str) else json.dumps(value))


def request(number: int, temperature: float, wants: Constraint | None, **changes: object) -> Request:
    rng = random.Random(number)
    values: dict[str, object] = {
        "id": number,
        "prompt_ids": tuple(rng.randrange(VOCAB) for _ in range(1 + number % 9)),
        "max_tokens": MAX_TOKENS,
        "temperature": temperature,
        "seed": number * 7 + 1,
        "stop_ids": (EOS,),
        "constraint": wants,
    }
    return Request(**{**values, **changes})  # type: ignore[arg-type]


def engine_with(*sources: Speculator, **limits: int) -> Engine:
    target = tiny_target(DECODER, num_pages=256)
    speculator = MergedSpeculator(sources or [NoSpeculator()], max_tree=MAX_TREE)
    return Engine(target, tiny_scheduler(target, **limits), speculator, grammars=grammars())


def brute_force(asked: Request) -> tuple[int, ...]:
    """Token by token over the whole text, each mask from a grammar that has read the answer so far anew."""
    sampling = Sampling(temperature=asked.temperature, seed=asked.seed)
    said: list[int] = []
    while len(said) < asked.max_tokens and EOS not in said:
        scores = DECODER.logits(DECODER.hidden_states(torch.tensor([*asked.prompt_ids, *said]))[-1])
        if asked.constraint is not None:
            guide = grammars().guide(asked.constraint, asked.stop_ids)
            for token in said:
                guide.accept(token)
            scores = guide.edit(scores.float().clone())
        said.append(int(noisy_scores(scores, sampling, len(said)).argmax()))
    return tuple(said)


CASES = [(index, temperature) for index in range(len(WANTED)) for temperature in (0.0, 0.7, 1.5)]
REQUESTS = [request(10 * number + index, temperature, wanted(index)) for number, (index, temperature) in enumerate(CASES)]


@pytest.fixture(scope="module")
def expected() -> dict[int, tuple[int, ...]]:
    return {each.id: brute_force(each) for each in REQUESTS}


def test_every_answer_that_ends_by_itself_is_what_was_wanted(expected: dict[int, tuple[int, ...]]) -> None:
    num_ended = 0
    for each, (index, _) in zip(REQUESTS, CASES, strict=True):
        said = expected[each.id]
        if said[-1] == EOS:
            num_ended += 1
            assert keeps(*WANTED[index], small_tokenizer().decode(said))
    assert num_ended > len(REQUESTS) * 0.7, "a random target, which would say nothing of the kind"


@pytest.mark.parametrize("hit_rate", [None, 0.0, 0.5, 0.9])
def test_the_engine_emits_what_a_plain_masked_loop_does_whatever_is_drafted(
    expected: dict[int, tuple[int, ...]], hit_rate: float | None
) -> None:
    sources = [] if hit_rate is None else [GuessingSpeculator(expected, 3, hit_rate=hit_rate)]
    engine = engine_with(*sources)
    joins = [index // 3 for index in range(len(REQUESTS))]
    assert generate(engine, REQUESTS, joins) == expected


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, len(REQUESTS) - 1), st.booleans(), st.integers(0, 9)), min_size=1, max_size=6),
    st.integers(0, 2**31),
    st.floats(0.0, 1.0),
)
def test_in_a_batch_some_are_constrained_and_some_are_free(
    shapes: list[tuple[int, bool, int]], seed: int, hit_rate: float
) -> None:
    requests = [
        request(number, REQUESTS[index].temperature, wanted(index) if bound else None)
        for number, (index, bound, _) in enumerate(shapes)
    ]
    answers = {each.id: brute_force(each) for each in requests}
    engine = engine_with(GuessingSpeculator(answers, seed, hit_rate=hit_rate))
    assert generate(engine, requests, [join for _, _, join in shapes]) == answers


def test_what_the_grammar_forces_is_accepted_without_any_other_source(expected: dict[int, tuple[int, ...]]) -> None:
    key = "set-tau-under-125"
    schema = {"type": "object", "properties": {key: {"const": "tau-set"}}, "required": [key], "additionalProperties": False}
    asked = request(3, 0.0, constraint("json", json.dumps(schema)))
    said = brute_force(asked)
    engine = engine_with()
    assert generate(engine, [asked], [0])[3] == said
    assert engine.stats.num_steps < 0.7 * len(said)
    plain = engine_with()
    generate(plain, [request(3, 0.0, asked.constraint, speculative=False)], [0])
    assert plain.stats.num_steps == len(said)


def test_one_right_guess_brings_what_the_grammar_forces_behind_it() -> None:
    asked = request(4, 0.0, constraint("regex", "((d|e|f){2}-tau-12-){5}"))
    said = brute_force(asked)
    engine = engine_with(GuessingSpeculator({4: said}, 3, max_nodes=1, hit_rate=1.0))
    assert engine.submit(asked) is None
    emitted: tuple[int, ...] = ()
    longest = 0
    while engine.has_work:
        for moved in engine.step():
            emitted += moved.token_ids
            accepted = {source.source: source.accepted for source in moved.sources}
            if not accepted.get(GRAMMAR, (1,))[0]:  # not at the root: of the letters the second comes next
                assert accepted["guessing"] == (1,)
                longest = max(longest, sum(accepted[GRAMMAR]))
    assert emitted == said
    assert longest == len(ids("-tau-12-"))


def test_an_abort_while_the_grammar_is_compiled_and_while_it_runs_frees_everything() -> None:
    gate = threading.Event()

    class Slow(Grammars):
        def guide(self, *asked):  # type: ignore[no-untyped-def]
            gate.wait(10)
            return super().guide(*asked)

    target = tiny_target(DECODER)
    merged = MergedSpeculator([NoSpeculator()], max_tree=MAX_TREE)
    engine = Engine(target, tiny_scheduler(target), merged, grammars=Slow(small_tokenizer(), VOCAB))
    first, second, free = request(1, 0.7, wanted(0)), request(2, 0.7, wanted(1)), request(3, 0.7, None, max_tokens=5)
    for each in (first, second, free):
        assert engine.submit(each) is None
    answers = {3: ()}
    while len(answers[3]) < 5 and EOS not in answers[3]:  # who is free is served meanwhile
        for moved in engine.step():
            answers[moved.id] += moved.token_ids
    assert answers[3] == brute_force(free)
    assert engine.has_work
    assert engine.abort(1) == Moved(1, (), "abort", 0, -1)
    assert engine.abort(1) is None
    gate.set()
    emitted: tuple[int, ...] = ()
    while len(emitted) < 3:
        for moved in engine.step():
            assert moved.id == 2
            emitted += moved.token_ids
    assert emitted == brute_force(second)[: len(emitted)]
    assert engine.abort(2) == Moved(2, (), "abort", 0, -1)
    assert not engine.has_work
    engine.audit()
    engine.close()


def refusals(engine: Engine) -> list[Refused]:
    while engine.has_work:
        engine.step()
    return engine.take_refused()


def test_what_cannot_be_compiled_is_refused_and_the_others_go_on() -> None:
    engine = engine_with()
    asked = [request(1, 0.0, constraint("grammar", "start: <|nobody|>")), request(2, 0.0, wanted(3))]
    for each in asked:
        assert engine.submit(each) is None
    emitted: dict[int, tuple[int, ...]] = {1: (), 2: ()}
    while engine.has_work:
        for moved in engine.step():
            emitted[moved.id] += moved.token_ids
    (refused,) = engine.take_refused()
    assert (refused.id, refused.code) == (1, "constraint")
    assert refused.message.startswith("structured_outputs.grammar: ")
    assert emitted == {1: (), 2: brute_force(asked[1])}
    assert engine.take_refused() == []
    engine.audit()


def test_a_constrained_request_larger_than_the_pool_is_refused_too() -> None:
    engine = engine_with()
    assert engine.submit(request(1, 0.0, wanted(0), max_tokens=5000)) is None
    (refused,) = refusals(engine)
    assert (refused.id, refused.code) == (1, "too_large")


def test_an_engine_without_grammars_says_so() -> None:
    target = tiny_target(DECODER)
    engine = plain_engine(target)
    refused = engine.submit(request(1, 0.0, wanted(0)))
    assert isinstance(refused, Refused)
    assert refused.code == "constraint"


def test_a_sequence_that_cannot_go_on_ends_with_its_reason_and_takes_nobody_along(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = engine_with(GuessingSpeculator({}, 3))
    broken, sound = request(1, 0.7, wanted(4)), request(2, 0.7, wanted(0))
    emitted: dict[int, tuple[int, ...]] = {1: (), 2: ()}
    for each in (broken, sound):
        engine.submit(each)
    while engine.has_work:
        for sequence in engine.scheduler.running:
            if sequence.id == 1 and sequence.num_output >= 2:
                assert sequence.guide is not None
                sequence.guide.accept(ids("}")[0])  # what the grammar has no place for
        for moved in engine.step():
            assert moved.finish_reason != "abort"
            emitted[moved.id] += moved.token_ids
    (refused,) = engine.take_refused()
    assert (refused.id, refused.code) == (1, "constraint")
    assert refused.message.startswith("structured_outputs.regex: ")
    said = brute_force(broken)
    assert 2 <= len(emitted[1]) < len(said)
    assert emitted[1] == said[: len(emitted[1])], "nothing of the step in which it failed"
    assert emitted[2] == brute_force(sound)
    engine.audit()


def test_an_answer_that_ignores_its_end_keeps_to_its_grammar_and_ends_at_its_length() -> None:
    asked = request(5, 0.7, wanted(5), stop_ids=(), max_tokens=20)
    said = generate(engine_with(GuessingSpeculator({}, 3)), [asked], [0])[5]
    assert len(said) == 20
    end = said.index(EOS)
    assert set(said[end:]) == {EOS}
    assert keeps(*WANTED[5], small_tokenizer().decode(said[:end]))
