"""`everdraft replay`: what sources of drafts are worth on prompts or recorded traffic, without a server."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import msgspec

from cli.answer_files import text_of
from cli.answers import Text
from cli.config import Configuration
from cli.demo.looping import is_looping
from cli.errors import NotThere, UsageError
from cli.lesson import Lesson, texts_of
from cli.redraft import redrafted
from cli.show import as_json, table
from cli.sources import present, source_named
from cli.target import loaded_target
from models.loading import Target
from pipelines.trace import Trace
from pipelines.traffic_log import Position, advance, open_reader
from speculator.simulate import Simulated

EVERYTHING = "everything"
NO_LOOPS = "no loops"
_DEPTHS = 6
_PAGE = 1000


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One source on the texts of one domain."""

    source: str
    version: str
    domain: str
    """`everything`: all of them; `no loops`: those that do not loop, which flatter a draft."""
    num_texts: int
    num_tokens: int
    num_steps: int
    tokens_per_step: float
    """Mean acceptance length, the bonus token included."""
    proposed: tuple[int, ...]
    """Nodes by depth, from 1; so are those `reached` (their parent was accepted) and `accepted`."""
    reached: tuple[int, ...]
    accepted: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Texts:
    """Which texts to replay. What a log holds of lossy answers is left out: their texts are not the target's own."""

    files: tuple[Path, ...]
    """Of prompts, which the target answers, or of its answers; empty: what the traffic log holds."""
    tenant: str | None
    """Only this tenant's, of the log; None: everyone's."""
    limit: int
    """At most so many, from a log the newest."""
    temperature: float
    """Of the answers to prompts."""


def replay(config: Configuration, *, names: Sequence[str] | None, texts: Texts, num_nodes: int | None, as_data: bool) -> None:
    """Prints how far each source gets by domain and depth.

    names: of sources; None: those that are `present`.
    num_nodes: drafted a step; None: as many as the gate judges candidates at.

    Raises NotThere for texts or sources that are not there, UsageError, PipelineError and ModelError.
    """
    if texts.files and texts.tenant is not None:
        raise UsageError(f"--tenant is {texts.tenant}; expected none with files, since it chooses among a log's traces")
    target = loaded_target(config)
    num_nodes = num_nodes or config.trainer.budget
    sources = {name: source_named(name, config, target, num_nodes) for name in names or present(config, target)}
    found = list(_answered(config, target, texts) if texts.files else _recorded(config, target, texts))
    if not found:
        where = "the files" if texts.files else config.traffic.url
        raise NotThere(f"{where}: no text of this target's to replay")
    rows: list[Row] = []
    for name, source in sources.items():
        replayed = list(redrafted(source, target.decoder, found, num_nodes))
        rows += _rows(name, source.version, replayed)
    print(as_json(rows) if as_data else _table(rows))


def _answered(config: Configuration, target: Target, texts: Texts) -> Iterator[Text]:
    lesson = Lesson(files=texts.files, limit=texts.limit, temperature=texts.temperature, seed=0, for_all=False)
    return texts_of(config, target, lesson, texts.limit)


def _recorded(config: Configuration, target: Target, texts: Texts) -> list[Text]:
    if config.traffic_url is None:
        raise UsageError("traffic.url is off: no log is kept; expected files of prompts to replay")
    newest: deque[Text] = deque(maxlen=texts.limit)
    for trace in _traces(config.traffic_url):
        ours = trace.target == target.fingerprint and trace.sampling.lossy is None
        if ours and texts.tenant in (None, trace.tenant):
            newest.append(text_of(trace))
    return list(newest)


def _traces(url: str) -> Iterator[Trace]:
    with closing(open_reader(url)) as reader:
        position: Position = {}
        while page := reader.read(position, _PAGE):
            for logged in page:
                advance(position, logged.place)
                yield logged.trace


def _rows(name: str, version: str, replayed: Sequence[tuple[Text, Simulated]]) -> Iterator[Row]:
    domains = sorted({text.domain for text, _ in replayed})
    if len(domains) > 1:
        for domain in domains:
            yield _row(name, version, domain, [each for text, each in replayed if text.domain == domain])
    yield _row(name, version, EVERYTHING, [each for _, each in replayed])
    steady = [each for text, each in replayed if not is_looping(text.output_ids)]
    if len(steady) < len(replayed):
        yield _row(name, version, NO_LOOPS, steady)


def _row(name: str, version: str, domain: str, replayed: Iterable[Simulated]) -> Row:
    each = list(replayed)
    total = sum(each, Simulated())
    return Row(
        source=name,
        version=version,
        domain=domain,
        num_texts=len(each),
        num_tokens=total.num_tokens,
        num_steps=total.num_steps,
        tokens_per_step=total.tokens_per_step,
        proposed=total.proposed,
        reached=total.reached,
        accepted=total.accepted,
    )


def _table(rows: Sequence[Row]) -> str:
    depths = min(_DEPTHS, max(len(row.accepted) for row in rows))
    head = ("source", "domain", "texts", "tokens", "steps", "tokens/step", *(f"depth {d + 1}" for d in range(depths)))
    shares = "Under a depth: the share of steps in which a draft was accepted so far."
    return table(head, [_line(row, depths) for row in rows]) + f"\n\n{shares}"


def _line(row: Row, depths: int) -> tuple[str, ...]:
    counts = [*row.accepted, *[0] * depths][:depths]
    shares = [f"{count / row.num_steps:.0%}" if row.num_steps else "-" for count in counts]
    numbers = (str(row.num_texts), str(row.num_tokens), str(row.num_steps), f"{row.tokens_per_step:.3f}")
    return (row.source, row.domain, *numbers, *shares)
