"""The C kernels: what plain torch computes, and a row's result the same to the last bit whatever is beside it."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from kernels import attention, linear, native, norm, rope, swiglu
from kernels.attention import Span, Spans
from kernels.attention import reference as plain_attention
from kernels.linear import reference as plain_linear
from kernels.linear.cpu import Panels, pack_panels
from kernels.norm import reference as plain_norm
from kernels.rope import reference as plain_rope
from kernels.swiglu import reference as plain_swiglu
from tests.kernels.lesser_processors import assert_passed_without

pytestmark = pytest.mark.skipif(native.compiler() is None, reason="no C compiler here")


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def close(ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


Pack = Callable[[Tensor], Panels]


@pytest.fixture(params=["float", "bfloat16", "tiles"])
def pack(request: pytest.FixtureRequest) -> Pack:
    """Packs a weight, rounded to bfloat16 where the layout wants that."""
    if request.param == "tiles" and not native.has_tiles():
        pytest.skip("this processor has no matrix tiles")
    return lambda weight: pack_panels(weight, request.param)


def weight_of(*shape: int) -> Tensor:
    """Numbers that every layout holds without loss."""
    return numbers(*shape).bfloat16().float()


def test_where_there_is_a_compiler_there_are_kernels() -> None:
    assert native.library() is not None


@pytest.mark.parametrize("num_rows", [1, 2, 5, 6, 7, 12, 13, 40])
@pytest.mark.parametrize(("num_in", "num_out"), [(1, 1), (8, 64), (33, 65), (96, 200), (64, 3)])
def test_a_product_is_plain_torchs(num_rows: int, num_in: int, num_out: int, pack: Pack) -> None:
    weight = weight_of(num_out, num_in)
    packed = pack(weight)
    rows, bias, residual = numbers(num_rows, num_in, seed=1), numbers(num_out, seed=2), numbers(num_rows, num_out, seed=3)
    plain = plain_linear.pack_weight(weight)
    close(linear.linear(rows, packed), plain_linear.linear(rows, plain))
    close(linear.linear(rows, packed, bias), plain_linear.linear(rows, plain, bias))
    close(linear.linear_add(residual, rows, packed, bias), plain_linear.linear_add(residual, rows, plain, bias))


def test_a_weight_comes_back_as_it_went_in(pack: Pack) -> None:
    weight = weight_of(70, 33)
    assert torch.equal(linear.unpack_weight(pack(weight)), weight)


def test_rows_of_a_weight_can_be_replaced(pack: Pack) -> None:
    weight, other = weight_of(70, 33), weight_of(3, 33) * 2
    packed = pack(weight)
    linear.replace_rows(packed, (0, 41, 69), other)
    weight[[0, 41, 69]] = other
    assert torch.equal(linear.unpack_weight(packed), weight)


def test_products_of_tiles_are_as_good_as_float32s() -> None:
    if not native.has_tiles():
        pytest.skip("this processor has no matrix tiles")
    weight, rows = weight_of(64, 1024), numbers(9, 1024, seed=1)
    exact = rows.double() @ weight.double().t()
    by_tiles, by_floats = (linear.linear(rows, pack_panels(weight, layout)) for layout in ("tiles", "float"))
    assert (by_tiles - exact).square().mean() <= (by_floats - exact).square().mean()


def test_a_weight_of_which_one_number_is_no_bfloat16_is_kept_in_float32() -> None:
    weight = numbers(64, 8).bfloat16().float()
    weight[63, 7] = 1.0 + 2.0**-23
    packed = linear.pack_weight(weight)
    assert isinstance(packed, Panels)
    assert packed.layout == "float"
    assert torch.equal(linear.unpack_weight(packed), weight)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_product_of_a_row_is_the_same_in_any_company(pack: Pack, threads: int) -> None:
    packed = pack(weight_of(200, 96))
    rows = numbers(29, 96, seed=1)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        together = linear.linear(rows, packed)
        for start in range(29):
            for stop in (start + 1, min(start + 3, 29), min(start + 7, 29)):
                assert torch.equal(linear.linear(rows[start:stop], packed), together[start:stop])
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("size", [1, 15, 16, 64, 100])
def test_the_small_kernels_are_plain_torchs(size: int) -> None:
    x, weight = numbers(7, size) * 3, numbers(size, seed=1)
    close(norm.rms_norm(x, weight, 1e-5), plain_norm.rms_norm(x, weight, 1e-5))
    close(norm.rms_norm(x.view(7, 1, size)[::2], weight, 1e-5), plain_norm.rms_norm(x.view(7, 1, size)[::2], weight, 1e-5))
    gate_up = numbers(5, 2 * size) * 30
    close(swiglu.swiglu(gate_up), plain_swiglu.swiglu(gate_up))
    joined = numbers(6, 5, 2 * size)
    cos, sin = rope.rope_table(numbers(size).abs(), 50, torch.float32)
    angles = cos[10:16].unsqueeze(1), sin[10:16].unsqueeze(1)
    close(rope.apply_rope(joined[:, :3], *angles), plain_rope.apply_rope(joined[:, :3], *angles))


def test_the_gate_bears_any_number() -> None:
    extremes = torch.tensor([[-1e30, -90.0, 90.0, 1e30, 1.0, 1.0, 1.0, 1.0]])
    close(swiglu.swiglu(extremes), plain_swiglu.swiglu(extremes))


class Pages:
    """Keys and values of 60 slots, of which a sequence holds every one in order, or scattered ones."""

    def __init__(self, num_kv_heads: int, dim: int) -> None:
        self.keys, self.values = numbers(num_kv_heads, 60, dim, seed=5), numbers(num_kv_heads, 60, dim, seed=6)
        self.scattered = torch.randperm(60, generator=torch.Generator().manual_seed(7))


def ancestors_of(parents: list[int]) -> np.ndarray:
    sets: list[int] = []
    for node, parent in enumerate(parents):
        sets.append((sets[parent] if parent >= 0 else 0) | 1 << node)
    return np.array([[each] for each in sets], np.uint64)


@pytest.mark.parametrize(("heads", "kv_heads"), [(6, 2), (4, 4), (5, 1), (9, 1)])
@pytest.mark.parametrize("dim", [2, 16, 64, 80, 96, 128])
def test_attention_is_plain_torchs(heads: int, kv_heads: int, dim: int) -> None:
    pages = Pages(kv_heads, dim)
    tree = ancestors_of([-1, 0, 0, 1, 1, 2, 5, 3, 0, 8])
    spans = Spans([
        Span(0, 1, slice(3, 40)),
        Span(1, 10, slice(8, 49), tree),
        Span(11, 10, pages.scattered[:33], tree),
        Span(21, 19, pages.scattered[:23]),
        Span(40, 3, slice(0, 3)),
    ])
    query = numbers(43, heads, 3 * dim)[:, :, :dim]
    ours = attention.ragged_attention(query, pages.keys, pages.values, spans)
    close(ours, plain_attention.ragged_attention(query, pages.keys, pages.values, spans))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_attention_of_a_node_is_to_the_last_bit_that_of_its_path_alone(data: st.DataObject) -> None:
    before = data.draw(st.integers(0, 40), "keys before")
    parents = [-1, *(data.draw(st.integers(0, node - 1)) for node in range(1, data.draw(st.integers(1, 19), "nodes")))]
    dim = data.draw(st.sampled_from([2, 24, 64]), "dim")
    pages, sets = Pages(2, dim), ancestors_of(parents)
    query = numbers(len(parents), 6, dim)
    spans = Spans([Span(0, len(parents), pages.scattered[: before + len(parents)], sets)])
    together = attention.ragged_attention(query, pages.keys, pages.values, spans)
    for node in range(len(parents)):
        path = [each for each in range(node + 1) if int(sets[node, 0]) >> each & 1]
        slots = pages.scattered[[*range(before), *(before + each for each in path)]]
        alone = Spans([Span(0, 1, slots)])
        assert torch.equal(
            attention.ragged_attention(query[node : node + 1], pages.keys, pages.values, alone), together[node : node + 1]
        )


def test_heads_too_long_for_the_kernel_are_attended_in_plain_torch() -> None:
    pages = Pages(1, 520)
    query, spans = numbers(3, 2, 520), Spans([Span(0, 3, slice(3, 40))])
    ours = attention.ragged_attention(query, pages.keys, pages.values, spans)
    close(ours, plain_attention.ragged_attention(query, pages.keys, pages.values, spans))


def test_new_keys_and_values_go_to_their_slots() -> None:
    pages, plain = Pages(2, 8), Pages(2, 8)
    heads = numbers(4, 9, 8)
    slots = torch.tensor([5, 59, 0, 17])
    attention.write_pages(pages.keys, pages.values, slots, heads[:, 2:4], heads[:, 6:8])
    plain_attention.write_pages(plain.keys, plain.values, slots, heads[:, 2:4], heads[:, 6:8])
    assert torch.equal(pages.keys, plain.keys)
    assert torch.equal(pages.values, plain.values)
    for wrong in (-1, pages.keys.shape[1]):
        with pytest.raises(IndexError, match=f"slots: {wrong}, expected 0 to {pages.keys.shape[1] - 1}"):
            attention.write_pages(pages.keys, pages.values, torch.tensor([5, 59, wrong, 17]), heads[:, :2], heads[:, 2:4])
    assert torch.equal(pages.keys, plain.keys)


@pytest.fixture
def unloaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty cache, returned, and no library loaded."""
    monkeypatch.setattr(native, "library", native.library.__wrapped__)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "everdraft"


