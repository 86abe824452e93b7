"""`bad_words`: strings that no answer holds, from the field to the engine, over HTTP and as a library."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from everdraft import LLM, SamplingParams
from pipelines.trace import Edits
from serving.api.bad_words import MAX_CHARS, MAX_WORDS, bad_words_of
from serving.api.errors import InvalidRequest
from serving.local import LocalLink
from tests.models.families import save_model
from tests.serving.harness import House, house
from tests.serving.local import said_by
from tests.serving.rig import GuessingSpeculator, plain_engine, tiny_target
from tests.serving.test_sampling_fields import DECODER, asked
from tests.serving.tokenizers import ByteTokenizer, small_bpe

PATHS = ("/v1/completions", "/v1/chat/completions")
SOUND = {"prompt": "abc", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 8}
NOTHING_LEFT = "bad_words: expected a token that may always follow, got none"


def test_a_word_is_kept_out_bare_and_behind_a_space() -> None:
    """With this tokenizer the word is one token, and with a space before it two."""
    bpe = small_bpe()
    assert bad_words_of(["abc"], bpe) == (tuple(bpe.encode("abc")), tuple(bpe.encode(" abc")))
    assert list(map(len, bad_words_of(["abc"], bpe))) == [1, 2], "vLLM leaves out the second, which is longer"
    assert bad_words_of([" abc", "abc"], bpe) == bad_words_of(["abc"], bpe), "each sequence once"
    assert bad_words_of([], bpe) == ()


class Adorned(ByteTokenizer):
    """Begins every text with a token of its own, unless asked not to."""

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        return [self.eos] * add_special_tokens + super().encode(text)


def test_what_belongs_around_a_text_is_no_part_of_a_word() -> None:
    assert bad_words_of(["é"], Adorned()) == (tuple("é".encode()), tuple(" é".encode()))


@pytest.mark.parametrize(
    ("words", "says", "field"),
    [
        (["a", " \n"], r"bad_words\[1\]: expected a text other than space, got ' \\n'", "bad_words[1]"),
        (["a", ""], r"bad_words\[1\]: expected a text other than space, got ''", "bad_words[1]"),
        (["a" * (MAX_CHARS + 1)], rf"bad_words\[0\]: expected at most {MAX_CHARS} characters, got 101", "bad_words[0]"),
        (["a"] * (MAX_WORDS + 1), f"bad_words: expected at most {MAX_WORDS} words, got {MAX_WORDS + 1}", "bad_words"),
    ],
)
def test_words_that_cannot_be_meant_are_refused_by_name(words: list[str], says: str, field: str) -> None:
    with pytest.raises(InvalidRequest, match=says) as refused:
        bad_words_of(words, ByteTokenizer())
    assert refused.value.body.error.param == field


@pytest.fixture(scope="module")
def subject() -> House:
    """A real engine that speaks in bytes, with a source that guesses."""
    return house(LocalLink(plain_engine(tiny_target(DECODER, num_pages=400), GuessingSpeculator({}, 3))), max_model_len=200)


@pytest.fixture(scope="module")
def http(subject: House) -> Iterator[TestClient]:
    with subject.http() as http:
        yield http


def ids_of(http: TestClient, **body: Any) -> tuple[int, ...]:
    ask = {"prompt": "héllo", "seed": 5, "temperature": 0.9, "max_tokens": 30, "ignore_eos": True, "return_token_ids": True}
    response = http.post(PATHS[0], json={**ask, **body})
    assert response.status_code == 200, response.text
    return tuple(response.json()["choices"][0]["token_ids"])


def test_what_the_engine_would_say_it_does_not_say(http: TestClient, subject: House) -> None:
    """Words that the answer held, of one, two and three tokens, each ruled out in turn."""
    free = ids_of(http)
    printable = [at for at in range(3, 25) if all(33 <= token < 127 for token in free[at : at + 3])]
    assert printable, "no three neighbouring tokens of the answer are letters"
    for at in printable[:3]:
        for size in (1, 2, 3):
            word = bytes(free[at : at + size])
            said = ids_of(http, bad_words=[word.decode()])
            assert said[: at + size - 1] == free[: at + size - 1] or word in bytes(t for t in free[: at + size - 1] if t < 256)
            assert word not in b"".join(bytes([token]) if token < 256 else b"|" for token in said)
            edits = Edits(bad_words=(tuple(word), (32, *word)))
            assert said == said_by(asked(edits=edits, max_tokens=30))
            assert subject.log.traces[-1].sampling.edits == edits


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"bad_words": "x"}, "bad_words: expected an array or null, got 'x'"),
        ({"bad_words": [5]}, "bad_words[0]: expected a string, got 5"),
        ({"bad_words": [""]}, "bad_words[0]: expected a text other than space, got ''"),
        ({"bad_words": ["a", "bc"], "allowed_token_ids": [97, 99]}, NOTHING_LEFT),
        ({"bad_words": ["a"], "allowed_token_ids": [97, 256], "min_tokens": 1}, NOTHING_LEFT),
    ],
)
def test_what_cannot_be_followed_is_refused(http: TestClient, path: str, body: dict[str, Any], says: str) -> None:
    response = http.post(path, json={**SOUND, **body})
    assert response.status_code == 400, response.text
    assert response.json()["error"]["message"].startswith(says)


@pytest.mark.parametrize("body", [{"bad_words": []}, {"bad_words": None}, {}])
def test_no_words_change_nothing(http: TestClient, body: dict[str, Any]) -> None:
    assert ids_of(http, **body) == ids_of(http, speculative=False)


def test_the_library_has_it_too(tmp_path: Path) -> None:
    save_model("qwen2", tmp_path)
    how: dict[str, Any] = {"temperature": 1.5, "seed": 3, "max_tokens": 80, "ignore_eos": True}
    with LLM(target=str(tmp_path), sources=("suffix",), threads=1) as llm:
        (free,) = llm.generate("hello", SamplingParams(**how, logprobs=0))
        told = zip(free.outputs[0].token_ids, free.outputs[0].logprobs or (), strict=True)
        token, word = next((token, each[token].decoded_token) for token, each in told if each[token].decoded_token.isalnum())
        (kept,) = llm.generate("hello", SamplingParams(**how, bad_words=[word]))
        assert token not in kept.outputs[0].token_ids
        with pytest.raises(ValueError, match=r"^bad_words\[0\]: expected a text other than space"):
            llm.generate("hello", SamplingParams(bad_words=[" "]))
        with pytest.raises(ValueError, match="bad_words leave nothing of what may follow"):
            llm.generate("hello", SamplingParams(structured_outputs={"regex": "[ab]c"}, bad_words=["a", "b"]))
