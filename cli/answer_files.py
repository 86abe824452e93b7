"""Answers in files: one trace a line, as `everdraft answers` and `everdraft tenant export` write them."""

from __future__ import annotations

import gzip
import hashlib
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from cli.answers import Text
from cli.demo.prompt_files import json_lines
from cli.errors import UsageError
from models.loading import Target
from pipelines.trace import Trace
from speculator.datastore import EVERYONE
from speculator.records import record_of, sampling_of

_EXPECTED = "a trace as `everdraft answers` writes it"


class _Line(msgspec.Struct):
    trace_id: str | None = None


def holds_answers(file: Path) -> bool:
    """Whether a file holds traces, going by its first line. Raises UsageError where it cannot be read twice."""
    if file.exists() and not file.is_file():
        raise UsageError(f"{file}: is no ordinary file; expected one, since it is read twice")
    first = next((line for line in json_lines(file) if not line.isspace()), b"{}")
    try:
        return msgspec.json.decode(first, type=_Line).trace_id is not None
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return False


def read_answers(file: Path, target: Target) -> Iterator[Trace]:
    """All but lossy ones, which are not the target's own. Raises UsageError for a line that is no trace, or a trace of another
    target, which says other things."""
    for number, line in enumerate(json_lines(file), start=1):
        if not line.isspace():
            trace = _trace(line, f"{file}, line {number}", target)
            if trace.sampling.lossy is None:
                yield trace


def _trace(line: bytes, where: str, target: Target) -> Trace:
    try:
        trace = msgspec.json.decode(line, type=Trace)
    except (msgspec.MsgspecError, UnicodeDecodeError, ValueError) as error:
        raise UsageError(f"{where}: {error}; expected {_EXPECTED}") from error
    if trace.target != target.fingerprint:
        raise UsageError(f"{where}: target is {trace.target}; expected {target.fingerprint}, the target in use")
    return trace


def text_of(trace: Trace) -> Text:
    return Text(
        trace.domain or "unnamed",
        trace.tenant or "default",
        trace.prompt_ids + trace.output_ids,
        len(trace.prompt_ids),
        sampling_of(trace.sampling),
        trace.conversation,
        trace.finish_reason,
    )


def write_answers(file: Path, texts: Iterable[Text], target: Target) -> None:
    """Writes as they come, and under the name that was asked for when all are there; gzipped if named .gz. Raises OSError."""
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f".{file.name}.partial")
    try:
        with gzip.open(partial, "wb") if file.suffix == ".gz" else partial.open("wb") as out:
            for text in texts:
                out.write(msgspec.json.encode(_trace_of(text, target)) + b"\n")
        os.rename(partial, file)
    finally:
        partial.unlink(missing_ok=True)


def _trace_of(text: Text, target: Target) -> Trace:
    """Of what was said to nobody: no tenant's alone."""
    now, sampling = time.time(), record_of(text.sampling)
    name = hashlib.blake2b(msgspec.json.encode((target.fingerprint, text.tokens, sampling)), digest_size=12).hexdigest()
    return Trace(
        trace_id=f"answer-{name}",
        tenant=EVERYONE,
        conversation=text.conversation,
        started_at=now,
        finished_at=now,
        target=target.fingerprint,
        tokenizer=target.tokenizer.fingerprint,
        prompt_ids=text.prompt_ids,
        output_ids=text.output_ids,
        finish_reason=text.finish_reason,
        sampling=sampling,
        domain=text.domain,
    )
