"""A checkpoint's tensors: read from safetensors, and checked against the shapes that the config implies."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from models.config import DecoderConfig
from models.errors import BadModel, UnsupportedModel
from models.fields import Fields

Shape = tuple[int, ...]

_EMBEDDING = "model.embed_tokens.weight"
_HEAD = "lm_head.weight"
_COMPUTED = re.compile(r".*\.rotary_emb\.inv_freq")
"""Buffers that old checkpoints store although they follow from the config."""
_DTYPES = ("F32", "BF16", "F16")


def expected_shapes(config: DecoderConfig) -> dict[str, Shape]:
    """Shape of every tensor of the decoder, [out, in] for matrices, by its Hugging Face name."""
    shapes: dict[str, Shape] = {_EMBEDDING: (config.vocab_size, config.hidden_size)}
    for index in range(config.num_layers):
        for name, shape in _layer_shapes(config):
            shapes[f"model.layers.{index}.{name}"] = shape
    shapes["model.norm.weight"] = (config.hidden_size,)
    if not config.tie_embeddings:
        shapes[_HEAD] = (config.vocab_size, config.hidden_size)
    return shapes


def _layer_shapes(config: DecoderConfig) -> Iterator[tuple[str, Shape]]:
    hidden, inner = config.hidden_size, config.intermediate_size
    products = (
        ("self_attn.q_proj", config.query_size, hidden, config.qkv_bias),
        ("self_attn.k_proj", config.kv_size, hidden, config.qkv_bias),
        ("self_attn.v_proj", config.kv_size, hidden, config.qkv_bias),
        ("self_attn.o_proj", hidden, config.query_size, config.o_bias),
        ("mlp.gate_proj", inner, hidden, config.mlp_bias),
        ("mlp.up_proj", inner, hidden, config.mlp_bias),
        ("mlp.down_proj", hidden, inner, config.mlp_bias),
    )
    for name, rows, columns, bias in products:
        yield f"{name}.weight", (rows, columns)
        if bias:
            yield f"{name}.bias", (rows,)
    for name in ("input_layernorm", "post_attention_layernorm"):
        yield f"{name}.weight", (hidden,)
    if config.qk_norm:
        yield "self_attn.q_norm.weight", (config.head_dim,)
        yield "self_attn.k_norm.weight", (config.head_dim,)


def read_weights(folder: Path, config: DecoderConfig) -> dict[str, Tensor]:
    """Every tensor of the decoder as stored, on the CPU, mapped from the files where the library can.

    Raises BadModel for a file that is missing or damaged and for a tensor that is missing, unexpected,
    mis-shaped or not finite; UnsupportedModel for a dtype other than float32, bfloat16 and float16.
    """
    shapes = expected_shapes(config)
    weights: dict[str, Tensor] = {}
    for path in _files(folder):
        weights.update(_read_file(path, shapes))
    head = weights.pop(_HEAD, None) if config.tie_embeddings else None
    if head is not None and _EMBEDDING in weights and not torch.equal(head, weights[_EMBEDDING]):
        raise BadModel(f"{_HEAD} differs from {_EMBEDDING}, although tie_word_embeddings is true")
    missing = [f"{name} {list(shape)}" for name, shape in shapes.items() if name not in weights]
    if missing:
        raise BadModel(f"{folder}: {missing[0]} is missing, the first of {len(missing)} such tensors")
    return weights


def check_tensors(what: str, weights: Mapping[str, Tensor], expected: Mapping[str, Shape]) -> None:
    """Raises BadModel, naming the tensor, for one that is missing, unexpected, mis-shaped or not finite. what: whose they are."""
    check_shapes(what, weights, expected)
    check_finite(what, weights)


def check_shapes(what: str, weights: Mapping[str, Tensor], expected: Mapping[str, Shape]) -> None:
    """Raises BadModel, naming the tensor, for one that is missing, unexpected or mis-shaped."""
    if weights.keys() != expected.keys():
        wrong = sorted(weights.keys() ^ expected.keys())
        raise BadModel(f"{what}: tensor {wrong[0]} is {'unexpected' if wrong[0] in weights else 'missing'}")
    for name, tensor in weights.items():
        if tuple(tensor.shape) != expected[name]:
            raise BadModel(f"{what}: {name} has shape {list(tensor.shape)}; expected {list(expected[name])}")


def check_finite(what: str, weights: Mapping[str, Tensor]) -> None:
    """Raises BadModel, naming the tensor, for one that holds numbers that are not finite."""
    for name, tensor in weights.items():
        if not torch.isfinite(tensor).all():
            raise BadModel(f"{what}: {name} holds numbers that are not finite")


def fingerprint(config: DecoderConfig, weights: Mapping[str, Tensor]) -> str:
    """sha256 over the config and each tensor's name, dtype, shape and bytes, however they are sharded."""
    digest = hashlib.sha256(json.dumps(dataclasses.asdict(config), sort_keys=True).encode())
    for name, tensor in sorted(weights.items()):
        digest.update(f"\n{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def in_int8(fingerprint: str) -> str:
    """Of the same weights rounded to 8 bits, whose answers are others: traces, judgements and versions of the two are not to be
    mixed up. It names how they are rounded: another way would be another target again."""
    return hashlib.sha256(f"{fingerprint} int8, a scale for each output, rows in 16 bits".encode()).hexdigest()


def _files(folder: Path) -> list[Path]:
    """`model.safetensors`, else the shards that `model.safetensors.index.json` names."""
    whole, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if whole.exists():
        return [whole]
    if not index.exists():
        pickled = sorted(path.name for path in folder.glob("*.bin"))
        hint = f"; {pickled[0]} is a pickle, which may run any code when opened" if pickled else ""
        raise BadModel(f"{folder}: expected model.safetensors or {index.name}{hint}")
    fields = Fields.read(index)
    names = set(map(str, fields.section("weight_map").values.values()))
    for name in names:
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise fields.wrong("weight_map", "names of .safetensors files beside it")
    return [folder / name for name in sorted(names)]


def _read_file(path: Path, shapes: Mapping[str, Shape]) -> Iterator[tuple[str, Tensor]]:
    try:
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 (not a mapping)
                if not _COMPUTED.fullmatch(name):
                    header = file.get_slice(name)
                    _check_header(name, header.get_dtype(), tuple(header.get_shape()), shapes)
                    yield name, _finite(name, file.get_tensor(name))
    except FileNotFoundError:
        raise BadModel(f"{path}: there is no such file") from None
    except SafetensorError as error:
        raise BadModel(f"{path}: not a sound safetensors file: {error}") from error


def _check_header(name: str, dtype: str, shape: Shape, shapes: Mapping[str, Shape]) -> None:
    expected = shapes[_EMBEDDING] if name == _HEAD else shapes.get(name)
    if expected is None:
        raise BadModel(f"{name} {list(shape)} is unexpected: the architecture has no such tensor")
    if shape != expected:
        raise BadModel(f"{name} has shape {list(shape)}; expected {list(expected)}")
    if dtype not in _DTYPES:
        raise UnsupportedModel(f"{name} has dtype {dtype}; supported: {', '.join(_DTYPES)}")


def _finite(name: str, tensor: Tensor) -> Tensor:
    if not torch.isfinite(tensor).all():
        raise BadModel(f"{name} holds numbers that are not finite")
    return tensor
