"""From token ids to text, a step at a time.

What waits: characters that span tokens, and text that may be the beginning of a stop string.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

REPLACEMENT = "\ufffd"
"""What a decoder writes for bytes that are no character, or not yet one."""

_UNFINISHED_CHARS = 3
"""An unfinished UTF-8 character has at most three bytes, at worst written as one replacement each."""

_LONG = 64
"""Tokens that may wait for a character to end; more, and the oldest are let go: decoding stays linear."""

_LOOK_BACK = 16
"""Tokens searched for the last whose text is out: more than the bytes of what waits."""


class TextTokenizer(Protocol):
    """What the HTTP side asks of a tokenizer."""

    @property
    def vocab_size(self) -> int: ...

    @property
    def eos_ids(self) -> frozenset[int]: ...

    @property
    def fingerprint(self) -> str: ...

    @property
    def rules(self) -> str:
        """As `tokenizer.json` has them; empty: it has no such file."""

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        """add_special_tokens: whether to add those that belong around a text, as a first `<s>`."""

    def decode(self, ids: Sequence[int], skip_special: bool = True) -> str: ...

    def token_bytes(self, token: int, /) -> bytes:
        """What the token stands for, which may be part of a character; a special token's name."""

    def apply_chat_template(self, messages: list[dict[str, str]]) -> list[int]:
        """The prompt of a conversation, up to where the assistant speaks."""


class Detokenizer:
    """Turns tokens into text as they come. All pieces together are the text of all tokens.

    An unfinished character at the very end is never shown. The tokens before the new ones are decoded along
    with them, because some decoders (SentencePiece's) write a token differently at the start of a text.
    """

    def __init__(self, tokenizer: TextTokenizer, skip_special: bool = True) -> None:
        self._tokenizer = tokenizer
        self._skip_special = skip_special
        self._shown: list[int] = []
        """Tokens just before `_pending` whose text is out."""
        self._pending: list[int] = []
        self._num_out = 0
        """Characters of `_pending` that are out."""

    def push(self, token_ids: Sequence[int]) -> str:
        """The text that `token_ids` complete; may be empty."""
        self._pending += token_ids
        text = self._text(self._pending)
        ready = len(text) - _num_unfinished(text)
        piece = text[self._num_out : ready]
        self._num_out = max(self._num_out, ready)
        if ready == len(text):
            self._turn_over(text)
        elif len(self._pending) > _LONG:
            self._let_go()
        return piece

    def _text(self, token_ids: list[int]) -> str:
        """What `token_ids` add to the text shown before."""
        return self._decode(self._shown + token_ids)[len(self._decode(self._shown)) :]

    def _decode(self, token_ids: list[int]) -> str:
        return self._tokenizer.decode(token_ids, self._skip_special) if token_ids else ""

    def _turn_over(self, text: str) -> None:
        """Everything pending is out: it becomes the context of what follows."""
        if text:
            self._shown = self._pending
        elif not self._shown and len(self._pending) <= _LONG:
            return  # the text has not begun: what these tokens are may depend on the next
        self._pending, self._num_out = [], 0

    def _let_go(self) -> None:
        """Moves all but the last few pending tokens to the context: those whose text is out already."""
        for cut in range(len(self._pending) - 1, len(self._pending) - _LOOK_BACK, -1):
            num_done = len(self._text(self._pending[:cut]))
            if num_done <= self._num_out:
                self._shown, self._pending = self._pending[:cut], self._pending[cut:]
                self._num_out -= num_done
                return


class TextOffsets:
    """Where in a text each token begins, in characters. A token within a character begins where the character does."""

    def __init__(self, tokenizer: TextTokenizer, skip_special: bool = True, start: int = 0) -> None:
        self._detokenizer = Detokenizer(tokenizer, skip_special)
        self._length = start

    def push(self, token_ids: Sequence[int]) -> list[int]:
        found = []
        for token in token_ids:
            found.append(self._length)
            self._length += len(self._detokenizer.push([token]))
        return found


def _num_unfinished(text: str) -> int:
    return min(len(text) - len(text.rstrip(REPLACEMENT)), _UNFINISHED_CHARS)


class StopMatcher:
    """Finds the first stop string to be completed in a text that arrives in pieces, wherever the pieces end.

    Of several that end at the same character, the longest counts.
    """

    def __init__(self, stops: Sequence[str], include: bool = False) -> None:
        assert all(stops), "an empty stop string matches everywhere"
        self._stops = tuple(stops)
        self._include = include
        self._firsts = frozenset(stop[0] for stop in stops)
        self._longest = max(map(len, stops), default=0)
        self._held = ""

    def push(self, piece: str, armed: bool = True) -> tuple[str, str | None]:
        """The text that can be shown now, and the stop string that ended it.

        armed: whether a stop string that this piece completes ends the text. One that did not is never found again.
        """
        num_held, text = len(self._held), self._held + piece
        found = [
            (start + len(stop), start, stop)
            for stop in self._stops
            if (start := text.find(stop, max(0, num_held - len(stop) + 1))) >= 0
        ]
        if found and armed:
            end, start, stop = min(found)
            self._held = ""
            return text[: end if self._include else start], stop
        keep = self._first_possible(text)
        self._held = text[keep:]
        return text[:keep], None

    def flush(self) -> str:
        """The text held back, when no more will come."""
        text, self._held = self._held, ""
        return text

    def _first_possible(self, text: str) -> int:
        """Where a stop string could begin that is not complete yet; the length of the text if none."""
        for start in range(max(0, len(text) - self._longest + 1), len(text)):
            if text[start] in self._firsts and any(stop.startswith(text[start:]) for stop in self._stops):
                return start
        return len(text)


@dataclass(frozen=True, slots=True)
class Piece:
    """What a step's tokens came to."""

    text: str
    num_emitted: int
    """Tokens up to the one that completed a stop string: those that plain decoding would have generated."""
    num_cut: int
    """Tokens of the step after that one."""
    stop: str | None = None


class AnswerText:
    """The text of one choice, from its tokens, until a stop string or the engine ends it."""

    def __init__(
        self,
        tokenizer: TextTokenizer,
        stops: Sequence[str] = (),
        *,
        include_stop: bool = False,
        skip_special: bool = True,
        min_tokens: int = 0,
    ) -> None:
        """min_tokens: a stop string that so many tokens complete does not end it."""
        self._min_tokens = min_tokens
        self._num_pushed = 0
        self._detokenizer = Detokenizer(tokenizer, skip_special)
        self._matcher = StopMatcher(stops, include_stop) if stops else None
        self._include_stop = include_stop

    def push(self, token_ids: Sequence[int], finish_reason: str | None = None) -> Piece:
        """Takes a step's tokens.

        `finish_reason` is the engine's. With `stop` the last token is a stop token, shown only if stop
        strings are to be included; with any, text held back is released.
        """
        hidden = finish_reason == "stop" and not self._include_stop
        visible = token_ids[:-1] if hidden else token_ids
        if self._matcher is None:
            return Piece(self._detokenizer.push(visible), len(token_ids), 0)
        text = ""
        # token by token, so that what counts as emitted does not depend on how the steps fell
        for num_emitted, token in enumerate(visible, 1):
            self._num_pushed += 1
            shown, stop = self._matcher.push(self._detokenizer.push([token]), self._num_pushed > self._min_tokens)
            text += shown
            if stop is not None:
                return Piece(text, num_emitted, len(token_ids) - num_emitted, stop)
        if finish_reason is not None:
            text += self._matcher.flush()
        return Piece(text, len(token_ids), 0)
