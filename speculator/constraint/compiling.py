"""Compiling: a constraint, for one tokenizer. Without torch, for it is tried out in a process that has no use for it."""

from __future__ import annotations

from collections.abc import Iterable

from llguidance import LLMatcher, LLTokenizer

from speculator.constraint.constraint import Constraint
from speculator.constraint.grammar import LIMITS, grammar_of, reason


def view_of(rules: str, eos_ids: Iterable[int], vocab_size: int) -> LLTokenizer:
    """A tokenizer as the library sees it: the bytes of each token; 0.1 s for 8,192. Raises ValueError for one it cannot read.

    rules: as in `models.tokenizer.Tokenizer`. vocab_size: of the target, at least the tokenizer's.
    """
    return LLTokenizer(rules, n_vocab=vocab_size, eos_token=sorted(eos_ids))


def compiled(constraint: Constraint, view: LLTokenizer) -> LLMatcher:
    """At the start of the grammar. Raises BadConstraint."""
    matcher = LLMatcher(view, grammar_of(constraint), log_level=0, limits=LIMITS)
    matcher.compute_bitmask()  # the first costs most: 1 ms
    if matcher.is_error():
        raise constraint.bad(f"cannot be followed: {reason(matcher.get_error())}")
    return matcher
