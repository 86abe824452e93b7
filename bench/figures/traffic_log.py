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
from pipelines.traffic_log import open_reader

LOG = Goal(name="log", title="throughput with the traffic log on, against off", at_least=0.97, aim=0.995)
GOALS = (LOG,)


def measure(bench: Bench, trainer: Trainer) -> Iterator[Measure]:
    """Raises BenchError."""
    sizes, num_sent = bench.sizes, 0
    with ExitStack() as stack:
        logging = Server(bench.stack, {}, "logging")
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
    _check_logged(logging, num_sent)


def _check_logged(server: Server, num_sent: int) -> None:
    """Once it has stopped, everything is durable. Raises BenchError if the log that was paid for is not there."""
    reader = open_reader(f"sqlite:///{server.data / 'traffic.db'}")
    try:
        num_logged = len(reader.read({}, 2 * num_sent))
    finally:
        reader.close()
    if num_logged != num_sent:
        raise BenchError(f"the log holds {num_logged} traces, expected the {num_sent} requests sent")
