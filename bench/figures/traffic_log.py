"""Throughput with the traffic log on against off: two servers over HTTP, as users have them, in turns, 16 requests at once.

The log is written by the HTTP side; engine, server and clients share the machine's cores, so whatever the log costs is missing
elsewhere. A trainer would work whenever the server that it reads from rests, which is during the other's turn: none runs here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

from bench.context import Bench
from bench.errors import BenchError
from bench.http_side import Server
from bench.pairs import interleave
from bench.results import Goal, Measure, Trainer
from bench.sizes import LEARNT, TEMPERATURES
from bench.speed import speed_measures
from pipelines.traffic_log import Position, advance, open_reader

LOG = Goal(name="log", title="throughput with the traffic log on, against off", at_least=0.97, aim=0.995)
GOALS = (LOG,)


def measure(bench: Bench, trainer: Trainer) -> Iterator[Measure]:
    """Raises BenchError."""
    sizes, num_sent = bench.sizes, 0
    with ExitStack() as stack:
        num_before = _num_logged(bench.log) if bench.log else 0
        logging = Server(bench.stack, {"traffic": bench.log} if bench.log else {}, "logging")
        stack.callback(logging.stop)
        silent = Server(bench.stack, {"traffic": "off"}, "silent")
        stack.callback(silent.stop)
        for temperature in TEMPERATURES:
            batches = bench.batches(sizes.log_pairs, sizes.log_each, LEARNT, temperature)
            num_sent += sum(map(len, batches))
            pairs = interleave(
                batches[0],
                batches[1:],
                lambda asks: logging.run(asks, sizes.crowd),
                lambda asks: silent.run(asks, sizes.crowd),
                bench.judge,
            )
            yield from speed_measures(
                LOG, "log on against off", pairs, temperature=temperature, domain="+".join(LEARNT), concurrency=sizes.crowd
            )
    num_logged = _num_logged(bench.log or f"sqlite:///{logging.data / 'traffic.db'}") - num_before
    if num_logged != num_sent:  # once the server has stopped, everything is durable
        raise BenchError(f"the log holds {num_logged} traces, expected the {num_sent} requests sent")


def _num_logged(url: str) -> int:
    """Traces in a log, the broker's own word for it."""
    reader = open_reader(url)
    position: Position = {}
    try:
        while page := reader.read(position, 1000):
            for logged in page:
                advance(position, logged.place)
        return sum(position.values())
    finally:
        reader.close()
