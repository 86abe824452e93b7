"""Loading a target: config, weights and tokenizer of a Hugging Face checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from kernels.linear_int8 import MOST_INPUTS
from models.config import DecoderConfig
from models.decoder import Decoder
from models.errors import BadModel, UnsupportedModel
from models.fields import Fields
from models.source import bundled_target, locate, target_name
from models.tokenizer import Tokenizer
from models.tokenizer_files import load_tokenizer
from models.weights import fingerprint, in_int8, read_weights

__all__ = ["Dtype", "Target", "bundled_target", "load_target", "load_tokenizer", "target_name"]

Dtype = Literal["float32", "bfloat16", "int8", "auto"]
"""`int8`: weights rounded to 8 bits for products with them, all else float32."""


@dataclass(frozen=True, slots=True)
class Target:
    """The model that is served, ready to run."""

    name: str
    decoder: Decoder
    tokenizer: Tokenizer
    fingerprint: str
    """Of the weights in use: `stored`, or another in int8, where they are other weights."""
    stored: str
    """Hash of the config and of the weights as stored, whatever the dtype they run in. Drafts that were made for them suit
    them in int8 as well."""

    @property
    def config(self) -> DecoderConfig:
        return self.decoder.config

    @property
    def eos_ids(self) -> frozenset[int]:
        """Tokens that end an answer."""
        return self.tokenizer.eos_ids


def load_target(
    path_or_id: str, *, revision: str | None = None, dtype: Dtype = "auto", device: str = "cpu"
) -> Target:
    """The target in a local folder or at a hub id (`revision`: see `models.source.locate`).

    dtype: `auto` is float32 on a CPU, where it is the faster of the two, else bfloat16 unless the checkpoint
    is stored in float32.
    Raises UnsupportedModel for what the decoder does not cover, BadModel for what is missing or damaged.
    """
    if dtype == "int8" and device.partition(":")[0] != "cpu":
        raise UnsupportedModel(f"dtype is 'int8' and device is {device!r}; expected cpu: int8 runs on a CPU only")
    place = _device(device)
    folder = locate(path_or_id, revision)
    config = DecoderConfig.from_hf(Fields.read(folder / "config.json").values)
    weights = read_weights(folder, config)
    stored = {tensor.dtype for tensor in weights.values()}
    quantised = dtype == "int8"
    if quantised:
        _check_inputs(config)
    decoder = Decoder(config, weights, _resolve(dtype, stored, place), place, quantised=quantised)
    tokenizer = load_tokenizer(str(folder))
    identity = fingerprint(config, weights)
    return Target(target_name(path_or_id), decoder, tokenizer, in_int8(identity) if quantised else identity, identity)


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise BadModel(f"device is {name!r}; expected cpu, cuda or cuda:<number>") from error
    if device.type not in ("cpu", "cuda"):
        raise UnsupportedModel(f"device is {name!r}; supported: cpu, cuda")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise BadModel(f"device is {name!r}; found {torch.cuda.device_count()} CUDA devices")
    return device


def _resolve(dtype: Dtype, stored: set[torch.dtype], device: torch.device) -> torch.dtype:
    if dtype == "auto":
        as_stored = torch.float32 if stored == {torch.float32} else torch.bfloat16
        return torch.float32 if device.type == "cpu" else as_stored
    if dtype not in ("float32", "bfloat16", "int8"):
        raise BadModel(f"dtype is {dtype!r}; expected float32, bfloat16, int8 or auto")
    return torch.bfloat16 if dtype == "bfloat16" else torch.float32


def _check_inputs(config: DecoderConfig) -> None:
    for name in ("hidden_size", "intermediate_size", "query_size"):
        if getattr(config, name) > MOST_INPUTS:
            raise UnsupportedModel(f"{name} is {getattr(config, name)}; expected at most {MOST_INPUTS} in int8")
