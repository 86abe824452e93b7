"""Lossy answers: who may have them, and that they are called so wherever they show."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from everdraft import LLM, SamplingParams
from pipelines.trace import TYPICAL, Trace, Typical, decode_trace, encode_trace
from serving.local import LocalLink
from serving.lossy import Allowance, Lossy
from serving.messages import Request
from serving.scripted import ScriptedEngine
from tests.models.families import save_model
from tests.serving.harness import House, house
from tests.serving.rig import GuessingSpeculator, plain_engine, tiny_target
from tests.serving.test_sampling_fields import DECODER

PATHS = ("/v1/completions", "/v1/chat/completions")
SOUND = {"prompt": "abc", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 8}
OURS = Typical(epsilon=0.2, delta=0.5)
MARK = {"epsilon": 0.2, "delta": 0.5}

ASKED: list[Request] = []


def script(request: Request) -> bytes:
    ASKED.append(request)
    return b"abcdefgh"


def house_with(allowance: Allowance) -> House:
    return house(ScriptedEngine(script, eos_id=256), lossy=Lossy(lossy_acceptance=allowance, typical=OURS))


def fields_of(http: TestClient, path: str, body: Mapping[str, object]) -> list[dict[str, Any]]:
    """The objects of a response: one, or the chunks of a stream."""
    response = http.post(path, json={**SOUND, **body})
    assert response.status_code == 200, response.text
    if not body.get("stream"):
        return [response.json()]
    return [json.loads(line[6:]) for line in response.text.splitlines() if line.startswith("data: {")]


ASKS: list[tuple[Allowance, dict[str, object], bool]] = [
    ("off", {}, False),
    ("off", {"lossy_acceptance": False}, False),
    ("on-request", {}, False),
    ("on-request", {"lossy_acceptance": None}, False),
    ("on-request", {"lossy_acceptance": False}, False),
    ("on-request", {"lossy_acceptance": True}, True),
    ("on-request", {"lossy_acceptance": True, "temperature": 0}, False),
    ("on-request", {"lossy_acceptance": True, "speculative": False}, False),
    ("default", {}, True),
    ("default", {"temperature": 0.3, "speculative": True}, True),
    ("default", {"lossy_acceptance": True}, True),
    ("default", {"lossy_acceptance": False}, False),
    ("default", {"temperature": 0}, False),
    ("default", {"speculative": False}, False),
]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("allowance", "body", "lossy"), ASKS)
def test_engine_response_and_trace_hear_of_it_alike(
    path: str, stream: bool, allowance: Allowance, body: dict[str, object], lossy: bool
) -> None:
    subject = house_with(allowance)
    with subject.http() as http:
        objects = fields_of(http, path, {**body, "stream": stream})
        assert ASKED[-1].lossy == (OURS if lossy else None)
        assert [each.get("lossy") for each in objects] == [MARK if lossy else None] * len(objects)
        assert all(("lossy" in each) == lossy for each in objects)
        metrics = http.get("/metrics").text
    assert [trace.sampling.lossy for trace in subject.log.traces] == [OURS if lossy else None]
    assert [trace.schema for trace in subject.log.traces] == [2 if lossy else 1], "readers from before there was `lossy` refuse 2"
    told = {
        how: f'everdraft_acceptance_answers_total{{acceptance="{how}"}} 1.0' in metrics for how in ("exact", "lossy")
    }
    assert told == {"exact": not lossy, "lossy": lossy}


@pytest.mark.parametrize("path", PATHS)
def test_who_asks_for_what_is_not_allowed_is_refused_by_name(path: str) -> None:
    subject = house_with("off")
    with subject.http() as http:
        response = http.post(path, json={**SOUND, "lossy_acceptance": True})
        wrong = http.post(path, json={**SOUND, "lossy_acceptance": "yes"})
    assert (response.status_code, wrong.status_code) == (400, 400)
    error = response.json()["error"]
    assert error["param"] == "lossy_acceptance"
    assert error["message"] == "lossy_acceptance: expected false or nothing, got true; answers of this server are exact"
    assert wrong.json()["error"]["message"] == "lossy_acceptance: expected true or false or null, got 'yes'"
    assert subject.log.traces == []


@pytest.mark.parametrize("allowance", ["off", "on-request", "default"])
def test_a_server_says_of_itself_who_gets_lossy_answers(allowance: Allowance) -> None:
    with house_with(allowance).http() as http:
        assert http.get("/ready").json()["lossy_acceptance"] == allowance
        (card,) = http.get("/v1/models").json()["data"]
        assert card["lossy_acceptance"] == allowance
        assert http.get(f"/v1/models/{card['id']}").json() == card


def test_without_a_word_from_the_operator_nothing_is_lossy() -> None:
    assert Lossy().of(None, 1.0, True) is Lossy().of(True, 1.0, True) is None
    with house().http() as http:
        assert http.get("/ready").json()["lossy_acceptance"] == "off"


@pytest.mark.parametrize("allowance", ["on-request", "default"])
def test_in_words_it_is_called_lossy_and_says_for_whom(allowance: Allowance) -> None:
    words = str(Lossy(lossy_acceptance=allowance, typical=OURS))
    assert words.startswith("LOSSY")
    assert "epsilon 0.2, delta 0.5" in words
    assert ("ask for it" in words) == (allowance == "on-request")
    assert str(Lossy()) == "answers are exact"


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"lossy_acceptance": "on"}, "lossy_acceptance is 'on', expected off, on-request, default"),
        ({"typical": Typical(epsilon=0.0)}, "lossy_epsilon is 0.0, expected more than 0, at most 1"),
        ({"typical": Typical(epsilon=1.5)}, "lossy_epsilon is 1.5"),
        ({"typical": Typical(delta=0.0)}, "lossy_delta is 0.0, expected more than 0"),
        ({"typical": Typical(delta=float("nan"))}, "lossy_delta is nan"),
    ],
)
def test_settings_that_cannot_work_are_refused_by_name(values: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Lossy(**values)


def test_all_choices_of_a_request_are_marked_and_the_log_tells_them_from_exact_ones() -> None:
    subject = house_with("on-request")
    with subject.http() as http:
        fields_of(http, PATHS[0], {"n": 3, "lossy_acceptance": True})
        fields_of(http, PATHS[0], {"n": 2})
        metrics = http.get("/metrics").text
    assert [trace.sampling.lossy for trace in subject.log.traces] == [OURS] * 3 + [None] * 2
    assert 'everdraft_acceptance_answers_total{acceptance="lossy"} 3.0' in metrics
    steps = [len(trace.steps) for trace in subject.log.traces]
    assert f'everdraft_acceptance_steps_total{{acceptance="lossy"}} {sum(steps[:3])}.0' in metrics
    tokens = sum(step.emitted for trace in subject.log.traces[3:] for step in trace.steps)
    assert f'everdraft_acceptance_tokens_total{{acceptance="exact"}} {tokens}.0' in metrics


def test_the_mark_outlives_the_log_and_records_without_one_are_exact() -> None:
    subject = house_with("default")
    with subject.http() as http:
        fields_of(http, PATHS[0], {})
    (trace,) = subject.log.traces
    assert decode_trace(encode_trace(trace)).sampling.lossy == OURS
    assert without_mark(trace).sampling.lossy is None


def without_mark(trace: Trace) -> Trace:
    """As an earlier version wrote it."""
    import msgspec

    record = msgspec.msgpack.decode(encode_trace(trace))
    del record["sampling"]["lossy"]
    return decode_trace(msgspec.msgpack.encode(record))


@pytest.fixture(scope="module")
def real() -> Iterator[TestClient]:
    """A real engine whose drafts are random bytes, and thresholds that nearly all of them pass."""
    engine = plain_engine(tiny_target(DECODER, num_pages=400), GuessingSpeculator({}, 3))
    lax = Lossy(lossy_acceptance="on-request", typical=Typical(epsilon=1e-4, delta=1e-4))
    with house(LocalLink(engine), max_model_len=200, lossy=lax).http() as http:
        yield http


def test_with_a_real_engine_lossy_answers_are_others_and_exact_ones_the_same_as_ever(real: TestClient) -> None:
    ask = {"prompt": "hello", "seed": 5, "max_tokens": 40, "ignore_eos": True, "return_token_ids": True}

    def ids(**body: object) -> list[int]:
        found: list[int] = real.post(PATHS[0], json={**ask, **body}).json()["choices"][0]["token_ids"]
        return found

    exact = ids(speculative=False)
    assert ids() == ids(lossy_acceptance=False) == exact
    assert ids(lossy_acceptance=True) != exact
    assert ids(lossy_acceptance=True, temperature=0) == ids(temperature=0, speculative=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    save_model("qwen2", folder)
    return folder


def test_the_library_has_it_too(folder: Path) -> None:
    exact = SamplingParams(seed=3, max_tokens=40, ignore_eos=True)
    lossy = SamplingParams(seed=3, max_tokens=40, ignore_eos=True, n=2, lossy_acceptance=True)
    greedy = SamplingParams(temperature=0, max_tokens=10, ignore_eos=True, lossy_acceptance=True)
    with LLM(target=str(folder), sources=("recycling",), threads=1, lossy_acceptance="on-request", lossy_epsilon=1e-4) as llm:
        first, second, third = llm.generate(["a b a b a b"] * 3, [exact, lossy, greedy])
        assert [choice.lossy for choice in (*first.outputs, *second.outputs, *third.outputs)] == [
            None,
            *[Typical(epsilon=1e-4, delta=TYPICAL.delta)] * 2,
            None,
        ]
    with LLM(target=str(folder), sources=(), threads=1) as llm:
        assert llm.generate("a b a b a b", exact)[0].outputs == first.outputs
        with pytest.raises(ValueError, match=r"^lossy_acceptance: expected false or nothing, got true"):
            llm.generate("a", lossy)
    with pytest.raises(ValueError, match="lossy_acceptance is 'always'"):
        LLM(target=str(folder), lossy_acceptance="always")  # type: ignore[arg-type]
