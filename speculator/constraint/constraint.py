"""Constraint: what an answer has to look like, as a request says it."""

from __future__ import annotations

from typing import Literal

import msgspec

Kind = Literal["json", "regex", "choice", "grammar"]


class BadConstraint(ValueError):
    """A constraint that cannot be followed; the message names its field and says why."""


class Constraint(msgspec.Struct, frozen=True, array_like=True):
    """One of a JSON schema, a regular expression, texts to choose from, a context-free grammar."""

    kind: Kind
    text: str
    """The JSON schema, the expression, the JSON array of texts, or the grammar in Lark's or GBNF's notation."""
    field: str
    """Of the request, for messages."""

    @property
    def key(self) -> tuple[Kind, str]:
        """Equal for those that mean the same."""
        return self.kind, self.text

    def bad(self, why: str) -> BadConstraint:
        return BadConstraint(f"{self.field}: {why}")
