"""EagleLayer: one decoder layer that goes on from the target's own hidden layers, in a form that can be trained.

(EAGLE-3, arXiv 2503.01840, section 3.) A row is a token and what the target, or the layer itself, made of the place before it:

    g = [norm low, norm middle, norm high] F     of the target's layers, for a token of the text; what the layer gave for the
                                                 place before, for a drafted token
    x = g + Attention([norm e, norm g])          e the target's embedding of the token
    y = x + SwiGLU(norm x)

norm y, through the target's own frozen unembedding, makes the scores of the token after; y is what the next drafted token goes
on from. The first token of a text has zeros before it. An untrained layer is the identity, as untrained heads are: F picks the
highest layer out, and neither attention nor SwiGLU adds anything.

A *parallel* layer (P-EAGLE, arXiv 2602.01469) drafts all its tokens in one pass: in the rows of drafted tokens stand a learned
embedding in place of e, and a learned state in place of g, the same in all of them. What it drafts there does not know what it
drafts before. The field `parallel` of a config says so.

Legend: B texts, T rows of each, L layers of the target, H hidden size, A query heads, K key-value heads, D head size.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from models.config import DecoderConfig
from models.decoder import Decoder
from models.eagle_parallel import Behind
from models.errors import BadModel
from models.trainable import NamedTensors
from models.weights import check_tensors

ConfigValues = dict[str, int | float | str | bool]
Config = Mapping[str, int | float | str | bool]

LAYERS = ("low_layer", "middle_layer", "high_layer")
"""Of a config: which of the target's layers are read, counted as `Decoder.forward` counts what it captures."""

PARALLEL = "parallel"
"""Of a config: true for a parallel layer, else left out."""

_FIRST, _NORM = "fc.weight", "norm.weight"
MASK_EMBEDDING, MASK_HIDDEN = "mask_embedding", "mask_hidden"
"""Of a parallel layer: what stands for a token that is not known yet, and for what was made of the place before it."""
_LAYER = "layers.0"
_SILENT = (f"{_LAYER}.self_attn.o_proj.weight", f"{_LAYER}.mlp.down_proj.weight")
"""Zero at first, so that an untrained layer adds nothing."""


