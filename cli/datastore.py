"""`everdraft datastore build`: texts to draft from, sorted once (`speculator/datastore.py`)."""

from __future__ import annotations

import gzip
import time
import zlib
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path

import msgspec

from cli.config import Configuration
from cli.demo.prompts import Message
from cli.errors import NotThere, UsageError
from models.errors import ModelError
from models.tokenizer import Tokenizer
from models.tokenizer_files import load_tokenizer
from pipelines.trace import Trace
from pipelines.traffic_log import Position, advance, open_reader
from speculator.datastore import EVERYONE, build

_PROMPT_TAIL = 16
"""Tokens of a prompt that an answer keeps before it: what its first tokens are found by."""
_PAGE = 1000
_EXPECTED = '{"text": "…"}, {"messages": [{"role": "…", "content": "…"}, …]} or a trace as `everdraft tenant export` writes it'


class _Line(msgspec.Struct):
    text: str | None = None
    messages: list[Message] | None = None
    trace_id: str | None = None


def build_datastore(config: Configuration, sources: Sequence[str], out: Path, *, max_tokens: int) -> None:
    """Writes a version of what `sources` hold: traffic logs by URL, files of JSON lines.

    Texts of files are everyone's, and so is what `everdraft answers` wrote; other traces are their tenant's alone. max_tokens: of
    a scope; the newest stay.
    Raises UsageError for a line that is none, NotThere where nothing was found, LogUnavailable, ModelError.
    """
    tokenizer = load_tokenizer(config.target.path, revision=config.target.revision)
    scopes: defaultdict[str, _Newest] = defaultdict(lambda: _Newest(max_tokens))
    for source in sources:
        texts = _logged(source, tokenizer.fingerprint) if ":" in source.partition("/")[0] else _lines(Path(source), tokenizer)
        for scope, text in texts:
            scopes[scope].add(text)
    if not scopes:
        raise NotThere(f"{', '.join(sources)}: no text of this target's tokenizer")
    manifest = build(out, {name: newest.texts for name, newest in scopes.items()}, tokenizer.fingerprint)
    for written in manifest.scopes:
        print(f"{written.name or 'everyone'}: {written.num_tokens} tokens")
    print(f"datastore {manifest.version} written to {out}")


class _Newest:
    """The newest texts of a scope, of so many tokens at most."""

    def __init__(self, max_tokens: int) -> None:
        self.texts: deque[list[int]] = deque()
        self._left = max_tokens

    def add(self, text: list[int]) -> None:
        self.texts.append(text)
        self._left -= len(text)
        while self._left < 0 and len(self.texts) > 1:
            self._left += len(self.texts.popleft())


def _logged(url: str, tokenizer: str) -> Iterator[tuple[str, list[int]]]:
    """Texts of a traffic log, by tenant. Who opted out is not in it."""
    with closing(open_reader(url)) as reader:
        position: Position = {}
        while page := reader.read(position, _PAGE):
            for logged in page:
                advance(position, logged.place)
                if logged.trace.tokenizer == tokenizer:
                    yield _of_trace(logged.trace)


def _of_trace(trace: Trace) -> tuple[str, list[int]]:
    """The scope is the tenant's; that of no tenant is everyone's."""
    return trace.tenant, [*trace.prompt_ids[-_PROMPT_TAIL:], *trace.output_ids]


def _lines(file: Path, tokenizer: Tokenizer) -> Iterator[tuple[str, list[int]]]:
    try:
        with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as stream:
            for number, line in enumerate(stream, start=1):
                if not line.isspace():
                    yield from _of_line(line, f"{file}, line {number}", tokenizer)
    except (OSError, EOFError, zlib.error) as error:
        raise UsageError(f"{file}: cannot be read ({error}); expected the URL of a log, or JSON lines of {_EXPECTED}") from error


def _of_line(line: bytes, where: str, tokenizer: Tokenizer) -> Iterator[tuple[str, list[int]]]:
    try:
        parsed = msgspec.json.decode(line, type=_Line)
        if parsed.trace_id is not None:
            trace = msgspec.json.decode(line, type=Trace)
            if trace.tokenizer == tokenizer.fingerprint and (trace.expires_at is None or trace.expires_at > time.time()):
                yield _of_trace(trace)
            return
        text = _tokens(parsed, tokenizer)
    except (msgspec.MsgspecError, UnicodeDecodeError, ValueError, ModelError) as error:
        raise UsageError(f"{where}: {error}; expected {_EXPECTED}") from error
    if text is None:
        raise UsageError(f"{where}: expected {_EXPECTED}")
    yield EVERYONE, text


def _tokens(line: _Line, tokenizer: Tokenizer) -> list[int] | None:
    """Of a text; of a conversation as a request with it as prompt would have, and its last answer as the target would say it."""
    if line.text is not None:
        return tokenizer.encode(line.text, add_special_tokens=False)
    if not line.messages:
        return None
    *before, last = line.messages
    if last.role != "assistant":
        return tokenizer.apply_chat_template(_turns(line.messages))
    return [*tokenizer.apply_chat_template(_turns(before)), *tokenizer.encode(last.content, add_special_tokens=False)]


def _turns(messages: Sequence[Message]) -> list[Mapping[str, str]]:
    return [{"role": message.role, "content": message.content} for message in messages]
