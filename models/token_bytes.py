"""The bytes that a token stands for. A character may span several tokens, so their texts alone would not tell."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import tokenizers

_PRINTABLE = (range(0x21, 0x7F), range(0xA1, 0xAD), range(0xAE, 0x100))
_BYTE_NAME = re.compile(r"<0x([0-9A-F]{2})>")
_SPACE = "\u2581"
"""What SentencePiece writes for a space."""


def token_bytes(backend: tokenizers.Tokenizer) -> Callable[[int], bytes]:
    """Bytes of a token id; none for ids that the tokenizer does not know. Special tokens have their names."""
    added = {token: str(each.content).encode() for token, each in backend.get_added_tokens_decoder().items()}
    of_piece = _reader(backend)

    def read(token: int) -> bytes:
        if token in added:
            return added[token]
        piece: str | None = backend.id_to_token(token)
        return b"" if piece is None else of_piece(piece)

    return read


def _reader(backend: tokenizers.Tokenizer) -> Callable[[str], bytes]:
    """How the entries of the vocabulary are written, which the decoder tells."""
    rules = {rule["type"]: rule for rule in _rules(json.loads(backend.decoder.__getstate__()))} if backend.decoder else {}
    if "ByteLevel" in rules:
        return _byte_level
    if "ByteFallback" in rules or "Metaspace" in rules:
        return _sentence_piece
    return lambda piece: piece.encode()


def _rules(decoder: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if decoder["type"] == "Sequence":
        for each in decoder["decoders"]:
            yield from _rules(each)
    else:
        yield decoder


def _byte_alphabet() -> dict[str, int]:
    """GPT-2's letters for bytes: printable ones stand for themselves, the others for letters from U+0100 on, in order."""
    itself = {byte for each in _PRINTABLE for byte in each}
    others = [byte for byte in range(256) if byte not in itself]
    return {chr(byte): byte for byte in itself} | {chr(0x100 + at): byte for at, byte in enumerate(others)}


_BYTE_OF = _byte_alphabet()


def _byte_level(piece: str) -> bytes:
    return b"".join(bytes([_BYTE_OF[letter]]) if letter in _BYTE_OF else letter.encode() for letter in piece)


def _sentence_piece(piece: str) -> bytes:
    named = _BYTE_NAME.fullmatch(piece)
    return bytes([int(named[1], 16)]) if named else piece.replace(_SPACE, " ").encode()
