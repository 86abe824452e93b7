"""Prompts from files: one JSON object a line with `messages` or `prompt`, plain or gzipped."""

from __future__ import annotations

import gzip
import itertools
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from cli.demo.prompts import Message, Prompt
from cli.errors import UsageError

MAX_TOKENS = 96


class PromptFileError(UsageError):
    """A file of prompts that cannot be used; the message names the file, the line and what was expected."""


class _Line(msgspec.Struct):
    messages: list[Message] | None = None
    prompt: str | None = None
    domain: str | None = None


_EXPECTED = (
    '{"messages": [{"role": "system" | "user" | "assistant", "content": "…"}, …]} or {"prompt": "…"}, '
    'and optionally "domain": "…"'
)
_decoder = msgspec.json.Decoder(_Line)


def read_prompts(files: Sequence[Path], max_tokens: int = MAX_TOKENS, *, whole: bool = False) -> Iterator[Prompt]:
    """The distinct prompts of `files`, in order. A line without a domain gets the file's name.

    A recorded conversation, one that ends with the assistant's answer, is cut before one of its answers, for
    the target to write: a hash of the text chooses which, so that openings, middles and ends all come up.
    whole: before the last.
    Raises PromptFileError.
    """
    seen: set[bytes] = set()
    for file in files:
        found = False
        for number, line in enumerate(json_lines(file), start=1):
            if line.isspace():
                continue
            found = True
            prompt = _prompt(line, f"{file}, line {number}", file.name.split(".")[0], max_tokens, whole)
            if prompt.digest not in seen:
                seen.add(prompt.digest)
                yield prompt
        if not found:
            raise PromptFileError(f"{file}: holds no prompt; expected lines of {_EXPECTED}")


def json_lines(file: Path) -> Iterator[bytes]:
    """The lines of a file. Raises PromptFileError where it cannot be read."""
    try:
        with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as stream:
            yield from stream
    except (OSError, EOFError, zlib.error) as error:
        raise PromptFileError(f"{file}: cannot be read ({error}); expected JSON lines, gzipped if named .gz") from error


def _prompt(line: bytes, where: str, domain: str, max_tokens: int, whole: bool) -> Prompt:
    try:
        parsed = _decoder.decode(line)
    except (msgspec.ValidationError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise PromptFileError(f"{where}: {error}; expected {_EXPECTED}") from error
    if (parsed.messages is None) == (parsed.prompt is None):
        raise PromptFileError(f"{where}: expected either `messages` or `prompt`: {_EXPECTED}")
    messages = tuple(parsed.messages or ())
    if parsed.prompt is not None:
        messages = (Message("user", parsed.prompt),)
    messages = _waiting_for_an_answer(messages, whole)
    if not messages or not messages[-1].content.strip():
        raise PromptFileError(f"{where}: expected a turn of the user with some text to answer: {_EXPECTED}")
    return Prompt(parsed.domain or domain, messages, max_tokens)


def _waiting_for_an_answer(messages: tuple[Message, ...], whole: bool) -> tuple[Message, ...]:
    """`messages` up to a user turn; empty when there is none to answer."""
    if messages and messages[-1].role == "user":
        return messages
    answered = [
        turn
        for turn, (asked, answer) in enumerate(itertools.pairwise(messages), start=1)
        if asked.role == "user" and answer.role == "assistant"
    ]
    if not answered:
        return ()
    chosen = -1 if whole else zlib.crc32(msgspec.json.encode(messages)) % len(answered)
    return messages[: answered[chosen]]
