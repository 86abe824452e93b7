"""Filling templates: the small grammar that every prompt of the demo is written with."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping

Vocabulary = Mapping[str, tuple[str, ...]]
"""Slot name to the phrases that may stand there; a phrase may hold slots itself."""

_ENTRY = re.compile(r"^\s*([a-z_]+):(?=\s)", re.MULTILINE)
_SLOT = re.compile(r"\{([a-z_]+)\d*\}")
_RANGE = re.compile(r"(\d+) to (\d+)(?: by (\d+))?")
_ARTICLE = re.compile(r"\b([Aa]) (?=[aeiouAEIOU])(?!uni|one|eu)")


def vocabulary(text: str) -> Vocabulary:
    """Reads entries `slot: phrase | phrase | …`, each from the start of a line to the next entry.

    A phrase like `10 to 60 by 5` stands for all these numbers.
    """
    _, *parts = _ENTRY.split(text)
    return {slot: tuple(_phrases(listed)) for slot, listed in zip(parts[::2], parts[1::2], strict=True)}


def fill(template: str, words: Vocabulary, rng: random.Random) -> str:
    """`template` with every `{slot}` replaced by a phrase of it, and `a` made `an` where English wants it.

    A slot that comes back stands for the same phrase; slots that differ by a number at the end (`{name}`,
    `{name2}`) share a list and get different phrases. Raises KeyError for a slot without phrases.
    """
    chosen: dict[str, str] = {}

    def replace(match: re.Match[str]) -> str:
        slot, listed = match.group(0), words[match.group(1)]
        if slot not in chosen:
            fresh = [phrase for phrase in listed if phrase not in chosen.values()]
            chosen[slot] = rng.choice(fresh or listed)
        return chosen[slot]

    while _SLOT.search(template):
        template = _SLOT.sub(replace, template)
    return _ARTICLE.sub(r"\1n ", template)


def _phrases(listed: str) -> list[str]:
    found: list[str] = []
    for part in listed.split("|"):
        phrase = " ".join(part.split())
        numbers = _RANGE.fullmatch(phrase)
        if numbers is None:
            found += [phrase] if phrase else []
        else:
            first, last, step = numbers.groups(default="1")
            found += [str(number) for number in range(int(first), int(last) + 1, int(step))]
    return found
