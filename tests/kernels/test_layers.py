"""All layers in one call give the numbers that they give one by one, and leave the same keys and values behind."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from kernels.attention import Span, Spans
from kernels.native import library
from models.decoder import Decoder, Rows
from models.loading import load_target
from models.pages import KeyValuePages
from tests.models.families import FAMILIES, random_tokens, save_model

pytestmark = pytest.mark.skipif(library() is None, reason="no C compiler")

SCATTERED = [40, 7, 33, 21, 2, 55]
TREE = np.array([[0b0001], [0b0011], [0b0101], [0b1011]], np.uint64)
"""A root, its two children, and a child of the first."""


def one_by_one(decoder: Decoder) -> None:
    """Has the decoder run its layers as it does without C kernels for all of them together."""
    assert decoder._packed is not None
    decoder._packed = None


def prompt_beside_a_tree(seed: int) -> Rows:
    """A chunk of a prompt in one piece, and a tree behind two tokens, all of them scattered."""
    chunk = Span(0, 9, slice(10, 19))
    tree = Span(9, 4, torch.tensor(SCATTERED), TREE)
    positions = [*range(9), 2, 3, 3, 4]
    slots = [*range(10, 19), *SCATTERED[2:]]
    return Rows(random_tokens(13, seed), torch.tensor(positions), torch.tensor(slots), Spans([chunk, tree]), None)


@pytest.mark.parametrize("dtype", ["float32", "int8"])
@pytest.mark.parametrize("family", list(FAMILIES))
def test_one_call_for_all_layers_changes_no_bit(family: str, dtype: str, tmp_path: Path) -> None:
    save_model(family, tmp_path)
    together, apart = (load_target(str(tmp_path), dtype=dtype, device="cpu").decoder for _ in range(2))
    one_by_one(apart)
    num_layers = together.config.num_layers
    found = []
    for decoder in (together, apart):
        pages = KeyValuePages(decoder.config, 64, decoder.dtype, decoder.device)
        scores = decoder.forward(prompt_beside_a_tree(seed=1), pages, range(num_layers + 1))
        found.append((scores.logits, *(scores.layers[layer] for layer in range(num_layers + 1)), pages.keys, pages.values))
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(*found, strict=True))


def test_states_of_a_layer_are_those_before_it(tmp_path: Path) -> None:
    save_model("llama", tmp_path)
    decoder = load_target(str(tmp_path), dtype="float32", device="cpu").decoder
    pages = KeyValuePages(decoder.config, 64, decoder.dtype, decoder.device)
    rows = prompt_beside_a_tree(seed=2)
    layers = decoder.forward(rows, pages, (0,)).layers
    assert list(layers) == [0]
    assert torch.equal(layers[0], decoder.embed(rows.tokens))


@pytest.mark.parametrize("field", ["positions", "slots"])
@pytest.mark.parametrize("beyond", [False, True])
def test_a_position_or_a_slot_that_is_none_is_named_and_nothing_is_written(field: str, beyond: bool, tmp_path: Path) -> None:
    save_model("llama", tmp_path)
    decoder = load_target(str(tmp_path), dtype="float32", device="cpu").decoder
    pages = KeyValuePages(decoder.config, 64, decoder.dtype, decoder.device)
    size = {"positions": decoder.config.max_positions, "slots": pages.keys.shape[2]}[field]
    before, rows = pages.keys.clone(), prompt_beside_a_tree(seed=3)
    places = getattr(rows, field).clone()
    places[7] = wrong = size if beyond else -1
    with pytest.raises(IndexError, match=rf"^{field}: {wrong}, expected 0 to {size - 1}$"):
        decoder.forward(replace(rows, **{field: places}), pages)
    assert torch.equal(pages.keys, before)
