"""Products with weights of 8 bits: the C kernel is plain torch to the last bit, both as near to float32 as rounding allows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from kernels import linear, native
from kernels.linear_int8 import MOST_INPUTS, reference
from kernels.linear_int8.cpu import QuantisedPanels, linear_panels, pack_panels, replace_in_int8, unpack_panels
from kernels.linear_int8.reference import Quantised
from tests.kernels.lesser_processors import assert_passed_without

needs_compiler = pytest.mark.skipif(native.compiler() is None, reason="no C compiler here")


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


Pack = Callable[[Tensor], QuantisedPanels]


@pytest.fixture(params=["tiles", "vectors"])
def pack(request: pytest.FixtureRequest) -> Pack:
    if native.compiler() is None:
        pytest.skip("no C compiler here")
    if request.param == "tiles" and not native.has_int8_tiles():
        pytest.skip("this processor has no matrix tiles")
    return lambda weight: pack_panels(weight, request.param)


def the_same(rows: Tensor, weight: Tensor, pack: Pack, bias: Tensor | None = None, added: Tensor | None = None) -> None:
    ours = linear_panels(rows, pack(weight), bias, added)
    theirs = reference.linear(rows, reference.pack_weight(weight), bias, added)
    assert torch.equal(ours.nan_to_num(), theirs.nan_to_num())
    assert torch.equal(ours.isnan(), theirs.isnan())


@pytest.mark.parametrize("num_rows", [0, 1, 2, 3, 5, 7, 8, 9, 15, 16, 17, 40, 300])
@pytest.mark.parametrize(("num_in", "num_out"), [(1, 1), (8, 64), (33, 65), (96, 200), (64, 3), (700, 47)])
def test_a_product_is_plain_torchs_to_the_last_bit(num_rows: int, num_in: int, num_out: int, pack: Pack) -> None:
    weight, rows = numbers(num_out, num_in), numbers(num_rows, num_in, seed=1)
    bias, added = numbers(num_out, seed=2), numbers(num_rows, num_out, seed=3)
    the_same(rows, weight, pack)
    the_same(rows, weight, pack, bias)
    the_same(rows, weight, pack, None, added)
    the_same(rows, weight, pack, bias, added)


@needs_compiler
@settings(max_examples=60, deadline=None)
@given(st.data())
def test_whatever_the_numbers_the_product_is_plain_torchs(data: st.DataObject) -> None:
    num_rows, num_in, num_out = (data.draw(st.integers(1, most), name) for name, most in (("T", 20), ("I", 150), ("O", 80)))
    seed, spread = data.draw(st.integers(0, 1000), "seed"), data.draw(st.floats(0, 12), "decades")
    rows = numbers(num_rows, num_in, seed=seed) * 10 ** (spread * numbers(num_rows, num_in, seed=seed + 1)).clamp(-36, 36)
    weight = numbers(num_out, num_in, seed=seed + 2) * 10 ** (spread * numbers(num_out, 1, seed=seed + 3)).clamp(-36, 36)
    for means in ("tiles", "vectors") if native.has_int8_tiles() else ("vectors",):
        the_same(rows, weight, lambda weight, means=means: pack_panels(weight, means))  # type: ignore[misc]


@pytest.mark.parametrize("value", [0.0, -0.0, 1e-45, 1e-38, 1e-32, 1e-30, 3.4e38, float("inf"), float("nan")])
def test_extreme_numbers_come_to_what_they_come_to_in_plain_torch(value: float, pack: Pack) -> None:
    rows, weight = numbers(9, 70), numbers(40, 70, seed=1)
    rows[3], rows[5, 69], rows[7, 0] = value, value, -value
    the_same(rows, weight, pack)
    if abs(value) < 1e38:
        weight[2], weight[33, 69] = value, value
        the_same(rows, weight, pack)


def test_a_row_of_zeros_comes_to_nothing_and_a_number_that_is_none_stays_in_its_row(pack: Pack) -> None:
    rows = numbers(9, 70)
    rows[2], rows[4, 66] = 0.0, float("nan")
    result = linear_panels(rows, pack(numbers(40, 70, seed=1)))
    assert result[2].count_nonzero() == 0
    assert result.isnan().any(1).tolist() == [row == 4 for row in range(9)]


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_no_sum_overflows_at_the_most_inputs_that_there_may_be(sign: float, pack: Pack) -> None:
    rows, weight = torch.full((1, MOST_INPUTS), sign), torch.ones(1, MOST_INPUTS)
    assert linear_panels(rows, pack(weight)).item() == pytest.approx(sign * MOST_INPUTS, rel=1e-6)
    the_same(rows, weight, pack)


def test_rows_of_a_weight_can_be_replaced(pack: Pack) -> None:
    weight, other = numbers(70, 97), 3 * numbers(4, 97, seed=1)
    other[3] = 0.0
    packed = pack(weight.clone())
    replace_in_int8(packed, (0, 41, 69, 15), other)
    weight[[0, 41, 69, 15]] = other
    afresh = pack(weight)
    assert torch.equal(packed.data, afresh.data)
    assert torch.equal(packed.scales, afresh.scales)
    assert torch.equal(packed.offsets, afresh.offsets)


def test_sums_beyond_what_float32_counts_are_exact(pack: Pack) -> None:
    rows, weight = 1 - numbers(3, 5000).abs() / 50, 1 - numbers(20, 5000, seed=1).abs() / 50
    lower = reference.quantise_rows(rows)[0].long() & 255
    sums = lower @ reference.quantise(weight)[0].long().t()
    assert sums.min() > 2**25, "where float32 leaves whole numbers out"
    the_same(rows, weight, pack)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_product_of_a_row_is_the_same_in_any_company(pack: Pack, threads: int) -> None:
    packed = pack(numbers(200, 96))
    rows = numbers(29, 96, seed=1) * numbers(29, 1, seed=2).exp()
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        together = linear_panels(rows, packed)
        for start in range(29):
            for stop in (start + 1, min(start + 3, 29), min(start + 17, 29)):
                assert torch.equal(linear_panels(rows[start:stop], packed), together[start:stop])
    finally:
        torch.set_num_threads(before)


def test_what_rounding_costs_is_half_a_scale_for_each_number() -> None:
    rows, weight = numbers(20, 300), numbers(50, 300, seed=1)
    kept, scales = reference.quantise(weight)
    of_rows, row_scales = reference.quantise_rows(rows)
    exact = rows.double() @ weight.double().t()
    # |x w - x' w'| <= |x| |w - w'| + |w'| |x - x'|
    of_weight = rows.abs().double().sum(1, keepdim=True) * scales / 2
    of_row = row_scales / 2 * (kept.abs().double().sum(1) * scales)
    error = (linear.linear(rows, linear.quantise_weight(weight)) - exact).abs()
    assert (error <= (of_weight + of_row) * 1.001 + 1e-5).all()
    assert kept.abs().amax(1).tolist() == [127] * 50, "all of the range is used"
    assert of_rows.abs().amax(1).tolist() == [32767] * 20


def test_a_weight_comes_back_rounded(pack: Pack) -> None:
    weight = numbers(70, 33) * numbers(70, 1, seed=1).exp()
    back = unpack_panels(pack(weight))
    assert torch.equal(back, reference.unpack_weight(reference.pack_weight(weight)))
    assert ((back - weight).abs() <= weight.abs().amax(1, keepdim=True) / 127 / 2 * 1.001).all()
    assert torch.equal(unpack_panels(pack(back)), back), "what is rounded already stays"


def test_without_a_compiler_the_same_door_leads_to_plain_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    weight, rows, added = numbers(40, 70), numbers(9, 70, seed=1), numbers(9, 40, seed=2)
    bias = numbers(40, seed=3)
    packed = linear.quantise_weight(weight)
    natively = linear.linear_add(added, rows, packed, bias), linear.linear(rows, packed, bias), linear.unpack_weight(packed)
    monkeypatch.setattr("kernels.native.library", lambda: None)
    packed = linear.quantise_weight(weight)
    assert isinstance(packed, Quantised)
    plainly = linear.linear_add(added, rows, packed, bias), linear.linear(rows, packed, bias), linear.unpack_weight(packed)
    for ours, theirs in zip(natively, plainly, strict=True):
        assert torch.equal(ours, theirs)


@needs_compiler
@pytest.mark.slow
@pytest.mark.parametrize(
    "limits", ["-mno-avx512f", "-mno-avx512f -mno-avxvnni", "-mno-avx512f -mno-avx2 -mno-avx -mno-fma", "-mno-avx512vnni"]
)
def test_processors_without_these_instructions_compute_the_same(limits: str, tmp_path: Path) -> None:
    assert_passed_without(limits, "(plain_torch or company or overflow) and not without", __file__, tmp_path)
