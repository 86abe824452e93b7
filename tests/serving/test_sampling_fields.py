"""What the official client may ask of the target's choice, and be told about it, with a real engine behind."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest
import torch

from pipelines.trace import Edits
from serving.local import LocalLink
from serving.messages import Request
from serving.scripted import ScriptedEngine
from tests.serving.harness import MODEL, House, house, running
from tests.serving.local import DECODER, local_engine, said_by
from tests.serving.test_openai_client import NUM_SAID, SAID
from tests.serving.tokenizers import ByteTokenizer

BYTES = ByteTokenizer()
PROMPT = "héllo"
PAGE = 4
"""Tokens of a page of the real engine."""
HELLO = [{"role": "user", "content": PROMPT}]
EXTRA = {"ignore_eos": True, "return_token_ids": True}


@pytest.fixture(scope="module")
def live() -> Iterator[House]:
    with running(house(LocalLink(local_engine()), max_model_len=200)) as subject:
        yield subject


@pytest.fixture(scope="module")
def client(live: House) -> Iterator[Any]:
    with live.client() as client:
        yield client


@pytest.fixture(scope="module")
def scripted() -> Iterator[Any]:
    script = SAID.encode()
    with running(house(ScriptedEngine(lambda request: script, eos_id=ByteTokenizer.eos))) as subject, subject.client() as client:
        yield client


def asked(prompt: str = PROMPT, **fields: Any) -> Request:
    ids = tuple(BYTES.encode(prompt))
    return Request(id=1, prompt_ids=ids, **{"max_tokens": 8, "temperature": 0.9, "seed": 5, **fields})


def raw_logprobs(tokens: list[int]) -> torch.Tensor:
    """[n - 1, V] of each token but the first, from a pass of its own."""
    return DECODER.logits(DECODER.hidden_states(torch.tensor(tokens))).log_softmax(-1)[:-1]


def ids_of(choice: Any) -> tuple[int, ...]:
    return tuple(choice.model_extra["token_ids"])


# Choices.


def test_n_choices_of_one_prompt_differ_and_each_is_that_of_its_index(client: Any) -> None:
    answer = client.completions.create(model=MODEL, prompt=PROMPT, n=3, seed=5, temperature=0.9, max_tokens=8, extra_body=EXTRA)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert [ids_of(choice) for choice in answer.choices] == [said_by(asked(choice=k)) for k in range(3)]
    assert len({choice.text for choice in answer.choices}) > 1
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (len(PROMPT.encode()), 24)


def test_choices_of_several_prompts_are_counted_on_and_traced_apart(live: House, client: Any) -> None:
    before = len(live.log.traces)
    ask = {"model": MODEL, "n": 2, "seed": 5, "temperature": 0.9, "max_tokens": 8, "extra_body": EXTRA}
    answer = client.completions.create(prompt=["ab", "c"], **ask)
    expected = [said_by(asked(prompt, choice=k)) for prompt in ("ab", "c") for k in (0, 1)]
    assert [(choice.index, ids_of(choice)) for choice in answer.choices] == list(enumerate(expected))
    assert answer.usage.prompt_tokens == 3
    traces = sorted(live.log.traces[before:], key=lambda trace: trace.trace_id)
    assert [trace.output_ids for trace in traces] == expected
    assert [(trace.sampling.seed, trace.sampling.choice) for trace in traces] == [(5, 0), (5, 1)] * 2


def test_streamed_choices_are_those_of_a_whole_answer(client: Any) -> None:
    ask = {"model": MODEL, "messages": HELLO, "n": 3, "seed": 5, "temperature": 0.9, "max_tokens": 8, "extra_body": EXTRA}
    whole = client.chat.completions.create(**ask)
    texts = [""] * 3
    for chunk in client.chat.completions.create(**ask, stream=True):
        texts[chunk.choices[0].index] += chunk.choices[0].delta.content or ""
    assert texts == [choice.message.content for choice in whole.choices]
    assert whole.usage.prompt_tokens == len(BYTES.apply_chat_template([{"role": "user", "content": PROMPT}]))


def test_a_drawn_seed_is_one_for_all_choices(live: House, client: Any) -> None:
    before = len(live.log.traces)
    client.completions.create(model=MODEL, prompt="a", n=2, max_tokens=2)
    assert len({trace.sampling.seed for trace in live.log.traces[before:]}) == 1


# Edits.


def test_edits_reach_the_engine_and_the_trace(live: House, client: Any) -> None:
    extra = {"repetition_penalty": 1.3, "allowed_token_ids": [90, 65, 66, 67, 66, 256], "min_tokens": 3}
    answer = client.completions.create(
        model=MODEL,
        prompt=PROMPT,
        seed=5,
        temperature=0.9,
        max_tokens=8,
        presence_penalty=0.5,
        frequency_penalty=-0.5,
        logit_bias={"65": 2, "90": -1.5},
        extra_body={**extra, "return_token_ids": True},
    )
    edits = Edits(
        repetition_penalty=1.3,
        presence_penalty=0.5,
        frequency_penalty=-0.5,
        logit_bias=((65, 2.0), (90, -1.5)),
        min_tokens=3,
        allowed_token_ids=(65, 66, 67, 90, 256),
    )
    stop_ids = (ByteTokenizer.eos,)
    assert ids_of(answer.choices[0]) == said_by(asked(edits=edits, stop_ids=stop_ids))
    assert (live.log.traces[-1].sampling.edits, live.log.traces[-1].sampling.stop_ids) == (edits, stop_ids)


def test_a_bias_of_a_hundred_decides(client: Any) -> None:
    answer = client.chat.completions.create(model=MODEL, messages=HELLO, max_tokens=4, logit_bias={str(ord("z")): 100})
    assert answer.choices[0].message.content == "zzzz"


def test_stop_strings_wait_for_the_least_length(scripted: Any) -> None:
    def text(min_tokens: int) -> str:
        answer = scripted.completions.create(
            model=MODEL, prompt="x", max_tokens=30, stop=["a"], extra_body={"min_tokens": min_tokens}
        )
        return answer.choices[0].text

    assert text(0) == text(2) == "Wh"  # the third token is the first "a"
    assert text(3) == "What "
    assert text(8) == "What a lovely d"


# Log-probabilities.


def test_log_probabilities_of_a_chat_are_the_targets(client: Any) -> None:
    ask = {"model": MODEL, "messages": HELLO, "seed": 5, "max_tokens": 8, "logprobs": True, "top_logprobs": 3}
    answer = client.chat.completions.create(**ask, frequency_penalty=1.0, extra_body=EXTRA)
    said = list(ids_of(answer.choices[0]))
    prompt = BYTES.apply_chat_template([{"role": "user", "content": PROMPT}])
    rows = raw_logprobs([*prompt, *said])[len(prompt) - 1 :]
    content = answer.choices[0].logprobs.content
    assert [each.bytes for each in content] == [list(BYTES.token_bytes(token)) for token in said]
    assert [each.logprob for each in content] == pytest.approx(rows[range(8), said].tolist(), abs=1e-4)
    for each, row in zip(content, rows, strict=True):
        assert [top.logprob for top in each.top_logprobs] == pytest.approx(row.topk(3).values.tolist(), abs=1e-4)
        assert [top.bytes for top in each.top_logprobs] == [list(BYTES.token_bytes(t)) for t in row.topk(3).indices.tolist()]
    streamed = client.chat.completions.create(**ask, frequency_penalty=1.0, extra_body=EXTRA, stream=True)
    found = [chunk.choices[0].logprobs for chunk in streamed if chunk.choices[0].logprobs is not None]
    assert [each.logprob for one in found for each in one.content] == pytest.approx([each.logprob for each in content], abs=1e-4)


def test_without_asking_there_are_none(client: Any) -> None:
    assert client.chat.completions.create(model=MODEL, messages=HELLO, max_tokens=2).choices[0].logprobs is None
    assert client.completions.create(model=MODEL, prompt="x", max_tokens=2).choices[0].logprobs is None


def test_the_bytes_of_tokens_within_a_character_are_its_own(scripted: Any) -> None:
    answer = scripted.chat.completions.create(model=MODEL, messages=HELLO, logprobs=True)
    content = answer.choices[0].logprobs.content
    assert b"".join(bytes(each.bytes) for each in content) == SAID.encode() + b"<eos>"
    assert len(content) == NUM_SAID
    at = SAID.encode().index("😀".encode())
    assert [each.token for each in content[at - 1 : at + 2]] == [" ", "bytes:\\xf0", "bytes:\\x9f"]
    assert all(each.top_logprobs == [] for each in content)


@pytest.mark.parametrize("stream", [False, True])
def test_completions_tell_columns_with_the_offsets_of_their_text(scripted: Any, stream: bool) -> None:
    ask = {"model": MODEL, "prompt": "x", "max_tokens": 40, "logprobs": 1, "stream": stream}
    answer = scripted.completions.create(**ask)
    parts = [chunk.choices[0].logprobs for chunk in answer] if stream else [answer.choices[0].logprobs]
    tokens, offsets, values, tops = [
        [each for part in parts if part is not None for each in getattr(part, name)]
        for name in ("tokens", "text_offset", "token_logprobs", "top_logprobs")
    ]
    at = SAID.encode().index("😀".encode())
    for token, offset in zip(tokens[:at], offsets[:at], strict=True):
        assert SAID[offset] == token
    assert offsets[at : at + 5] == [at] * 4 + [at + 1], "all of a character begins where it does"
    assert values == [-0.5] * 40
    assert tops[0] == {"W": -0.5}
    assert tops[at] == {"bytes:\\xf0": -0.5}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("stop", ["at", "a l", "lov", "ly d"])
def test_tokens_after_a_stop_string_are_not_told(scripted: Any, stop: str, stream: bool) -> None:
    answer = scripted.completions.create(model=MODEL, prompt="x", max_tokens=30, stop=[stop], logprobs=0, stream=stream)
    told = [chunk.choices[0].logprobs for chunk in (answer if stream else [answer])]
    assert "".join(token for each in told if each is not None for token in each.tokens) == SAID[: SAID.index(stop) + len(stop)]


# Prompts.


@pytest.mark.parametrize("prompt", [PROMPT, list(PROMPT.encode())])
def test_echo_without_an_answer_tells_the_prompt_as_harnesses_want_it(live: House, client: Any, prompt: Any) -> None:
    answer = client.completions.create(model=MODEL, prompt=prompt, max_tokens=0, echo=True, logprobs=2)
    (choice,) = answer.choices
    assert (choice.text, choice.finish_reason) == (PROMPT, "length")
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (6, 0)
    ids = BYTES.encode(PROMPT)
    rows = raw_logprobs(ids)
    told = choice.logprobs
    assert told.token_logprobs[0] is None
    assert told.top_logprobs[0] is None
    assert told.token_logprobs[1:] == pytest.approx(rows[range(5), ids[1:]].tolist(), abs=1e-4)
    assert told.tokens == ["h", "bytes:\\xc3", "bytes:\\xa9", "l", "l", "o"]
    assert told.text_offset == [0, 1, 1, 2, 3, 4]
    for value, top, row in zip(told.token_logprobs[1:], told.top_logprobs[1:], rows, strict=True):
        assert max(top.values()) == pytest.approx(row.max().item(), abs=1e-4)
        assert value in top.values()
    trace = live.log.traces[-1]
    assert (len(trace.output_ids), trace.num_cut, trace.finish_reason) == (1, 1, "length")


def test_a_harness_reads_the_likelihood_of_continuations_of_several_contexts(client: Any) -> None:
    """As lm-eval's `local-completions` does: one token is generated and left out, and so is the context."""
    likeliest = int(DECODER.logits(DECODER.hidden_states(torch.tensor(list(b"ab")))[-1]).argmax())
    contexts, continuations = [b"The moon ", b"ab"], [[*"is é".encode()], [likeliest]]
    whole = [[*context, *continuation] for context, continuation in zip(contexts, continuations, strict=True)]
    answer = client.completions.create(model=MODEL, prompt=whole, temperature=0, max_tokens=1, logprobs=1, seed=1234, echo=True)
    for choice, context, ids in zip(answer.choices, contexts, whole, strict=True):
        told = choice.logprobs.token_logprobs[len(context) : -1]
        rows = raw_logprobs(ids)[len(context) - 1 :]
        assert sum(told) == pytest.approx(rows[range(len(rows)), ids[len(context) :]].sum().item(), abs=1e-3)
        tops = choice.logprobs.top_logprobs[len(context) : -1]
        greedy = all(value == max(top.values()) for value, top in zip(told, tops, strict=True))
        assert greedy == (rows.argmax(-1).tolist() == ids[len(context) :]) == (context == b"ab")


