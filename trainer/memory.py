"""Memory: gathers what the parts know into one file, and hands it back to them in a later life."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import torch
from torch import Tensor

from models.errors import ModelError
from trainer.pools import Pools
from trainer.state import Record, StateFile
from trainer.trade import Trade

log = logging.getLogger(__name__)

_MASS, _GENERATOR = "shortlist", "generator"


class Memory:
    """record: shared with the parts, which keep it current."""

    def __init__(self, file: StateFile, record: Record, trade: Trade, pools: Pools, generator: torch.Generator) -> None:
        self._file = file
        self._record = record
        self._trade = trade
        self._pools = pools
        self._generator = generator

    def save(self) -> None:
        """Writes everything. Between two steps: gradients are not kept. Raises OSError."""
        self._pools.fill(self._record)
        distiller = self._trade.distiller
        tensors = distiller.tensors()
        tensors[_MASS] = distiller.shortlist.mass
        tensors[_GENERATOR] = self._generator.get_state()
        self._file.save(self._record, tensors)

    def recall(self, tensors: Mapping[str, Tensor]) -> None:
        """Hands back what was saved. Weights that make no model any more are left out, and looked up anew."""
        progress, distiller = self._record.progress, self._trade.distiller
        distiller.num_steps, distiller.num_skipped = progress.num_steps, progress.num_skipped
        try:
            self._trade.begin(progress.config)
            distiller.resume(tensors, progress.age)
            distiller.shortlist.mass.copy_(tensors[_MASS])
            self._generator.set_state(tensors[_GENERATOR])
        except (ModelError, KeyError, RuntimeError) as error:
            log.error("saved weights do not fit (%s): training starts again from the champion", error)
            progress.generation = -1
