"""Prompts the project writes itself: any number, distinct, from a seed."""

from __future__ import annotations

import hashlib
import itertools
import random
from collections.abc import Callable, Iterator
from typing import Literal

import msgspec

from cli.demo.domains import dialogue, math, sql, stories

Split = Literal["training", "traffic", "evaluation"]
"""What a prompt may be used for; a hash of its text decides, so that no two uses ever share a prompt."""

_SHARES: tuple[Split, ...] = ("training",) * 4 + ("traffic",) * 4 + ("evaluation",) * 2


Role = Literal["system", "user", "assistant"]


class Message(msgspec.Struct, frozen=True):
    """One turn of a conversation."""

    role: Role
    content: str


class Prompt(msgspec.Struct, frozen=True):
    """What is sent: a conversation that waits for the assistant."""

    domain: str
    messages: tuple[Message, ...]
    max_tokens: int

    @property
    def digest(self) -> bytes:
        """[16] hash of the conversation: two prompts with the same one are the same prompt."""
        return hashlib.blake2b(msgspec.json.encode(self.messages), digest_size=16).digest()

    @property
    def split(self) -> Split:
        """The one use that this prompt may be put to."""
        return _SHARES[self.digest[0] % len(_SHARES)]


_Writer = Callable[[random.Random], list[str]]
"""Writes turns by turns of user and assistant; the first and the last are the user's."""

_WRITERS: dict[str, tuple[_Writer, int]] = {
    "stories": (stories.write, stories.MAX_TOKENS),
    "dialogue": (dialogue.write, dialogue.MAX_TOKENS),
    "sql": (sql.write, sql.MAX_TOKENS),
    "math": (math.write, math.MAX_TOKENS),
}

DOMAINS = tuple(_WRITERS)

_GIVE_UP = 1000
"""Fills in a row without a new prompt after which a domain counts as exhausted."""


def prompts(domain: str, seed: int, split: Split) -> Iterator[Prompt]:
    """Distinct prompts of `domain` for one use, the same for the same seed; ends when the domain has no more.

    Raises KeyError for a domain that is not one of DOMAINS.
    """
    write, max_tokens = _WRITERS[domain]
    rng = random.Random(f"{domain}:{split}:{seed}")
    seen: set[bytes] = set()
    misses = 0
    while misses < _GIVE_UP:
        roles: Iterator[Role] = itertools.cycle(("user", "assistant"))
        messages = tuple(Message(role, text) for role, text in zip(roles, write(rng), strict=False))
        prompt = Prompt(domain, messages, max_tokens)
        if prompt.split != split:
            continue
        if prompt.digest in seen:
            misses += 1
            continue
        misses = 0
        seen.add(prompt.digest)
        yield prompt