@pytest.mark.parametrize("stream", [False, True])
def test_echo_puts_the_prompt_before_the_answer(client: Any, stream: bool) -> None:
    ask = {"model": MODEL, "prompt": PROMPT, "max_tokens": 4, "temperature": 0, "extra_body": {"ignore_eos": True}}
    plain = client.completions.create(**ask, logprobs=0).choices[0]
    answer = client.completions.create(**ask, logprobs=0, echo=True, stream=stream)
    choices = [chunk.choices[0] for chunk in answer] if stream else [answer.choices[0]]
    assert "".join(choice.text for choice in choices) == PROMPT + plain.text
    told = [choice.logprobs for choice in choices if choice.logprobs is not None]
    assert [each for one in told for each in one.tokens][6:] == plain.logprobs.tokens
    assert [each for one in told for each in one.text_offset][6:] == [5 + each for each in plain.logprobs.text_offset]
    assert sum(len(one.tokens) for one in told) == 10


def test_nothing_is_heard_of_an_answer_that_was_not_asked_for(client: Any) -> None:
    chunks = list(client.completions.create(model=MODEL, prompt=PROMPT, max_tokens=0, echo=True, stream=True, extra_body=EXTRA))
    assert "".join(chunk.choices[0].text for chunk in chunks) == PROMPT
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None, "length"]
    assert ids_of(chunks[0].choices[0]) == ()


