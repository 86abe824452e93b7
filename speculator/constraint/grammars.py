"""Grammars: constraints compiled for one target's tokenizer, the last ones kept."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from functools import cached_property

from llguidance import LLMatcher, LLTokenizer

from models.tokenizer import Tokenizer
from speculator.constraint.compiling import compiled, view_of
from speculator.constraint.constraint import Constraint
from speculator.constraint.grammar import reason
from speculator.constraint.guide import Guide

MOST_KEPT = 64
"""Compiled grammars: some 100 kB each, of large schemas some MB."""


class Grammars:
    """To be used by one thread at a time; the guides it hands out are independent of it.

    vocab_size: of the target, at least the tokenizer's. A schema of ten properties compiles in 2 ms, one of 6,000 in 500 ms;
    a guide through one that is kept takes 30 us.
    """

    def __init__(self, tokenizer: Tokenizer, vocab_size: int, most_kept: int = MOST_KEPT) -> None:
        self._tokenizer = tokenizer
        self._vocab_size = vocab_size
        self._most_kept = most_kept
        self._kept: OrderedDict[tuple[str, str], LLMatcher] = OrderedDict()

    def guide(self, constraint: Constraint, stop_ids: Iterable[int]) -> Guide:
        """A new way through the constraint's grammar, which one of `stop_ids` ends, or where there are none the model's own end
        tokens. Raises BadConstraint."""
        matcher = self._matcher(constraint).deep_copy()
        ends = frozenset(stop_ids) or self._tokenizer.eos_ids
        return Guide(matcher, constraint.field, eos_ids=self.view.eos_tokens, ends=ends, vocab_size=self._vocab_size)

    @cached_property
    def view(self) -> LLTokenizer:
        """The tokenizer as the library sees it. Made once, when first needed."""
        return view_of(self._tokenizer.rules, self._tokenizer.eos_ids, self._vocab_size)

    def _matcher(self, constraint: Constraint) -> LLMatcher:
        """At the start of the grammar, not to be moved."""
        key = constraint.key
        if key not in self._kept:
            self._kept[key] = self._compiled(constraint)
            if len(self._kept) > self._most_kept:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return self._kept[key]

    def _compiled(self, constraint: Constraint) -> LLMatcher:
        if not self._tokenizer.eos_ids:
            raise constraint.bad("the model names no end token, so no answer of it could ever be complete")
        try:
            view = self.view
        except ValueError as error:
            raise constraint.bad(f"the model's tokenizer cannot be constrained: {reason(str(error))}") from error
        return compiled(constraint, view)
