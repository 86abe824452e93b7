"""The engine as a library: prompts in, answers out, without a server."""

from __future__ import annotations

import asyncio
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import everdraft
from everdraft import LLM, SamplingParams
from models.errors import ModelError
from tests.models.families import save_model

GREEDY = SamplingParams(temperature=0, max_tokens=12, ignore_eos=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("model")


@pytest.fixture(scope="module")
def reference(folder: Path) -> Any:
    return save_model("qwen2", folder)


@pytest.fixture(scope="module")
def llm(folder: Path, reference: Any) -> Iterator[LLM]:
    with LLM(target=str(folder), sources=("suffix",), max_running=4, threads=1) as llm:
        yield llm


def generated(reference: Any, prompt: tuple[int, ...], **how: Any) -> tuple[int, ...]:
    """What transformers makes of it."""
    ids = torch.tensor([prompt])
    out = reference.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False, pad_token_id=0, eos_token_id=None, **how
    )
    return tuple(out[0, len(prompt) :].tolist())


@pytest.mark.parametrize("penalty", [1.0, 1.4])
def test_greedy_answers_are_those_of_transformers(llm: LLM, reference: Any, penalty: float) -> None:
    sampling = SamplingParams(temperature=0, max_tokens=12, ignore_eos=True, repetition_penalty=penalty)
    answers = llm.generate(["hello", "a b a b a b", "x"], sampling)
    assert [answer.prompt for answer in answers] == ["hello", "a b a b a b", "x"]
    for answer in answers:
        (choice,) = answer.outputs
        assert choice.token_ids == generated(reference, answer.prompt_token_ids, repetition_penalty=penalty)
        assert (choice.index, choice.finish_reason, choice.stop_reason, choice.logprobs) == (0, "length", None, None)


def test_prompts_may_be_token_ids(llm: LLM) -> None:
    (text,) = llm.generate("hello", GREEDY)
    ids = [*text.prompt_token_ids]
    (one,), (two,) = llm.generate(ids, GREEDY), llm.generate([ids], GREEDY)
    assert text.outputs == one.outputs == two.outputs
    assert (text.prompt, one.prompt) == ("hello", None)


def test_more_prompts_than_run_at_once_are_answered_in_their_order(llm: LLM) -> None:
    prompts = [f"prompt {number}" for number in range(11)]
    assert llm.generate(prompts, GREEDY) == [llm.generate(prompt, GREEDY)[0] for prompt in prompts]


def test_each_prompt_may_have_its_own_parameters(llm: LLM) -> None:
    short, sampled = SamplingParams(max_tokens=2), SamplingParams(n=3, seed=4, max_tokens=6, ignore_eos=True)
    first, second = llm.generate(["a", "b"], [short, sampled])
    assert len(first.outputs[0].token_ids) <= 2
    assert [choice.index for choice in second.outputs] == [0, 1, 2]
    assert len({choice.token_ids for choice in second.outputs}) > 1
    assert llm.generate("b", sampled) == [second]


def test_conversations_are_answered(llm: LLM) -> None:
    hello = [{"role": "user", "content": "hello"}]
    (one,), both = llm.chat(hello, GREEDY), llm.chat([hello, hello], GREEDY)
    assert both == [one, one]
    assert one.outputs == llm.generate([[*one.prompt_token_ids]], GREEDY)[0].outputs


def test_log_probabilities_come_with_ranks_and_texts(llm: LLM, reference: Any) -> None:
    (answer,) = llm.generate("hello", SamplingParams(seed=3, max_tokens=5, ignore_eos=True, logprobs=2, prompt_logprobs=0))
    (choice,) = answer.outputs
    tokens = [*answer.prompt_token_ids, *choice.token_ids]
    with torch.no_grad():
        rows = reference(torch.tensor([tokens])).logits[0].log_softmax(-1)[:-1]
    assert answer.prompt_logprobs is not None
    assert choice.logprobs is not None
    assert answer.prompt_logprobs[0] is None
    told = [*answer.prompt_logprobs[1:], *choice.logprobs]
    for token, found, row in zip(tokens[1:], told, rows, strict=True):
        assert found is not None
        assert found[token].logprob == pytest.approx(row[token].item(), abs=1e-4)
        assert found[token].rank == 1 + int((row > row[token]).sum())
    assert set(choice.logprobs[0]) >= set(rows[4].topk(2).indices.tolist())


