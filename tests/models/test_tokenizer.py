"""Text becomes the tokens that transformers makes of it, and comes back; bad text is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from models.errors import BadMessages, BadModel, BadText
from models.loading import bundled_target, load_tokenizer
from models.tokenizer import Tokenizer
from tests.models.families import edit_json, save_tokenizer

TEXTS = [
    "",
    " ",
    "Once upon a time",
    "naïve café, 東京, Ελλάδα, שלום",
    "👩‍👩‍👧‍👦 family, 🇫🇷 flag, 👍🏽 skin tone",
    "line\nline\r\nline\rend\t\ttabs",
    "nul \x00 bell \x07 delete \x7f",
    "a" * 5000,
    "   leading and trailing   ",
    "e\u0301 is not é",
    "\ufeffbyte order mark \u200bzero width",
    "text with <|end|> and <|user|> within",
]
CONVERSATIONS: list[list[dict[str, str]]] = [
    [{"role": "user", "content": "Hi"}],
    [
        {"role": "system", "content": "Be brief.\n"},
        {"role": "user", "content": "  Two  spaces, {{ braces }} and 'quotes'"},
        {"role": "assistant", "content": "Yes 👍"},
        {"role": "user", "content": ""},
    ],
    [{"role": "user", "content": "<|end|> is a token, as it is in a prompt"}],
]


@pytest.fixture(scope="module")
def bundled() -> Tokenizer:
    return load_tokenizer(str(bundled_target()))


@pytest.fixture(scope="module")
def reference() -> Any:
    return transformers.AutoTokenizer.from_pretrained(bundled_target())


@pytest.mark.parametrize("text", TEXTS)
def test_encoding_and_decoding_equal_those_of_transformers(
    bundled: Tokenizer, reference: Any, text: str
) -> None:
    ids = bundled.encode(text)
    assert ids == reference.encode(text)
    assert bundled.decode(ids, skip_special=False) == text
    assert bundled.decode(ids) == reference.decode(ids, skip_special_tokens=True)


@settings(deadline=None)
@given(text=st.text())
def test_any_text_comes_back(bundled: Tokenizer, text: str) -> None:
    assert bundled.decode(bundled.encode(text), skip_special=False) == text


@pytest.mark.parametrize("messages", CONVERSATIONS)
def test_conversations_equal_those_of_transformers(
    bundled: Tokenizer, reference: Any, messages: list[dict[str, str]]
) -> None:
    expected = reference.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    assert bundled.apply_chat_template(messages) == expected


@pytest.mark.parametrize("text", ["\ud800", "half an emoji \ud83d", "\udcff byte"])
def test_a_lone_surrogate_is_refused_with_its_place(bundled: Tokenizer, text: str) -> None:
    with pytest.raises(BadText, match=r"character \d+ is the lone surrogate U\+D[8-F]..; expected valid"):
        bundled.encode(text)
    with pytest.raises(BadText, match="lone surrogate"):
        bundled.apply_chat_template([{"role": "user", "content": text}])


def test_ids_beyond_the_vocabulary_decode_to_nothing(bundled: Tokenizer) -> None:
    assert bundled.decode([bundled.vocab_size, bundled.vocab_size + 1000]) == ""
    assert bundled.decode([bundled.vocab_size - 1]) != ""


def test_loading_needs_no_weights(tmp_path: Path) -> None:
    for path in bundled_target().iterdir():
        if path.suffix in (".json", ".jinja"):
            (tmp_path / path.name).write_bytes(path.read_bytes())
    assert load_tokenizer(str(tmp_path)).fingerprint == load_tokenizer(str(bundled_target())).fingerprint


def test_the_fingerprint_follows_vocabulary_and_template(tmp_path: Path) -> None:
    save_tokenizer(tmp_path)
    first = load_tokenizer(str(tmp_path)).fingerprint
    edit_json(tmp_path / "tokenizer_config.json", chat_template="{{ messages[0].content }}")
    second = load_tokenizer(str(tmp_path)).fingerprint
    pre_tokenizer = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
    edit_json(tmp_path / "tokenizer.json", pre_tokenizer=pre_tokenizer)
    assert len({first, second, load_tokenizer(str(tmp_path)).fingerprint}) == 3


def test_an_answer_ends_at_what_the_model_and_the_tokenizer_call_the_end(tmp_path: Path) -> None:
    save_tokenizer(tmp_path)
    assert load_tokenizer(str(tmp_path)).eos_ids == {1}
    (tmp_path / "config.json").write_text('{"eos_token_id": 5}')
    assert load_tokenizer(str(tmp_path)).eos_ids == {1, 5}
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": [7, 8]}')
    assert load_tokenizer(str(tmp_path)).eos_ids == {1, 7, 8}
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": ["</s>"]}')
    with pytest.raises(BadModel, match=r"generation_config.json: eos_token_id is"):
        load_tokenizer(str(tmp_path))


def test_a_truncation_left_in_the_file_cuts_nothing(tmp_path: Path) -> None:
    save_tokenizer(tmp_path)
    cut = {"max_length": 4, "strategy": "LongestFirst", "stride": 0, "direction": "Right"}
    edit_json(tmp_path / "tokenizer.json", truncation=cut)
    assert len(load_tokenizer(str(tmp_path)).encode("ten letters")) == 11


def test_special_tokens_around_a_text_are_added_where_the_checkpoint_asks_for_them(tmp_path: Path) -> None:
    save_tokenizer(tmp_path)
    post = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]}},
    }
    edit_json(tmp_path / "tokenizer.json", post_processor=post)
    tokenizer = load_tokenizer(str(tmp_path))
    assert tokenizer.encode("x")[0] == 0
    assert tokenizer.encode("x", add_special_tokens=False)[0] != 0
    assert tokenizer.apply_chat_template([{"role": "user", "content": "x"}])[0] != 0


def test_files_without_tokenizer_json_load_through_transformers(tmp_path: Path) -> None:
    source = json.loads((bundled_target() / "tokenizer.json").read_text())["model"]
    (tmp_path / "vocab.json").write_text(json.dumps(source["vocab"]))
    (tmp_path / "merges.txt").write_text("\n".join(" ".join(pair) for pair in source["merges"]))
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "Qwen2Tokenizer"}')
    (tmp_path / "config.json").write_text('{"model_type": "qwen2"}')
    tokenizer = load_tokenizer(str(tmp_path))
    text = "Once upon a time 👍"
    assert tokenizer.encode(text) == transformers.AutoTokenizer.from_pretrained(tmp_path).encode(text)
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_a_folder_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadModel, match=r"no tokenizer\.json"):
        load_tokenizer(str(tmp_path))


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff\xfe", b'{"model": {"type": "BPE"}}'])
def test_a_damaged_tokenizer_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "tokenizer.json").write_bytes(content)
    with pytest.raises(BadModel, match=r"tokenizer\.json: not "):
        load_tokenizer(str(tmp_path))


def test_a_model_without_a_template_says_so(tmp_path: Path) -> None:
    save_tokenizer(tmp_path)
    edit_json(tmp_path / "tokenizer_config.json", chat_template=None)
    tokenizer = load_tokenizer(str(tmp_path))
    assert not tokenizer.has_chat_template
    with pytest.raises(BadMessages, match="messages: the model has no chat template"):
        tokenizer.apply_chat_template([{"role": "user", "content": "Hi"}])
