"""Memory: gathers what the parts know into one file, and hands it back to them in a later life."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import torch
from torch import Tensor

from models.errors import BadModel
from models.heads import MedusaHeads
from trainer.distil import Distiller
from trainer.pools import Pools
from trainer.state import Record, StateFile

log = logging.getLogger(__name__)

_MASS, _GENERATOR = "shortlist", "generator"


class Memory:
    """record: shared with the parts, which keep it current."""

    def __init__(self, file: StateFile, record: Record, distiller: Distiller, pools: Pools, generator: torch.Generator) -> None:
        self._file = file
        self._record = record
        self._distiller = distiller
        self._pools = pools
        self._generator = generator

    def save(self) -> None:
        """Writes everything. Between two steps: gradients are not kept. Raises OSError."""
        self._pools.fill(self._record)
        tensors = self._distiller.tensors()
        tensors[_MASS] = self._distiller.shortlist.mass
        tensors[_GENERATOR] = self._generator.get_state()
        self._file.save(self._record, tensors)

    def recall(self, tensors: Mapping[str, Tensor]) -> None:
        """Hands back what was saved. Weights that make no heads any more are left out, and looked up anew."""
        progress, distiller = self._record.progress, self._distiller
        distiller.num_steps, distiller.num_skipped = progress.num_steps, progress.num_skipped
        try:
            heads = MedusaHeads.from_config(progress.config).to(next(distiller.heads.parameters()).device)
            distiller.restart(heads)
            distiller.resume(tensors, progress.age)
            distiller.shortlist.mass.copy_(tensors[_MASS])
            self._generator.set_state(tensors[_GENERATOR])
        except (BadModel, KeyError, RuntimeError) as error:
            log.error("saved weights do not fit (%s): training starts again from the champion", error)
            progress.generation = -1
