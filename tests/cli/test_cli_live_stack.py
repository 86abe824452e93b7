"""The demo's stack for real: two processes, the bundled target and its heads."""

from __future__ import annotations

import asyncio
import itertools
import sys
from pathlib import Path

import msgspec
import pytest
from openai import AsyncOpenAI

from cli.config import load
from cli.demo.claims import compare
from cli.demo.prompts import prompts
from cli.demo.traffic import Exchange, Sampling, Traffic
from cli.errors import CliError
from cli.live.metrics import Metrics
from cli.live.stack import LiveStack

ROOT = Path(__file__).parents[2]


async def send(stack: LiveStack, count: int) -> list[Exchange]:
    exchanges: list[Exchange] = []
    async with AsyncOpenAI(base_url=stack.base_url, api_key=stack.api_key, max_retries=0) as client:
        traffic = Traffic(client, stack.model)
        some = (msgspec.structs.replace(prompt, max_tokens=16) for prompt in prompts("sql", 0, "traffic"))
        await traffic.send(itertools.islice(some, count), Sampling(0.8, 7), 2, exchanges.append)
    return exchanges


@pytest.mark.slow
def test_a_stack_serves_shows_checks_and_ends(tmp_path: Path) -> None:
    flags = {"data": str(tmp_path / "data"), "port": "0", "engine_threads": "1"}
    words = [f"--{name.replace('_', '-')}={text}" for name, text in flags.items()]
    logs = tmp_path / "logs"
    command = (sys.executable, str(ROOT / "everdraft.py"))
    with LiveStack(load(flags, {}), lambda verb: (*command, verb, *words), logs) as stack:
        exchanges = asyncio.run(send(stack, 4))
        assert [exchange.error for exchange in exchanges] == [None] * 4
        status = stack.status()
        assert status.num_tokens == sum(len(exchange.output_ids) for exchange in exchanges)
        assert status.version == stack.versions()[0].version
        assert status.training_state != "stopped"

        exchange = exchanges[0]
        assert compare(exchange.output_ids, stack.plain(exchange)) == "identical"
        altered = msgspec.structs.replace(exchange, output_ids=(*exchange.output_ids[:-1], 0))
        plain = stack.plain(altered)
        assert plain.ids == exchange.output_ids
        assert len(plain.gaps) == len(plain.ids)
        assert min(plain.gaps) >= 0

        steps = stack.replay(exchanges)
        assert all(each.static == each.adaptive for each in steps), "the same heads: nothing was published"
        assert all(0 < each.static <= e.num_stepped for each, e in zip(steps, exchanges, strict=True) if e.num_stepped)

        stack.stop_training()
        assert stack.status().training_state == "stopped"
        server = stack.base_url.removesuffix("/v1")
    assert "Finished server process" in (logs / "serve.log").read_text()
    with pytest.raises(CliError, match="does not answer"):
        Metrics.read(server)


@pytest.mark.slow
def test_a_server_that_cannot_start_is_an_error_with_its_words(tmp_path: Path) -> None:
    flags = {"data": str(tmp_path / "data"), "port": "0"}
    command = (sys.executable, "-c", "raise SystemExit('no room left')")
    with pytest.raises(CliError, match="no room left"), LiveStack(load(flags, {}), lambda verb: command, tmp_path / "logs"):
        pass
