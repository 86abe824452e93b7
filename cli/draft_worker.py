"""`everdraft draft-worker`: a draft model on this host, beside the target of another."""

from __future__ import annotations

import logging

from speculator.ssd.address import Address
from speculator.ssd.main import elsewhere


def draft_worker(address: Address, *, device: str, threads: int) -> None:
    """Drafts for whatever engine waits at `address`, until it is interrupted."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s draft-worker %(levelname)s %(message)s")
    elsewhere(address, device=device, threads=threads)