def layers_read(target: DecoderConfig) -> tuple[int, int, int]:
    """A third of the way, two thirds, and the last."""
    total: int = target.num_layers
    return max(1, total // 3), max(1, 2 * total // 3), total


def untrained_config(target: DecoderConfig, *, parallel: bool = False) -> ConfigValues:
    """Of a layer for a target: as wide as the target's own layers, with heads and context like theirs."""
    return {
        "model_type": "llama",
        "vocab_size": target.vocab_size,
        "hidden_size": target.hidden_size,
        "intermediate_size": target.intermediate_size,
        "num_hidden_layers": 1,
        "num_attention_heads": target.num_heads,
        "num_key_value_heads": target.num_kv_heads,
        "head_dim": target.head_dim,
        "max_position_embeddings": target.max_positions,
        "rms_norm_eps": target.norm_eps,
        "rope_theta": 10000.0,
        "tie_word_embeddings": True,
        **dict(zip(LAYERS, layers_read(target), strict=True)),
        **({PARALLEL: True} if parallel else {}),
    }


def shape_of(config: Config) -> tuple[DecoderConfig, tuple[int, ...]]:
    """The layer's shape, and the target's layers that it reads. Raises BadModel, naming the field, for any other config."""
    missing = [name for name in LAYERS if not _is_layer(config.get(name))]
    if missing:
        raise BadModel(f"config of an eagle layer: {missing[0]} is {config.get(missing[0])!r}; expected the number of a layer")
    shape = DecoderConfig.from_hf({name: value for name, value in config.items() if name not in (*LAYERS, PARALLEL)})
    if shape.num_layers != 1:
        raise BadModel(f"config of an eagle layer: num_hidden_layers is {shape.num_layers}; expected 1")
    return shape, tuple(int(config[name]) for name in LAYERS)


def _check_target(shape: DecoderConfig, layers: Sequence[int], target: DecoderConfig) -> None:
    """Raises BadModel, naming the field, for a layer that is not of this target."""
    for name in ("hidden_size", "vocab_size"):
        ours, theirs = getattr(shape, name), getattr(target, name)
        if ours != theirs:
            raise BadModel(f"config of an eagle layer: {name} is {ours}; expected {theirs}, the target's")
    for name, layer in zip(LAYERS, layers, strict=True):
        if layer > target.num_layers:
            raise BadModel(f"config of an eagle layer: {name} is {layer}; expected at most {target.num_layers}, the last")
    ours, theirs = shape.max_positions, target.max_positions
    if ours < theirs:
        raise BadModel(f"config of an eagle layer: max_position_embeddings is {ours}; expected at least {theirs}, the target's")


def is_parallel(config: Config) -> bool:
    """Whether a config is of a parallel layer. Raises BadModel where it does not say so as it should."""
    if config.get(PARALLEL, True) is not True:
        raise BadModel(f"config of an eagle layer: {PARALLEL} is {config[PARALLEL]!r}; expected true, or nothing")
    return PARALLEL in config


def _is_layer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def expected_shapes(shape: DecoderConfig, *, parallel: bool) -> dict[str, tuple[int, ...]]:
    """Tensors by name: what vLLM's speculators call them, queries, keys and values reading embedding and state side by side."""
    hidden, inner, keys = shape.hidden_size, shape.intermediate_size, shape.kv_size
    inside: dict[str, tuple[int, ...]] = {
        "input_layernorm.weight": (hidden,),
        "hidden_norm.weight": (hidden,),
        "self_attn.q_proj.weight": (shape.query_size, 2 * hidden),
        "self_attn.k_proj.weight": (keys, 2 * hidden),
        "self_attn.v_proj.weight": (keys, 2 * hidden),
        "self_attn.o_proj.weight": (hidden, shape.query_size),
        "post_attention_layernorm.weight": (hidden,),
        "mlp.gate_proj.weight": (inner, hidden),
        "mlp.up_proj.weight": (inner, hidden),
        "mlp.down_proj.weight": (hidden, inner),
    }
    layer = {f"{_LAYER}.{name}": each for name, each in inside.items()}
    masks: dict[str, tuple[int, ...]] = {MASK_EMBEDDING: (hidden,), MASK_HIDDEN: (hidden,)} if parallel else {}
    return {_FIRST: (hidden, len(LAYERS) * hidden), **layer, _NORM: (hidden,), **masks}


def check_eagle_weights(weights: Mapping[str, Tensor], shape: DecoderConfig, *, parallel: bool) -> None:
    """Raises BadModel, naming the tensor, for one that is missing, unexpected, mis-shaped or not finite."""
    check_tensors("eagle layer", weights, expected_shapes(shape, parallel=parallel))


class EagleLayer(NamedTensors):
    """decoder: the target, whose embeddings it reads."""

    def __init__(self, config: Config, decoder: Decoder) -> None:
        """Untrained. Raises BadModel, naming the field, for a config that makes no layer for this target."""
        (shape, layers), parallel = shape_of(config), is_parallel(config)
        _check_target(shape, layers, decoder.config)
        generator = torch.Generator().manual_seed(0)
        shapes = expected_shapes(shape, parallel=parallel)
        super().__init__(shape, {name: _first(name, each, generator) for name, each in shapes.items()})
        self.config: ConfigValues = dict(config)
        self.layers, self.parallel, self.decoder = layers, parallel, decoder
        with torch.no_grad():
            self._get(_NORM).copy_(decoder.output_norm())
        self.to(decoder.device)

    @torch.no_grad()
    def copy_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Takes the weights over. Raises BadModel, naming the tensor, if one is not as expected: then all stay as they were."""
        check_eagle_weights(weights, self.shape, parallel=self.parallel)
        for name, tensor in weights.items():
            self._get(name).copy_(tensor)

    def unrolled(self, tokens: Tensor, features: Tensor, num_steps: int, *, first: Tensor, last: int) -> Iterator[Tensor]:
        """States behind the last norm after 1, 2, … steps of drafting along texts (the training-time test, section 3.2 there).

        tokens: [B, T], right-aligned. features: [B, T, L H] the target's layers at the place before each; zeros before the first
        of a text. first: [B] rows of each text that only fill it up. last: rows at the end whose states are wanted: of those
        before them only keys and values are. Yields [B, last, H] each.

        Row t of step k (from 0) is the k-th drafted token behind a root at row t - k. It goes on from row t - 1 of the step
        before and sees true rows up to the root, and of each step m between, row t - k + m: what it would see in serving, had the
        k tokens been drafted. Rows without k rows before them, of their text and among the last, mean nothing.

        Of a parallel layer row t of step k is the k-th mask behind that root, and sees the text up to it and the masks before.
        """
        embedded = self._norm(self.decoder.embed(tokens).to(features.dtype), f"{_LAYER}.input_layernorm")
        # summed up in full, whatever is autocast
        y = F.linear(_unit(features, self.shape), self._get(_FIRST)).to(features.dtype)
        joined = self._joined(embedded, y)
        seen, start = _Seen(first, joined.shape[1]), joined.shape[1] - last
        cos, sin = self._cos[: seen.length].unsqueeze(1), self._sin[: seen.length].unsqueeze(1)
        for step in range(1 if self.parallel else num_steps):
            if step:
                y = y.roll(1, 1)
                joined = self._joined(embedded, y)
            key = _turn(self._heads(joined, "k_proj"), cos[-joined.shape[1] :], sin[-joined.shape[1] :])
            seen.add(key, self._heads(joined, "v_proj"))
            if not step:
                y, embedded, joined = y[:, start:], embedded[:, start:], joined[:, start:]
            out = seen.attend(_turn(self._heads(joined, "q_proj"), cos[start:], sin[start:]))
            y = self._after(y, out)
            yield self._norm(y, "norm")
        if self.parallel and num_steps > 1:
            yield from self._masked(seen, num_steps, last)

    def _masked(self, seen: _Seen, num_steps: int, last: int) -> Iterator[Tensor]:
        """Steps of a parallel layer after the first, of which the text was seen."""
        y, cos, sin = self._get(MASK_HIDDEN), self._cos.unsqueeze(1), self._sin.unsqueeze(1)
        joined = self._joined(self._norm(self._get(MASK_EMBEDDING), f"{_LAYER}.input_layernorm"), y)
        query, key, value = (self._heads(joined, name) for name in ("q_proj", "k_proj", "v_proj"))
        # turned by how far apart the two are, and by nothing else
        apart = _turn(query, cos[: num_steps - 1], sin[: num_steps - 1]).view(num_steps - 1, len(key), -1, self.shape.head_dim)
        between = (apart * key.unsqueeze(1)).sum(-1).flatten(1) * self.shape.head_dim**-0.5
        at = slice(seen.length - last, seen.length)
        behind = Behind(_turn(query, cos[at], sin[at]), *seen.text, between, value)
        for step in range(1, num_steps):
            yield self._norm(self._after(y, behind.attend(step)), "norm")

    def _after(self, y: Tensor, out: Tensor) -> Tensor:
        """[B, t, H] what the layer gives, from what it was given and what attention found, [B, t, A, D]."""
        x = y + F.linear(out.flatten(2), self._get(f"{_LAYER}.self_attn.o_proj.weight"))
        return x + self._mlp(self._norm(x, f"{_LAYER}.post_attention_layernorm"))

    def _joined(self, embedded: Tensor, y: Tensor) -> Tensor:
        """[B, t, 2 H] what queries, keys and values are made of."""
        return torch.cat((embedded, self._norm(y, f"{_LAYER}.hidden_norm")), -1)

    def _heads(self, joined: Tensor, name: str) -> Tensor:
        """[B, t, heads, D]"""
        flat = F.linear(joined, self._get(f"{_LAYER}.self_attn.{name}.weight"))
        return flat.view(*flat.shape[:-1], -1, self.shape.head_dim)

    def _mlp(self, x: Tensor) -> Tensor:
        gate, up, down = (self._get(f"{_LAYER}.mlp.{name}.weight") for name in ("gate_proj", "up_proj", "down_proj"))
        return F.linear(F.silu(F.linear(x, gate)) * F.linear(x, up), down)

    def _norm(self, x: Tensor, name: str) -> Tensor:
        weight = self._get(f"{name}.weight")
        return F.rms_norm(x, weight.shape, weight, self.shape.norm_eps)


class _Seen:
    """Keys and values of the steps so far, and the attention over them. length: T. first: [B] as in `EagleLayer.unrolled`."""

    def __init__(self, first: Tensor, length: int) -> None:
        self.length = length
        self._first = first
        self._keys: list[Tensor] = []
        self._values: list[Tensor] = []

    @property
    def text(self) -> tuple[Tensor, Tensor, Tensor]:
        """Keys and values of the first step, [B, T, K, D], and `first`."""
        return self._keys[0], self._values[0], self._first

    def add(self, key: Tensor, value: Tensor) -> None:
        """Of the next step, [B, t, K, D]: all T rows of the first, the last rows of the others."""
        self._keys.append(key)
        self._values.append(value)

    def attend(self, query: Tensor) -> Tensor:
        """[B, t, A, D] of the newest step's last t rows, from their queries [B, t, A, D]."""
        step, (batch, length, num_heads, size) = len(self._keys) - 1, query.shape
        grouped = query.view(batch, length, self._keys[0].shape[2], -1, size) * size**-0.5  # [B, t, K, G, D]
        scores = torch.einsum("btkgd,bskd->bkgts", grouped, self._keys[0]) + self._bias(step, length)
        # one key of each step between the root and the row: a diagonal, not a matrix
        near = [torch.einsum("btkgd,btkd->bkgt", grouped, each) for each in self._behind(self._keys)]
        shares = torch.cat((scores, *(each.unsqueeze(-1) for each in near)), -1).softmax(-1).to(query.dtype)
        out = torch.einsum("bkgts,bskd->btkgd", shares[..., : self.length], self._values[0])
        for number, each in enumerate(self._behind(self._values)):
            share = shares[..., self.length + number].permute(0, 3, 1, 2).unsqueeze(-1)  # [B, t, K, G, 1]
            out = out + share * each.unsqueeze(3)
        return out.reshape(batch, length, num_heads, size)

    def _behind(self, steps: list[Tensor]) -> Iterator[Tensor]:
        """[B, t, K, D] of each step after the first: to every row what it sees there."""
        newest = len(steps) - 1
        for number, each in enumerate(steps[1:], 1):
            yield each.roll(newest - number, 1)

    def _bias(self, step: int, length: int) -> Tensor:
        """[B, 1, 1, t, T] which true rows the rows of a step see: those up to its root, and what fills a text up not at all."""
        columns = torch.arange(self.length, device=self._first.device)
        rows = columns[self.length - length :, None]
        sees = (columns <= rows - step) & (columns >= self._first[:, None, None])
        if not step:
            sees |= columns == rows  # else the rows that fill a text up would see nothing, and be nan
        bias = torch.zeros(sees.shape, device=sees.device).masked_fill_(~sees, -torch.inf)
        return bias[:, None, None]


def _first(name: str, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    if name.endswith("norm.weight"):
        return torch.ones(shape)
    if name == _FIRST:
        hidden = shape[0]
        return torch.cat((torch.zeros(hidden, shape[1] - hidden), torch.eye(hidden)), 1)
    if name in (MASK_EMBEDDING, MASK_HIDDEN):
        return torch.randn(shape, generator=generator)
    if name in _SILENT:
        return torch.zeros(shape)
    return torch.randn(shape, generator=generator) / math.sqrt(shape[1])


def _unit(features: Tensor, shape: DecoderConfig) -> Tensor:
    """Each of the layers [..., L H] to a mean square of one: a decoder's low layers are a tenth as large as its high ones."""
    each = features.view(*features.shape[:-1], -1, shape.hidden_size)
    return F.rms_norm(each, each.shape[-1:], eps=shape.norm_eps).flatten(-2)


def _turn(heads: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """[B, t, A, D] turned by position."""
    return heads * cos + heads.roll(heads.shape[-1] // 2, -1) * sin
