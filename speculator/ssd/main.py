"""The worker's process: `python -m speculator.ssd.main FD`, FD the socket that it is told everything by."""

from __future__ import annotations

import logging
import os
import socket
import sys
import time

import msgspec
import safetensors.torch
import torch

from models.draft import DraftModel
from models.pages import PagePool
from pipelines.wire import Wire, WireClosed
from speculator.draft_runner import DraftRunner
from speculator.ssd.fanout import FanOut
from speculator.ssd.messages import Birth, ToWorker
from speculator.ssd.worker import Worker

_BORN_WITHIN = 60.0


def main(descriptor: int) -> None:
    """Works until it is told to stop, or the engine is gone."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s ssd %(levelname)s %(message)s")
    wire: Wire[ToWorker] = Wire(socket.socket(fileno=descriptor), ToWorker)  # type: ignore[arg-type]
    try:
        messages: list[ToWorker] = []
        until = time.monotonic() + _BORN_WITHIN
        while not messages and (left := until - time.monotonic()) > 0:
            messages = wire.receive(left)  # the weights come in many pieces
        if messages:
            work(messages[0], messages[1:], wire)
    except WireClosed:
        logging.info("the engine is gone")
    except msgspec.DecodeError as error:
        logging.error("the engine said what cannot be understood: %s", error)


def work(birth: ToWorker, more: list[ToWorker], wire: Wire[ToWorker]) -> None:
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
    )
    pool, fan_out = PagePool(birth.num_pages, birth.page_size), FanOut(birth.policy)
    worker = Worker(wire, runner, pool, model, birth.version, fan_out=fan_out, room=birth.room)
    worker.take(more)
    worker.run()


if __name__ == "__main__":
    main(int(sys.argv[1]))
