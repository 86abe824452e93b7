"""Small tokenizers for tests, made in memory."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import tokenizers
from tokenizers import decoders, models, pre_tokenizers


class ByteTokenizer:
    """One token a byte, an end token and a marker for each role: characters span tokens."""

    eos = 256
    roles = ("system", "user", "assistant")
    vocab_size = 260
    eos_ids = frozenset({eos})
    fingerprint = "bytes-1"
    rules = ""

    def __init__(self) -> None:
        self.num_decoded = 0
        """Tokens decoded so far, for tests of the work done."""

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        return list(text.encode())

    def decode(self, ids: Sequence[int], skip_special: bool = True) -> str:
        self.num_decoded += len(ids)
        special = b"" if skip_special else b"<eos>"
        data = b"".join(bytes([token]) if token < self.eos else special for token in ids)
        return data.decode(errors="replace")

    def token_bytes(self, token: int) -> bytes:
        return bytes([token]) if token < ByteTokenizer.eos else b"<eos>"

    def apply_chat_template(self, messages: list[dict[str, str]]) -> list[int]:
        ids: list[int] = []
        for message in messages:
            ids += [self._marker(message["role"]), *self.encode(message["content"]), self.eos]
        return [*ids, self._marker("assistant")]

    def _marker(self, role: str) -> int:
        return self.eos + 1 + self.roles.index(role)


class MetaspaceTokenizer(ByteTokenizer):
    """Words carry the space before them, unwritten at the start of a text, as with SentencePiece."""

    words = (" one", " two", "s", " ", ",", " three")
    eos = len(words)
    vocab_size = len(words) + 1

    def decode(self, ids: Sequence[int], skip_special: bool = True) -> str:
        return "".join(self.words[token] for token in ids if token < self.eos).removeprefix(" ")


class BpeTokenizer(ByteTokenizer):
    """A `tokenizers` byte-level BPE behind the same interface."""

    def __init__(self, inner: tokenizers.Tokenizer) -> None:
        super().__init__()
        self._inner = inner

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        return list(self._inner.encode(text).ids)

    def decode(self, ids: Sequence[int], skip_special: bool = True) -> str:
        return str(self._inner.decode(list(ids), skip_special_tokens=skip_special))


@cache
def small_bpe() -> BpeTokenizer:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {character: index for index, character in enumerate(alphabet)}
    merges = [("a", "b"), ("ab", "c"), ("Ġ", "a"), ("Ã", "©"), ("ð", "Ł")]
    for left, right in merges:
        vocab[left + right] = len(vocab)
    inner = tokenizers.Tokenizer(models.BPE(vocab, merges))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    return BpeTokenizer(inner)
