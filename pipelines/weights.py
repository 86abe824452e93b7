"""Weights as bytes: safetensors in, safetensors out, and nothing that is not a finite number."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from pipelines.checkpoint import Manifest
from pipelines.errors import CorruptCheckpoint


def encode_weights(tensors: Mapping[str, Tensor]) -> bytes:
    """The tensors as a safetensors file. Raises CorruptCheckpoint, naming the tensor, for nan and inf."""
    # copies, because safetensors refuses tensors that share memory
    copies = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}
    _expect_finite(copies, "weights")
    return safetensors.torch.save(copies)


def decode_weights(data: bytes, manifest: Manifest) -> dict[str, Tensor]:
    """The tensors that the manifest describes, on the CPU.

    Raises CorruptCheckpoint for any other bytes, and for weights that are not finite.
    """
    source = f"weights of version {manifest.version}"
    sha256 = hashlib.sha256(data).hexdigest()
    if sha256 != manifest.weights_sha256:
        raise CorruptCheckpoint(f"{source}: sha256 is {sha256}, expected {manifest.weights_sha256}")
    try:
        weights: dict[str, Tensor] = safetensors.torch.load(data)
    except (safetensors.SafetensorError, ArithmeticError, LookupError, RuntimeError, ValueError) as error:
        raise CorruptCheckpoint(f"{source}: not a safetensors file: {error}") from error
    if (count := num_parameters(weights)) != manifest.num_parameters:
        raise CorruptCheckpoint(f"{source}: {count} parameters, expected {manifest.num_parameters}")
    _expect_finite(weights, source)
    return weights


def num_parameters(tensors: Mapping[str, Tensor]) -> int:
    """Numbers in all tensors together."""
    return sum(tensor.numel() for tensor in tensors.values())


def _expect_finite(tensors: Mapping[str, Tensor], source: str) -> None:
    for name, tensor in tensors.items():
        # torch cannot ask eight-bit floats whether they are finite
        eight_bit = tensor.is_floating_point() and tensor.element_size() == 1
        bad = int((~torch.isfinite(tensor.float() if eight_bit else tensor)).sum())
        if bad:
            raise CorruptCheckpoint(f"{source}: {name} holds {bad} values that are not finite")