def test_prompt_logprobs_come_by_position_and_token_id(client: Any) -> None:
    ids = BYTES.encode(PROMPT)
    answer = client.completions.create(model=MODEL, prompt=PROMPT, max_tokens=1, extra_body={"prompt_logprobs": 2})
    first, *rest = answer.choices[0].model_extra["prompt_logprobs"]
    assert first is None
    for token, told, row in zip(ids[1:], rest, raw_logprobs(ids), strict=True):
        assert set(told) == {str(each) for each in (*row.topk(2).indices.tolist(), token)}
        assert told[str(token)]["logprob"] == pytest.approx(row[token].item(), abs=1e-4)
        assert told[str(token)]["rank"] == 1 + int((row > row[token]).sum())
    chat = client.chat.completions.create(model=MODEL, messages=HELLO, max_tokens=1, extra_body={"prompt_logprobs": 0})
    assert len(chat.model_extra["prompt_logprobs"]) == chat.usage.prompt_tokens


# The prompt.


@pytest.mark.parametrize("n", [1, 3])
def test_tokens_of_a_prompt_that_were_kept_from_before_are_told(client: Any, n: int) -> None:
    prompt = f"{n} times to be read once, and found again the second time"
    told = []
    for _ in range(2):
        answer = client.completions.create(model=MODEL, prompt=prompt, n=n, max_tokens=2, extra_body=EXTRA)
        assert answer.usage.prompt_tokens == len(prompt)
        told.append(answer.usage.prompt_tokens_details.cached_tokens)
    assert told == [0, len(prompt) - 1], "what choices find of what another of them has read was not kept from before"


def test_a_priority_is_a_number(client: Any) -> None:
    answer = client.completions.create(model=MODEL, prompt="ab", max_tokens=2, extra_body={**EXTRA, "priority": -3})
    assert answer.usage.completion_tokens == 2
    with pytest.raises(openai.BadRequestError, match=r"priority: expected an integer"):
        client.completions.create(model=MODEL, prompt="ab", extra_body={"priority": "urgent"})
