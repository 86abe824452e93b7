"""The worker's process: told everything by the engine that started it, or by one of another host that it dials.

`python -m speculator.ssd.main FD`, FD the socket to that engine; `everdraft draft-worker` for the other.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
import time
from collections.abc import Mapping
from typing import Any

import msgspec
import safetensors.torch
import torch

from models.draft import DraftModel
from models.pages import PagePool
from pipelines.wire import Wire, WireClosed
from speculator.draft_runner import DraftRunner
from speculator.ssd.address import Address
from speculator.ssd.fanout import FanOut
from speculator.ssd.messages import Birth, ToWorker
from speculator.ssd.transport import MOST_TO_WORKER, WorkerLink
from speculator.ssd.worker import Worker

WHOLE_VOCABULARY = 16384
"""Tokens up to which all are looked at: a worker has the time, and half of what nobody foresaw at temperature 0.8 were tokens
that a draft vocabulary of a quarter did not have (outcomes foreseen: 0.67, with all of them 0.83)."""

_BORN_WITHIN = 600.0
"""Seconds for the weights to come."""
_AGAIN = 2.0
"""Seconds between two tries to reach an engine of another host."""


def main(descriptor: int) -> None:
    """Works until it is told to stop, or the engine is gone."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s ssd %(levelname)s %(message)s")
    serve(Wire(socket.socket(fileno=descriptor), ToWorker, most_bytes=MOST_TO_WORKER))  # type: ignore[arg-type]


def elsewhere(address: Address, *, device: str = "", threads: int = 0) -> None:
    """Works for the engine that waits there, then for the next that does, until this process is ended.

    device, threads: of this host; empty and 0: what the engine says.
    """
    here: dict[str, Any] = {"cores": ()}  # the engine's cores are another host's
    here |= {"device": device} if device else {}
    here |= {"threads": threads} if threads else {}
    said = ""
    while True:
        try:
            wire = _dialled(address)
        except ConnectionError as error:
            if str(error) != said:  # once, and not every two seconds
                logging.warning("%s; it is tried again every %g s", error, _AGAIN)
            said = str(error)
            time.sleep(_AGAIN)
            continue
        said = ""
        logging.info("drafting for the engine at %s", address)
        serve(wire, here)


def _dialled(address: Address) -> WorkerLink:
    from speculator.ssd.gloo import GlooWire  # a worker beside its engine does without torch.distributed
    from speculator.ssd.rendezvous import dial

    return GlooWire(dial(address), ToWorker, most_bytes=MOST_TO_WORKER)  # type: ignore[arg-type]


def serve(wire: WorkerLink, here: Mapping[str, Any] | None = None) -> None:
    """Works until the engine says so or is gone. here: what of its birth is decided here."""
    try:
        messages: list[ToWorker] = []
        until = time.monotonic() + _BORN_WITHIN
        while not messages and (left := until - time.monotonic()) > 0:
            messages = wire.receive(left)  # the weights come in many pieces
        if messages:
            birth = messages[0]
            if isinstance(birth, Birth):
                birth = msgspec.structs.replace(birth, **(here or {}))
            work(birth, messages[1:], wire)
    except WireClosed:
        logging.info("the engine is gone")
    except msgspec.DecodeError as error:
        logging.error("the engine said what cannot be understood: %s", error)
    finally:
        wire.close()


def work(birth: ToWorker, more: list[ToWorker], wire: WorkerLink) -> None:
    """The worker that `birth` describes; `more`: what has come with it."""
    assert isinstance(birth, Birth), "told anything else before its birth"
    if birth.cores:
        os.sched_setaffinity(0, birth.cores)
    torch.set_num_threads(birth.threads)
    torch.set_flush_denormal(True)
    model = DraftModel.from_config(birth.config)
    model.copy_weights(safetensors.torch.load(birth.weights))
    runner = DraftRunner(
        model,
        page_size=birth.page_size,
        num_pages=birth.num_pages,
        device=torch.device(birth.device),
        dtype=torch.bfloat16 if birth.dtype == "bfloat16" else torch.float32,
        vocabulary=WHOLE_VOCABULARY if model.shape.vocab_size <= WHOLE_VOCABULARY else None,
    )
    pool, fan_out = PagePool(birth.num_pages, birth.page_size), FanOut(birth.policy)
    worker = Worker(
        wire,
        runner,
        pool,
        birth.version,
        fan_out=fan_out,
        room=birth.room,
        law=birth.law,
        saguaro=birth.saguaro,
        adaptive=birth.adaptive,
    )
    worker.take(more)
    worker.run()


if __name__ == "__main__":
    main(int(sys.argv[1]))