@pytest.mark.parametrize("compiler", ["", "no-such-compiler", "false"])
def test_without_a_compiler_plain_torch_takes_over_and_the_log_says_so(
    compiler: str, unloaded: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("CC", compiler)
    with caplog.at_level(logging.WARNING):
        assert native.library() is None
    assert "plain torch kernels" in caplog.text
    assert not list(unloaded.glob("*.so"))


@pytest.mark.slow
def test_what_was_compiled_is_kept_and_found_again(unloaded: Path) -> None:
    assert native.library() is not None
    (kept,) = unloaded.glob("*")
    made = kept.stat()
    assert native.library() is not None
    assert [(path, path.stat().st_ino) for path in unloaded.glob("*")] == [(kept, made.st_ino)]


@pytest.mark.slow
@pytest.mark.parametrize("hindrance", ["a file lies there", "others can write to it"])
def test_a_cache_that_is_not_this_users_alone_is_done_without(
    hindrance: str, unloaded: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if hindrance == "a file lies there":
        unloaded.write_text("")
    else:
        unloaded.mkdir()
        unloaded.chmod(0o777)
    for_once = tmp_path / "temporary"
    for_once.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(for_once))
    assert native.library() is not None
    assert not list(unloaded.glob("*")), "nothing is left where others could change it"
    assert not list(for_once.glob("*")), "what was made for once is removed again"


@pytest.mark.slow
@pytest.mark.parametrize("limits", ["-mno-avx512f", "-mno-avx512f -mno-avx2 -mno-avx -mno-fma"])
def test_processors_with_shorter_vectors_compute_the_same(limits: str, tmp_path: Path) -> None:
    assert_passed_without(limits, "(plain_torchs or company or path_alone) and not shorter_vectors", __file__, tmp_path)
