"""All layers of a decoder in one call, for float32 on a CPU; elsewhere they are run one by one (`models.decoder`)."""

from __future__ import annotations

from collections.abc import Sequence

from kernels.attention.cpu import MOST_DIM
from kernels.layers.cpu import LayerWeights, PackedLayers
from kernels.native import runs_natively


def pack_layers(layers: Sequence[LayerWeights], num_heads: int, num_kv_heads: int, eps: float) -> PackedLayers | None:
    """What `PackedLayers.run` needs of the layers; None where they have to be run one by one."""
    if not layers or not runs_natively(layers[0].input_norm):
        return None
    packed = PackedLayers(layers, num_heads, num_kv_heads, eps)
    return packed if packed.dim <= MOST_DIM else None


__all__ = ["LayerWeights", "PackedLayers", "pack_layers"]
