"""From a constraint to the library's grammar; neither torch nor a tokenizer is needed to say whether it is one."""

from __future__ import annotations

import msgspec
from llguidance import LLMatcher, LLParserLimits, grammar_from

from speculator.constraint.constraint import Constraint

LIMITS = LLParserLimits(verbose_errors=False)
"""Of parsers: the library's own (14 ms of lexing for a mask at most), without the grammar in its messages."""

_SPACE = r"[ \t\n\r]{0,32}"
"""Between the parts of a JSON text: enough to indent by, and an end to it, for a weak model would go on with spaces for ever."""


def grammar_of(constraint: Constraint) -> str:
    """The grammar as the library takes it. Raises BadConstraint where it is not even text of its kind."""
    try:
        match constraint.kind:
            case "json":
                # not lenient: a keyword that cannot be kept is an error, whatever the schema itself says (`x-guidance`)
                return LLMatcher.grammar_from_json_schema(
                    constraint.text, overrides={"lenient": False, "whitespace_pattern": _SPACE}
                )
            case "regex":
                return LLMatcher.grammar_from_regex(constraint.text)
            case "choice":
                texts = msgspec.json.decode(constraint.text, type=list[str])
                return LLMatcher.grammar_from_regex("|".join(map(_literal, texts)))
            case "grammar":
                return grammar_from("grammar", constraint.text)
    except ValueError as error:
        raise constraint.bad(str(error)) from None


def check(constraint: Constraint) -> None:
    """Raises BadConstraint, with the library's reason, for what cannot be followed: unsupported keywords too.

    1 ms for a schema of ten properties, 110 ms for one of 6,000, in which other threads go on.
    """
    is_error, messages = LLMatcher.validate_grammar_with_warnings(grammar_of(constraint), limits=LIMITS)
    if is_error:
        raise constraint.bad(f"cannot be followed: {reason(messages[0])}")


def reason(message: str) -> str:
    """A message of the library, on one line."""
    return " ".join(message.split())


def _literal(text: str) -> str:
    """An expression for this text alone."""
    return "".join(each if each.isascii() and each.isalnum() else f"\\x{{{ord(each):X}}}" for each in text)
