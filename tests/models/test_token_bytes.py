"""The bytes of tokens, put together, are the bytes of the text."""

from __future__ import annotations

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import decoders, models, normalizers

from models.loading import bundled_target, load_tokenizer
from models.token_bytes import token_bytes
from models.tokenizer import Tokenizer


@pytest.fixture(scope="module")
def bundled() -> Tokenizer:
    return load_tokenizer(str(bundled_target()))


@settings(deadline=None)
@given(text=st.text())
def test_of_a_byte_level_tokenizer(bundled: Tokenizer, text: str) -> None:
    assert b"".join(map(bundled.token_bytes, bundled.encode(text))) == text.encode()


def test_of_special_and_unknown_tokens(bundled: Tokenizer) -> None:
    (end,) = bundled.encode("<|end|>")
    assert bundled.token_bytes(end) == b"<|end|>"
    assert bundled.token_bytes(bundled.vocab_size + 7) == b""


@pytest.fixture(scope="module")
def sentence_piece() -> tokenizers.Tokenizer:
    """As Llama 2's: a letter for spaces, and named bytes for what the vocabulary lacks."""
    pieces = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), "\u2581", "a", "b", "\u2581a"]
    vocab = {piece: index for index, piece in enumerate(pieces)}
    inner = tokenizers.Tokenizer(models.BPE(vocab, [("\u2581", "a")], unk_token="<unk>", byte_fallback=True))
    inner.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    strip = decoders.Strip(" ", 1, 0)
    inner.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), strip])
    return inner


@given(text=st.text(alphabet="ab é😀<0x>", min_size=1))
def test_of_a_sentence_piece_tokenizer(sentence_piece: tokenizers.Tokenizer, text: str) -> None:
    read = token_bytes(sentence_piece)
    assert b"".join(map(read, sentence_piece.encode(text).ids)) == b" " + text.encode()


def test_of_a_tokenizer_that_writes_plain_text() -> None:
    inner = tokenizers.Tokenizer(models.WordLevel({"un": 0, "été": 1}, unk_token="un"))
    assert [token_bytes(inner)(each) for each in (0, 1, 2)] == [b"un", "été".encode(), b""]
