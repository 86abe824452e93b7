"""`run_demo`: traffic against a running stack, the claims, the report."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import TextIO

from cli.demo.checks import check, draft_again, to_check
from cli.demo.claims import heads_gain, identical_output, no_failure, swapped
from cli.demo.figures import Figures, Settings, VersionRow
from cli.demo.gains import gain
from cli.demo.options import DemoOptions
from cli.demo.progress import Progress
from cli.demo.report import write_report
from cli.demo.rows import heads_rows, traffic_rows, version_rows
from cli.demo.schedule import Schedule
from cli.demo.stack import Stack
from cli.demo.supply import Supply
from cli.demo.traffic import Exchange


def run_demo(stack: Stack, supply: Supply, options: DemoOptions, stream: TextIO) -> int:
    """Runs the schedule against `stack`, proves the claims, writes the report; shows all of it on `stream`.

    Returns the exit status: 0 when every claim holds, else 1. Raises what the stack raises when it is gone.
    """
    progress = Progress(stream)
    figures = _figures(stack, supply, options, progress)
    page, data = write_report(figures, options.folder)
    progress.note("")
    for claim in figures.claims:
        progress.note(f"  {'holds' if claim.held else 'FAILS'}  {claim.name}\n         {claim.detail}")
    progress.note(f"\nReport   {page}\nFigures  {data}")
    return 0 if figures.held else 1


def _figures(stack: Stack, supply: Supply, options: DemoOptions, progress: Progress) -> Figures:
    started_at = datetime.now().strftime("%Y-%m-%d %H:%M")
    schedule = Schedule(stack, supply, options, progress)
    asyncio.run(schedule.run())
    recorder, fresh = schedule.recorder, _answered(schedule.evaluated)
    progress.note("Static and adaptive heads draft again for the fresh answers …")
    pairs = draft_again(stack, fresh)
    last = [p for p in pairs if p.domain in supply.phases[-1] and p.temperature == options.temperature]
    progress.note("Plain decoding writes a sample of the answers again …")
    sample = to_check(_answered(recorder.exchanges), fresh, options.num_checked)
    verdicts = check(stack, sample, options.checking_seconds)
    versions = version_rows(stack.versions(), recorder.in_service_at)
    return Figures(
        settings=Settings(
            started_at=started_at,
            seconds=schedule.seconds,
            prompts=_provenance(supply, schedule.num_too_long),
            seed=options.seed,
            temperature=options.temperature,
            concurrency=options.concurrency,
            about=stack.about,
        ),
        claims=(
            identical_output(verdicts),
            no_failure([*recorder.exchanges, *schedule.evaluated]),
            swapped(recorder.num_swaps, _gate_bounds(versions)),
            heads_gain(last),
        ),
        num_requests=recorder.num_requests,
        num_tokens=recorder.num_tokens,
        tokens_per_second=recorder.tokens_per_second,
        worst_window=recorder.worst_window(),
        gain=gain([pair for pair in last if not pair.looping]),
        points=tuple(recorder.points()),
        marks=tuple(recorder.marks),
        heads=heads_rows(pairs, fresh, supply.domains),
        traffic=traffic_rows(recorder.phases),
        versions=versions,
    )


def _answered(exchanges: Sequence[Exchange]) -> list[Exchange]:
    return [exchange for exchange in exchanges if exchange.error is None]


def _gate_bounds(rows: Sequence[VersionRow]) -> list[float]:
    """The gate's lower bound for each version that was in service, the one at the start excepted."""
    bounds = (row.version.gain_lower for row in rows if row.in_service_at is not None and row.version.published)
    return [bound for bound in bounds if bound is not None]


def _provenance(supply: Supply, num_too_long: int) -> str:
    left_out = f"; {num_too_long} left out as too long for the model" if num_too_long else ""
    return supply.words + left_out