def test_answers_take_the_form_that_is_asked_for(llm: LLM) -> None:
    sampling = SamplingParams(max_tokens=20, structured_outputs={"regex": "(ab)+c"})
    (answer,) = llm.generate("hello", sampling)
    said = answer.outputs[0]
    assert re.fullmatch("(ab)+c" if said.finish_reason == "stop" else "(ab)+a?", said.text)
    with pytest.raises(ValueError, match=r"^structured_outputs.regex: "):
        llm.generate("hello", SamplingParams(structured_outputs={"regex": "(ab"}))
    assert llm.generate("hello", GREEDY)[0].outputs[0].token_ids, "nothing is left of the one that was refused"


def test_a_stop_string_ends_an_answer_and_what_comes_after_is_not_there(llm: LLM) -> None:
    (plain,) = llm.generate("hello", SamplingParams(temperature=0, max_tokens=40, ignore_eos=True))
    text = plain.outputs[0].text
    stop = text[5:8]
    at = text.index(stop)
    (answer,) = llm.generate("hello", SamplingParams(temperature=0, max_tokens=40, ignore_eos=True, stop=stop))
    assert (answer.outputs[0].text, answer.outputs[0].stop_reason) == (text[:at], stop)
    assert answer.outputs[0].finish_reason == "stop"


def test_it_works_where_an_event_loop_runs_as_in_a_notebook(llm: LLM) -> None:
    async def cell() -> Any:
        return llm.generate("hello", GREEDY)

    assert asyncio.run(cell()) == llm.generate("hello", GREEDY)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"temperature": -1}, "temperature: expected a number >= 0.0, got -1"),
        ({"max_tokens": 0}, "max_tokens: expected an integer >= 1 or None, got 0"),
        ({"repetition_penalty": 0}, "repetition_penalty: expected a number >= 0.01, got 0"),
        ({"presence_penalty": "1"}, "presence_penalty: expected a number"),
        ({"n": 0}, "n: expected an integer >= 1, got 0"),
        ({"logit_bias": {3: 200.0}}, "logit_bias: expected a number <= 100"),
        ({"logprobs": 21}, "logprobs: expected an integer <= 20"),
    ],
)
def test_a_wrong_parameter_is_refused_by_name_at_birth(values: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says.replace("(", r"\(")):
        SamplingParams(**values)


def test_what_only_the_model_can_tell_is_refused_before_anything_runs(llm: LLM) -> None:
    for prompts, sampling, says in [
        ([], GREEDY, "prompt: expected a text"),
        (["a", ""], GREEDY, r"prompt\[1\]: expected at least one character"),
        ([[5, 10**6]], GREEDY, r"prompt\[0\]\[1\]: 1000000 is not a token id"),
        ("a", SamplingParams(max_tokens=1000), "maximum context length is 256"),
        ("a", SamplingParams(min_tokens=20), "min_tokens: expected at most max_tokens, 16"),
        ("a", SamplingParams(logit_bias={10**6: 1.0}), "1000000 is not a token id"),
        (["a", "b"], [GREEDY], "sampling_params: expected one for each of 2 prompts, got 1"),
    ]:
        with pytest.raises(ValueError, match=says):
            llm.generate(prompts, sampling)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="messages"):
        llm.chat([{"role": "user"}], GREEDY)
    assert llm.generate("a", GREEDY), "and it goes on"


def test_the_example_runs_as_it_is_written(folder: Path, reference: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert LLM.__doc__ is not None
    lines = LLM.__doc__.splitlines()
    example = [line for line in lines if line.startswith(" " * 8) or not line]
    exec(textwrap.dedent("\n".join(example)).replace("./my-model", str(folder)), {})
    assert capsys.readouterr().out.count("->") >= 4, "two prompts, two choices each"


def test_settings_and_targets_that_cannot_work_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="max_running is 0"):
        LLM(max_running=0)
    with pytest.raises(ModelError):
        LLM(target=str(tmp_path / "none"))
    with pytest.raises(AttributeError, match="no attribute 'LLMs'"):
        _ = everdraft.LLMs
