"""`everdraft train`: the trainer in this process, until a signal."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from dataclasses import replace

from cli.config import Configuration
from cli.errors import Exit, UsageError
from trainer.main import run

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def train(config: Configuration) -> None:
    """Trains until SIGINT or SIGTERM, then saves what was learnt; a second signal ends it without.

    Raises UsageError where no traffic log is kept, and what `trainer.main.run` raises.
    """
    if config.traffic_url is None:
        raise UsageError("traffic.url is off: there is nothing to learn from")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s trainer %(levelname)s %(message)s")
    # stable across restarts, so that a restarted trainer does not show as a second one; one of each kind may run on a machine
    name = f"{socket.gethostname()}:{config.trainer.kind}:{config.trainer.scope}"
    run(replace(config.trainer, name=name), _set_by_signals())


def _set_by_signals() -> threading.Event:
    """Set by the first signal. A thread waits for it: a handler in the main thread, which may just hold the event's
    own lock, could wait for itself."""
    stop = threading.Event()
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)

    def wait() -> None:
        signal.sigwait(_SIGNALS)
        stop.set()
        signal.sigwait(_SIGNALS)
        os._exit(Exit.INTERRUPTED)

    threading.Thread(target=wait, name="signals", daemon=True).start()
    return stop
