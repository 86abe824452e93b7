"""A byte-level tokenizer of 44 tokens, for the tiny target's 48: enough for small JSON texts and words, é included."""

from __future__ import annotations

from functools import cache

import tokenizers
from tokenizers import decoders, models, pre_tokenizers

from models.tokenizer import Tokenizer
from speculator.constraint.constraint import Constraint
from speculator.constraint.grammars import Grammars
from speculator.constraint.guide import Guide

VOCAB = 48
EOS = 43
_MERGES = [("a", "b"), ("t", "r"), ("u", "e"), ("tr", "ue"), ('"', ":"), ("Ġ", '"'), ("1", "2"), ("Ã", "©")]


@cache
def small_tokenizer(ends: frozenset[int] = frozenset({EOS})) -> Tokenizer:
    characters = [*'{}[]":,.-', *"0123456789", *"abcdeflnrstux", "Ġ", "Ã", "©"]
    vocab = {each: index for index, each in enumerate([*characters, *(left + right for left, right in _MERGES)])}
    inner = tokenizers.Tokenizer(models.BPE(vocab, _MERGES))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    inner.decoder = decoders.ByteLevel()
    inner.add_special_tokens(["<eos>"])
    assert inner.token_to_id("<eos>") == EOS
    return Tokenizer(inner, None, ends, "small-1")


@cache
def grammars() -> Grammars:
    return Grammars(small_tokenizer(), VOCAB)


def constraint(kind: str, text: str) -> Constraint:
    return Constraint(kind, text, f"structured_outputs.{kind}")  # type: ignore[arg-type]


def guide(kind: str, text: str, stop_ids: frozenset[int] = frozenset({EOS})) -> Guide:
    return grammars().guide(constraint(kind, text), stop_ids)


def ids(text: str) -> list[int]:
    return small_tokenizer().encode(text)
