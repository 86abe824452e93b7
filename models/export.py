"""Export: weights as a folder that any reader of Hugging Face checkpoints takes for a causal language model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

from models.config import SUPPORTED, DecoderConfig
from models.draft import check_draft_weights
from models.errors import BadModel
from models.fields import Fields

_TOKENIZER = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "generation_config.json",
    "tokenizer.model",
    "vocab.json",
    "merges.txt",
)
_SPECIAL = ("bos_token_id", "eos_token_id", "pad_token_id")


def exported(config: Mapping[str, int | float | str | bool], weights: Mapping[str, Tensor], target: Path) -> dict[str, bytes]:
    """The files of the folder by name. target: the folder of the model that it drafts for, whose tokenizer it shares.

    Raises BadModel where config and weights do not fit each other, or the target's files cannot be read.
    """
    check_draft_weights(weights, DecoderConfig.from_hf(config))
    (dtype,) = {str(tensor.dtype).removeprefix("torch.") for tensor in weights.values()}
    special = {name: value for name, value in Fields.read(target / "config.json").values.items() if name in _SPECIAL}
    values: dict[str, Any] = {
        "architectures": [SUPPORTED[str(config["model_type"])]],
        **config,
        **special,
        "hidden_act": "silu",
        "torch_dtype": dtype,  # older readers know no other name
    }
    return {"config.json": (json.dumps(values, indent=2) + "\n").encode(), **_files(weights, target)}


def retrained(weights: Mapping[str, Tensor], origin: Path) -> dict[str, bytes]:
    """The files of a folder with other weights for the model of the folder `origin`. Raises BadModel as `exported` does."""
    return {"config.json": (origin / "config.json").read_bytes(), **_files(weights, origin)}


def _files(weights: Mapping[str, Tensor], target: Path) -> dict[str, bytes]:
    """Weights, and the target's tokenizer."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    files = {name: (target / name).read_bytes() for name in _TOKENIZER if (target / name).exists()}
    if not files.keys() & {"tokenizer.json", "tokenizer.model", "vocab.json"}:
        raise BadModel(f"{target}: holds no tokenizer")
    return {"model.safetensors": safetensors.torch.save(tensors, {"format": "pt"}), **files}
