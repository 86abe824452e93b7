"""KnownPages: what a draft model has read into which pages, so that who shares a page with its reader need not read it again."""

from __future__ import annotations

from collections.abc import Sequence


class KnownPages:
    """Of pages numbered as the target's, which are shared as the target shares them: within a tenant, and while they hold the
    same text. A page is known by a hash of the weights' version and all of the text up to its end."""

    def __init__(self, page_size: int) -> None:
        self._size = page_size
        self._texts: dict[int, int] = {}
        """By page."""

    def known(self, version: str, pages: Sequence[int], tokens: Sequence[int]) -> int:
        """How many of a text's tokens need not be read: those of its first pages, but never the newest."""
        text, num_pages = hash(version), 0
        for page in pages[: (len(tokens) - 1) // self._size]:
            text = self._extended(text, num_pages, tokens)
            if self._texts.get(page) != text:
                break
            num_pages += 1
        return num_pages * self._size

    def read(self, version: str, pages: Sequence[int], tokens: Sequence[int], start: int, stop: int) -> None:
        """Tokens `start` to `stop` of a text were read into its pages, those behind which are there for branches."""
        first = start // self._size
        text = self._texts.get(pages[first - 1]) if first else hash(version)
        for at in range(first, len(pages)):
            self._texts.pop(pages[at], None)
            if text is not None and (at + 1) * self._size <= stop:
                text = self._texts[pages[at]] = self._extended(text, at, tokens)

    def _extended(self, text: int, at: int, tokens: Sequence[int]) -> int:
        return hash((text, *tokens[at * self._size : (at + 1) * self._size]))
