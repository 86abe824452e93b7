"""The static EAGLE layer: the one that a server starts with, and how one becomes a source of drafts."""

from __future__ import annotations

from models.decoder import Decoder
from models.eagle import EagleLayer, untrained_config
from pipelines.checkpoint import Checkpoint
from speculator.drafts import Law
from speculator.eagle import EagleSpeculator
from speculator.eagle_runner import EagleRunner
from speculator.heads import NUM_CANDIDATES
from speculator.kinds import EAGLE
from speculator.parallel_eagle import ParallelEagleSpeculator
from speculator.redraft import PAGE_SIZE, pages_alone

_DEPTH, _WIDTH = 5, 4
"""Of trees, where there is room for them. A parallel layer reads one place for each depth."""


def served_layer(checkpoint: Checkpoint | None, decoder: Decoder) -> EagleLayer:
    """That of a checkpoint; an untrained one where there is none. Raises BadModel where config and weights do not make one."""
    layer = EagleLayer(checkpoint.manifest.config if checkpoint else untrained_config(decoder.config), decoder)
    if checkpoint is not None:
        layer.copy_weights(checkpoint.weights)
    return layer


def eagle_source(
    layer: EagleLayer,
    *,
    version: str,
    max_tree: int,
    page_size: int = PAGE_SIZE,
    num_pages: int | None = None,
    name: str = EAGLE,
    law: Law = Law.POINT_MASS,
) -> EagleSpeculator:
    """A speculator around a layer. Pages of its own, numbered as the target's are; None: enough for one text at a time."""
    if num_pages is None:
        num_pages = pages_alone(layer.shape.max_positions)
    runner = EagleRunner(layer, page_size=page_size, num_pages=num_pages)
    depth = max(1, min(_DEPTH, 1 + max_tree))
    growth = {"max_tree": max_tree, "depth": depth, "law": law}
    if layer.parallel:
        return ParallelEagleSpeculator(
            runner, layer.layers, name=name, version=version, width=1, siblings=NUM_CANDIDATES, **growth
        )
    width = max(1, min(_WIDTH, max_tree // max(1, depth - 1)))
    return EagleSpeculator(runner, layer.layers, name=name, version=version, width=width, **growth)
