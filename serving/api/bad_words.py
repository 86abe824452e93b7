"""From words that an answer must not hold to the token sequences that it is kept from completing."""

from __future__ import annotations

from collections.abc import Sequence

from serving.api.errors import InvalidRequest
from serving.text import TextTokenizer

MAX_WORDS = 64
MAX_CHARS = 100
"""Of a word: 64 of these, each tokenized twice, take the event loop 5 ms."""

Words = tuple[tuple[int, ...], ...]


def bad_words_of(words: Sequence[str], tokenizer: TextTokenizer) -> Words:
    """The tokens of each word, and of the word behind a space, as it stands within a text: with most tokenizers these are others.

    vLLM leaves the latter out where they are more or fewer. Raises InvalidRequest for too many, too long or empty words.
    """
    if len(words) > MAX_WORDS:
        raise InvalidRequest(f"bad_words: expected at most {MAX_WORDS} words, got {len(words)}", "bad_words")
    found: dict[tuple[int, ...], None] = {}
    for index, word in enumerate(words):
        field = f"bad_words[{index}]"
        if len(word) > MAX_CHARS:
            raise InvalidRequest(f"{field}: expected at most {MAX_CHARS} characters, got {len(word)}", field)
        bare = word.lstrip()
        if not bare:
            raise InvalidRequest(f"{field}: expected a text other than space, got {word!r}", field)
        for text in (bare, f" {bare}"):
            found[tuple(tokenizer.encode(text, add_special_tokens=False))] = None
    return tuple(found)
