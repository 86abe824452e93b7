"""The official client against a server on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest

from serving.scripted import ScriptedEngine
from tests.serving.harness import CONTEXT, MODEL, House, eventually, house, running
from tests.serving.tokenizers import ByteTokenizer

HELLO = [{"role": "user", "content": "héllo"}]


@pytest.fixture(scope="module")
def live() -> Iterator[House]:
    script = "What a lovely day, 😀 said the parrot.".encode()
    with running(house(ScriptedEngine(lambda request: script, eos_id=ByteTokenizer.eos))) as subject:
        yield subject


@pytest.fixture(scope="module")
def client(live: House) -> Iterator[Any]:
    with live.client() as client:
        yield client


SAID = "What a lovely day, 😀 said the parrot."
NUM_SAID = len(SAID.encode()) + 1  # the end token counts


def test_a_chat_is_answered(client: Any) -> None:
    answer = client.chat.completions.create(model=MODEL, messages=HELLO)
    assert answer.object == "chat.completion"
    assert answer.id.startswith("chatcmpl-")
    assert answer.model == MODEL
    (choice,) = answer.choices
    assert (choice.message.role, choice.message.content, choice.finish_reason) == ("assistant", SAID, "stop")
    assert choice.model_extra["stop_reason"] is None, "the model's own end needs no name"
    assert answer.usage is not None
    num_prompt = len(ByteTokenizer().apply_chat_template([{"role": "user", "content": "héllo"}]))
    assert answer.usage.prompt_tokens == num_prompt
    assert answer.usage.completion_tokens == NUM_SAID
    assert answer.usage.total_tokens == num_prompt + NUM_SAID


def test_a_prompt_is_completed_up_to_the_token_limit(client: Any) -> None:
    answer = client.completions.create(model=MODEL, prompt="Once", max_tokens=6)
    assert answer.object == "text_completion"
    assert answer.id.startswith("cmpl-")
    assert (answer.choices[0].text, answer.choices[0].finish_reason) == ("What a", "length")
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 6


def test_sixteen_tokens_are_the_default_of_completions(client: Any) -> None:
    answer = client.completions.create(model=MODEL, prompt="Once")
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 16


@pytest.mark.parametrize(("prompt", "num"), [([65, 66], 1), (["a", "bc"], 2), ([[65], [66, 67], [68]], 3), (["a"], 1)])
def test_each_prompt_of_a_list_has_a_choice_of_its_own(client: Any, prompt: object, num: int) -> None:
    answer = client.completions.create(model=MODEL, prompt=prompt, max_tokens=4)
    assert [choice.index for choice in answer.choices] == list(range(num))
    assert [choice.text for choice in answer.choices] == ["What"] * num
    assert answer.usage.completion_tokens == 4 * num


def test_a_chat_stream_says_the_same_as_a_whole_answer(client: Any) -> None:
    chunks = list(client.chat.completions.create(model=MODEL, messages=HELLO, stream=True))
    assert len({(chunk.id, chunk.created, chunk.model, chunk.system_fingerprint) for chunk in chunks}) == 1
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    first, *middle, last = [chunk.choices[0] for chunk in chunks]
    assert (first.delta.role, first.delta.content) == ("assistant", "")
    assert "".join(choice.delta.content or "" for choice in middle) == SAID
    assert (last.delta.content, last.finish_reason) == (None, "stop")
    assert all(choice.finish_reason is None for choice in (first, *middle))
    assert all(chunk.usage is None for chunk in chunks)


def test_a_chunk_is_sent_for_each_verification_step(client: Any) -> None:
    # 1 token from the prompt, then accepted 2, 0, 3, 1 and the target's own, round and round, up to the limit
    stream = client.completions.create(model=MODEL, prompt="x", max_tokens=12, stream=True, extra_body={"return_token_ids": True})
    sizes = [len(chunk.choices[0].model_extra["token_ids"]) for chunk in list(stream)[:-1]]
    assert sizes == [1, 3, 1, 4, 2, 1]


def test_streamed_completions_of_several_prompts_keep_their_index(client: Any) -> None:
    texts = ["", "", ""]
    reasons: list[object] = [None, None, None]
    for chunk in client.completions.create(model=MODEL, prompt=["a", "b", "c"], max_tokens=20, stream=True):
        (choice,) = chunk.choices
        assert reasons[choice.index] is None, "a chunk came after the end of its answer"
        texts[choice.index] += choice.text
        reasons[choice.index] = choice.finish_reason
    assert texts == ["What a lovely day, "] * 3  # the limit cuts the emoji, and none of it is shown
    assert reasons == ["length"] * 3


def test_usage_is_streamed_only_when_asked_for_and_last(client: Any) -> None:
    options = {"include_usage": True}
    chunks = list(client.chat.completions.create(model=MODEL, messages=HELLO, stream=True, stream_options=options))
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens == NUM_SAID
    assert all(chunk.usage is None for chunk in chunks[:-1])


def test_continuous_usage_counts_up_with_the_chunks(client: Any) -> None:
    options = {"include_usage": True, "continuous_usage_stats": True}
    chunks = list(client.completions.create(model=MODEL, prompt="ab", max_tokens=12, stream=True, stream_options=options))
    assert [chunk.usage.completion_tokens for chunk in chunks] == [1, 4, 5, 9, 11, 12, 12, 12]
    assert {chunk.usage.prompt_tokens for chunk in chunks} == {2}


@pytest.mark.parametrize(("include", "text"), [(False, "What a love"), (True, "What a lovely d")])
def test_stop_strings_end_the_answer(client: Any, include: bool, text: str) -> None:
    extra = {"include_stop_str_in_output": include}
    answer = client.completions.create(model=MODEL, prompt="x", max_tokens=30, stop=["zz", "ly d"], extra_body=extra)
    (choice,) = answer.choices
    assert (choice.text, choice.finish_reason) == (text, "stop")
    assert choice.model_extra == {"stop_reason": "ly d"}
    assert answer.usage is not None
    assert answer.usage.completion_tokens == len("What a lovely d"), "tokens after the stop string count for nobody"
    stream = client.completions.create(model=MODEL, prompt="x", max_tokens=30, stop=["zz", "ly d"], stream=True, extra_body=extra)
    assert "".join(chunk.choices[0].text for chunk in stream) == text


def test_a_stop_token_ends_the_answer_and_is_named(client: Any) -> None:
    answer = client.completions.create(model=MODEL, prompt="x", extra_body={"stop_token_ids": [ord("l")]})
    assert (answer.choices[0].text, answer.choices[0].finish_reason) == ("What a ", "stop")
    assert answer.choices[0].model_extra == {"stop_reason": ord("l")}


def test_ignore_eos_goes_on_to_the_limit(client: Any) -> None:
    answer = client.completions.create(model=MODEL, prompt="x", max_tokens=100, extra_body={"ignore_eos": True})
    assert answer.choices[0].finish_reason == "length"
    assert answer.choices[0].text == (SAID * 3).encode()[: 100 - 2].decode()  # two end tokens, not shown


def test_statistics_of_speculation_come_on_request(client: Any) -> None:
    body = {"speculative_metrics": True}
    answer = client.completions.create(model=MODEL, prompt="x", max_tokens=12, extra_body=body)
    stats = answer.model_extra["metrics"]["speculative_decoding"]
    assert stats == {
        "mean_acceptance_length": 1 + 6 / 4,
        "draft_acceptance_rate": 6 / 14,
        "acceptance_histogram": [1, 1, 1, 1],
        "num_spec_steps": 4,
        "num_accepted_draft_tokens": 6,
        "num_draft_tokens": 14,  # the last draft is cut to what the answer has room for
        "num_plain_steps": 1,
        "steps": {"scripted": {"v0": 4}},
    }
    stream = list(client.completions.create(model=MODEL, prompt="x", max_tokens=12, stream=True, extra_body=body))
    assert stream[-1].model_extra["metrics"]["speculative_decoding"] == stats
    assert all("metrics" not in chunk.model_extra for chunk in stream[:-1])
    plain = client.completions.create(model=MODEL, prompt="x", max_tokens=12)
    assert "metrics" not in plain.model_extra


def test_speculation_can_be_switched_off_for_a_request(client: Any) -> None:
    body = {"speculative": False, "speculative_metrics": True}
    answer = client.completions.create(model=MODEL, prompt="x", max_tokens=12, extra_body=body)
    stats = answer.model_extra["metrics"]["speculative_decoding"]
    assert (stats["num_spec_steps"], stats["num_plain_steps"]) == (0, 11)
    assert stats["mean_acceptance_length"] is None
    assert answer.choices[0].text == "What a lovel"


def test_models_are_listed_and_shown(client: Any) -> None:
    (model,) = client.models.list().data
    assert model.id == MODEL
    assert model.model_extra is not None
    assert model.model_extra["max_model_len"] == CONTEXT
    assert client.models.retrieve(MODEL).id == MODEL


def test_errors_arrive_as_the_classes_that_programs_catch(client: Any) -> None:
    with pytest.raises(openai.NotFoundError) as unknown:
        client.chat.completions.create(model="gpt-5", messages=HELLO)
    assert (unknown.value.param, unknown.value.type, unknown.value.code) == ("model", "NotFoundError", "404")
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-5")
    with pytest.raises(openai.BadRequestError) as wrong:
        client.chat.completions.create(model=MODEL, messages=HELLO, temperature=9)
    assert wrong.value.param == "temperature"
    assert "<= 2" in wrong.value.message
    with pytest.raises(openai.BadRequestError) as unsupported:
        client.chat.completions.create(model=MODEL, messages=HELLO, extra_body={"best_of": 2})
    assert unsupported.value.param == "best_of"
    with pytest.raises(openai.BadRequestError) as long:
        client.completions.create(model=MODEL, prompt="x" * 500)
    assert long.value.param == "prompt"
    assert f"This model's maximum context length is {CONTEXT} tokens. However, " in long.value.message


def test_a_request_that_streams_is_refused_with_a_status_too(client: Any) -> None:
    with pytest.raises(openai.BadRequestError) as wrong:
        client.completions.create(model=MODEL, prompt="", stream=True)
    assert wrong.value.param == "prompt"


def test_api_keys_decide_who_may_call_and_as_whom() -> None:
    with running(house(keys={"sk-1": "north", "sk-2": "south"})) as subject:
        for key in ("wrong", "sk-"):
            with subject.client(api_key=key) as stranger, pytest.raises(openai.AuthenticationError) as error:
                stranger.completions.create(model=MODEL, prompt="x")
            assert error.value.type == "AuthenticationError"
        with subject.client(api_key="sk-2") as friend:
            friend.completions.create(model=MODEL, prompt="x")
    assert [trace.tenant for trace in subject.log.traces] == ["south"]


def test_a_stream_that_the_client_leaves_frees_its_slot() -> None:
    engine = ScriptedEngine(max_running=1, step_seconds=0.001)
    with running(house(engine, max_model_len=10**6)) as subject, subject.client() as client:
        stream = client.completions.create(model=MODEL, prompt="abc", max_tokens=10**5, stream=True)
        next(iter(stream))
        assert subject.num_active == 1
        stream.close()
        assert eventually(lambda: subject.num_active == 0)
        answer = client.completions.create(model=MODEL, prompt="ab", max_tokens=2, temperature=0)
        assert answer.choices[0].text == "ab"
    (left, done) = subject.log.traces
    assert (left.finish_reason, done.finish_reason) == ("abort", "length")
    assert 0 < len(left.output_ids) < 10**5


def test_a_client_that_gives_up_waiting_frees_its_slot() -> None:
    engine = ScriptedEngine(max_running=1, step_seconds=0.001)
    with running(house(engine, max_model_len=10**6)) as subject:
        with subject.client(timeout=0.3) as hasty, pytest.raises(openai.APITimeoutError):
            hasty.completions.create(model=MODEL, prompt="abc", max_tokens=10**5)
        assert eventually(lambda: subject.num_active == 0)
    assert [trace.finish_reason for trace in subject.log.traces] == ["abort"]


def test_a_client_that_gives_up_while_queued_leaves_the_queue() -> None:
    engine = ScriptedEngine(max_running=1)
    engine.pause()
    with running(house(engine)) as subject:
        with subject.client(timeout=0.3) as hasty, pytest.raises(openai.APITimeoutError):
            hasty.completions.create(model=MODEL, prompt="abc")
        assert eventually(lambda: subject.num_active == 0)


def test_a_dead_engine_ends_a_stream_with_an_error_and_refuses_what_comes_after() -> None:
    engine = ScriptedEngine(step_seconds=0.001)
    with running(house(engine, max_model_len=10**6)) as subject, subject.client() as client:
        stream = iter(client.completions.create(model=MODEL, prompt="abc", max_tokens=10**5, stream=True))
        next(stream)
        engine.die("out of memory at 0x7f")
        with pytest.raises(openai.APIError, match="engine is not running") as broken:
            list(stream)
        assert "0x7f" not in str(broken.value.body)
        with pytest.raises(openai.InternalServerError) as refused:
            client.completions.create(model=MODEL, prompt="abc")
        assert refused.value.status_code == 503
        assert refused.value.response.headers["retry-after"] == "1"
