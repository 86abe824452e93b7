"""Who may learn from an answer, what is written of it, and that every answer is accounted for."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.trace import decode_trace, encode_trace
from serving.messages import Request
from serving.scripted import ScriptedEngine
from serving.traffic import Outcome, Policy, TenantPolicy, TrafficRecorder, conversation_id
from tests.serving.harness import MemoryLog, house
from tests.serving.tokenizers import ByteTokenizer

STOP_SCRIPT = b"one two three four five six"


def outcome(consent: Any) -> Outcome:
    return Outcome(
        trace_id="t",
        request=Request(id=1, prompt_ids=(1,), max_tokens=4, seed=7),
        consent=consent,
        conversation="c",
        domain=None,
        started_at=1.0,
        finished_at=2.0,
        output_ids=(5, 6),
        num_cut=0,
        finish_reason="length",
        moves=(),
    )


@given(st.lists(st.sampled_from([None, "tenant", "shared"]), max_size=30), st.integers(0, 10))
def test_every_answer_is_accounted_for_whatever_becomes_of_it(consents: list[Any], room: int) -> None:
    recorder = TrafficRecorder(log := MemoryLog(room), TenantPolicy(), "target", "tokenizer")
    for number, consent in enumerate(consents, 1):
        recorder.record(outcome(consent))
        assert recorder.counters().finished == number
        assert recorder.counters().balanced
    assert recorder.counters().opted_out == consents.count(None)
    assert len(log.traces) == min(room, len(consents) - consents.count(None))
    assert all(trace.consent in ("tenant", "shared") for trace in log.traces)


def test_without_a_log_answers_are_counted_as_unlogged() -> None:
    recorder = TrafficRecorder(None, TenantPolicy(), "target", "tokenizer")
    recorder.record(outcome("shared"))
    recorder.record(outcome(None))
    counters = recorder.counters()
    assert (counters.finished, counters.unlogged, counters.opted_out) == (2, 1, 1)
    assert counters.balanced
    assert recorder.flush(1.0)


@pytest.mark.parametrize(
    ("policy", "store", "allowed"),
    [
        ("shared", None, "shared"),
        ("shared", True, "shared"),
        ("shared", False, None),
        ("tenant", None, "tenant"),
        ("tenant", False, None),
        ("off", None, None),
        ("off", True, None),
    ],
)
def test_a_request_can_opt_out_but_not_in(policy: Policy, store: bool | None, allowed: str | None) -> None:
    recorder = TrafficRecorder(None, TenantPolicy("shared", {"north": policy}), "target", "tokenizer")
    assert recorder.allowed("north", store) == allowed
    assert recorder.allowed("elsewhere", None) == "shared"


def test_a_policy_that_does_not_exist_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"north is 'maybe', expected one of off, tenant, shared"):
        TenantPolicy(tenants={"north": "maybe"})  # type: ignore[dict-item]


def test_a_trace_holds_what_the_trainer_needs_and_survives_its_encoding() -> None:
    engine = ScriptedEngine(lambda request: STOP_SCRIPT)
    subject = house(engine)
    body = {
        "prompt": "count",
        "stop": "three",
        "max_tokens": 30,
        "temperature": 0.7,
        "top_p": 0.9,
        "top_k": 5,
        "min_p": 0.1,
        "seed": 11,
        "metadata": {"domain": "numbers"},
    }
    response = subject.http().post("/v1/completions", json=body).json()
    (trace,) = subject.log.traces
    assert decode_trace(encode_trace(trace)) == trace
    assert trace.trace_id.startswith(response["id"])
    assert (trace.tenant, trace.consent, trace.domain) == ("default", "shared", "numbers")
    assert (trace.target, trace.tokenizer) == ("target-1", ByteTokenizer.fingerprint)
    assert bytes(trace.prompt_ids) == b"count"
    # steps emit 1, 3, 1, 4, 2, 3 tokens: the stop string is complete one token before the end of the last
    assert bytes(trace.output_ids) == b"one two three "
    assert trace.num_cut == 1
    assert response["usage"]["completion_tokens"] == len(trace.output_ids) - trace.num_cut
    assert trace.finish_reason == "stop"
    assert trace.started_at <= trace.finished_at
    sampling = trace.sampling
    assert (sampling.temperature, sampling.top_p, sampling.top_k, sampling.min_p) == (0.7, 0.9, 5, 0.1)
    assert (sampling.seed, sampling.max_tokens) == (11, 30)
    assert [(step.start, step.emitted, step.nodes) for step in trace.steps] == [
        (1, 3, 4),
        (4, 1, 4),
        (5, 4, 4),
        (9, 2, 4),
        (11, 3, 4),
    ]
    assert trace.steps[0].sources[0].accepted == (1, 1, 0, 0)
    assert trace.steps[0].batch_size == 1


def test_a_seed_that_nobody_gave_is_drawn_and_recorded() -> None:
    subject = house(ScriptedEngine(lambda request: STOP_SCRIPT))
    http = subject.http()
    for prompt in ("a", ["a", "b"]):
        http.post("/v1/completions", json={"prompt": prompt, "max_tokens": 2})
    assert len({trace.sampling.seed for trace in subject.log.traces}) == 3


def test_answers_of_one_request_with_a_seed_are_as_if_asked_alone() -> None:
    subject = house(ScriptedEngine())
    http = subject.http()
    body = {"max_tokens": 9, "seed": 5}
    together = http.post("/v1/completions", json={"prompt": ["abc", "defg"], **body}).json()["choices"]
    alone = [http.post("/v1/completions", json={"prompt": text, **body}).json()["choices"][0] for text in ("abc", "defg")]
    assert [choice["text"] for choice in together] == [choice["text"] for choice in alone]


def test_what_opted_out_is_neither_written_nor_learnt_from() -> None:
    seen: list[Request] = []

    def script(request: Request) -> bytes:
        seen.append(request)
        return b"secret"

    policy = TenantPolicy("shared", {"south": "off", "west": "tenant"})
    keys = {"n": "north", "s": "south", "w": "west"}
    subject = house(ScriptedEngine(script), policy=policy, keys=keys)
    http = subject.http()
    for key, store in (("n", None), ("n", False), ("s", None), ("s", True), ("w", True)):
        headers = {"authorization": f"Bearer {key}"}
        body = {"prompt": "x", "store": store, "max_tokens": 2}
        assert http.post("/v1/completions", json=body, headers=headers).status_code == 200
    assert [request.learn for request in seen] == [True, False, False, False, True]
    assert [(trace.tenant, trace.consent) for trace in subject.log.traces] == [
        ("north", "shared"),
        ("west", "tenant"),
    ]
    counters = subject.traffic.counters()
    assert (counters.finished, counters.opted_out, counters.written) == (5, 3, 2)
    assert counters.balanced


def test_what_the_engine_refuses_is_no_traffic() -> None:
    subject = house(ScriptedEngine(max_total=10))
    assert subject.http().post("/v1/completions", json={"prompt": "x" * 50}).status_code == 400
    assert subject.traffic.counters().finished == 0


# Conversations.


def conversations(*bodies: Any) -> list[str]:
    subject = house(ScriptedEngine(lambda request: b"ok"))
    http = subject.http()
    for body in bodies:
        path = "/v1/chat/completions" if "messages" in body else "/v1/completions"
        assert http.post(path, json={"max_tokens": 2, **body}).status_code == 200
    return [trace.conversation for trace in subject.log.traces]


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def test_retries_and_later_turns_fall_into_one_conversation() -> None:
    turn = [user("hi")]
    later = [{"role": "system", "content": "s"}, user("hi"), {"role": "assistant", "content": "a"}, user("b")]
    assert len(set(conversations({"messages": turn}, {"messages": turn}, {"messages": later}))) == 1
    assert len(set(conversations({"prompt": "ab"}, {"prompt": [97, 98]}, {"prompt": ["ab", "ab"]}))) == 1


def test_other_openings_and_other_users_are_other_conversations() -> None:
    bodies = (
        {"messages": [user("hi")]},
        {"messages": [user("ho")]},
        {"messages": [user("hi")], "user": "ann"},
        {"messages": [user("hi")], "user": "bob"},
        {"prompt": "ab"},
        {"prompt": "abc"},
    )
    assert len(set(conversations(*bodies))) == len(bodies)


def test_a_client_may_name_the_conversation_and_the_name_stays_outside_the_log() -> None:
    name = {"metadata": {"conversation": "ann's taxes"}}
    first, second = conversations({"messages": [user("hi")], **name}, {"prompt": "other", **name})
    assert first == second
    assert "taxes" not in first
    assert conversation_id(None, "ann's taxes", "") != first
