"""Windows and reservoir: bounded, fair to tenants, even over domains."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.trainer.scripted import trace
from trainer.kept import Kept
from trainer.mixture import Mixture, capped_shares
from trainer.recent import Recent
from trainer.reservoir import MAX_DOMAINS, Reservoir

SIZE = Kept.of(100, trace(100)).num_bytes


def kept(number: int, tenant: str = "a", domain: str = "x") -> Kept:
    return Kept.of(number, trace(number, tenant=tenant, domain=domain))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_a_window_holds_the_newest() -> None:
    recent = Recent(3, 10**9, 0.5)
    gone = [each.number for number in range(1, 8) for each in recent.add(kept(number))]
    assert [each.number for each in recent] == [5, 6, 7]
    assert gone == [1, 2, 3, 4]


def test_a_window_is_bounded_in_bytes() -> None:
    recent = Recent(1000, 5 * SIZE + SIZE // 2, 0.5)
    for number in range(100, 200):
        recent.add(kept(number))
    assert recent.num_bytes == sum(each.num_bytes for each in recent) <= 5.5 * SIZE
    assert len(recent) in (4, 5)


def test_a_tenant_that_floods_the_window_pushes_out_its_own() -> None:
    recent = Recent(10, 10**9, 0.5)
    for number in range(1, 5):
        recent.add(kept(number, tenant="quiet"))
    for number in range(5, 100):
        recent.add(kept(number, tenant="loud"))
    assert [each.number for each in recent if each.trace.tenant == "quiet"] == [1, 2, 3, 4]
    assert len(recent) == 10


def test_dropping_what_is_not_wanted_keeps_count_of_bytes() -> None:
    recent = Recent(10, 10**9, 0.5)
    for number in range(1, 9):
        recent.add(kept(number, tenant="even" if number % 2 == 0 else "odd"))
    recent.keep(lambda each: each.trace.tenant == "odd")
    assert [each.number for each in recent] == [1, 3, 5, 7]
    assert recent.num_bytes == sum(each.num_bytes for each in recent)
    assert set(recent.by_tenant) == {"odd"}


def test_the_reservoir_gives_every_domain_the_same_places() -> None:
    reservoir = Reservoir(60, 10**9, 0.9, generator())
    for number in range(1, 1001):
        reservoir.add(kept(number, domain="common" if number % 50 else "rare"))
    for number in range(1001, 1101):
        reservoir.add(kept(number, domain="new"))
    assert Counter(each.domain for each in reservoir) == {"common": 20, "rare": 20, "new": 20}


def test_the_reservoir_is_bounded_in_number_and_bytes() -> None:
    reservoir = Reservoir(64, 20 * SIZE, 0.5, generator())
    for number in range(100, 400):
        reservoir.add(kept(number, domain=f"d{number % 3}"))
        assert len(reservoir) <= 64
        assert reservoir.num_bytes <= 20 * SIZE
    assert len(reservoir) >= 17


def test_clients_cannot_make_up_domains_without_end() -> None:
    reservoir = Reservoir(256, 10**9, 0.5, generator())
    for number in range(1, 501):
        reservoir.add(kept(number, domain=f"made-up-{number}"))
    assert len(reservoir.strata) == MAX_DOMAINS
    assert len(reservoir) <= 256


def test_every_trace_of_a_domain_has_the_same_chance_to_be_kept() -> None:
    places, offered, trials = 10, 40, 300
    held: Counter[int] = Counter()
    traces = [kept(number) for number in range(1, offered + 1)]
    for trial in range(trials):
        reservoir = Reservoir(places, 10**9, 0.9, generator(trial))
        for each in traces:
            reservoir.add(each)
        held.update(each.number for each in reservoir)
    expected = trials * places / offered  # 75, standard deviation 7.5
    for group in range(4):
        members = sum(held[number] for number in range(10 * group + 1, 10 * group + 11))
        assert abs(members - 10 * expected) < 4.5 * 7.5 * 10**0.5
    assert sum(held.values()) == trials * places


def test_no_tenant_takes_over_a_stratum_that_others_are_in() -> None:
    reservoir = Reservoir(20, 10**9, 0.5, generator())
    for number in range(1, 11):
        reservoir.add(kept(number, tenant="quiet"))
    for number in range(11, 500):
        reservoir.add(kept(number, tenant="loud"))
    assert Counter(each.trace.tenant for each in reservoir) == {"quiet": 10, "loud": 10}


def mixture(recent: Recent, older: Reservoir) -> Mixture:
    return Mixture(recent, older, recent_share=0.7, tenant_share=0.5, generator=generator())


def filled() -> tuple[Recent, Reservoir]:
    recent, older = Recent(100, 10**9, 0.9), Reservoir(100, 10**9, 0.9, generator())
    for number in range(1, 31):
        older.add(kept(number, domain="rare" if number <= 3 else "common"))
    for number in range(31, 91):
        recent.add(kept(number, tenant="loud" if number <= 80 else "quiet"))
    return recent, older


def test_draws_are_mostly_recent_even_over_old_domains_and_capped_for_a_tenant() -> None:
    recent, older = filled()
    drawn = mixture(recent, older).sample(4000, lambda each: True)
    old = [each for each in drawn if each.number <= 30]
    assert 0.27 < len(old) / len(drawn) < 0.33
    assert 0.44 < sum(each.domain == "rare" for each in old) / len(old) < 0.56
    new = [each for each in drawn if each.number > 30]
    assert 0.46 < sum(each.trace.tenant == "loud" for each in new) / len(new) < 0.54  # 5 of 6 without the cap


def test_only_what_is_wanted_is_drawn() -> None:
    recent, older = filled()
    blend = mixture(recent, older)
    assert {each.number for each in blend.sample(50, lambda each: each.number in (7, 40))} == {7, 40}
    assert blend.sample(50, lambda each: False) == []
    assert blend.newest(lambda each: False) is None
    found = blend.newest(lambda each: 31 <= each.number <= 50)
    assert found is not None
    assert found.number == 50


@given(st.dictionaries(st.text(max_size=3), st.integers(1, 1000), min_size=1, max_size=8), st.floats(0.05, 0.95))
def test_shares_sum_to_one_and_none_is_above_its_cap(counts: dict[str, int], cap: float) -> None:
    shares = capped_shares(counts, cap)
    assert shares.keys() == counts.keys()
    assert sum(shares.values()) == pytest.approx(1)
    assert max(shares.values()) <= max(cap, 1 / len(counts)) + 1e-9
    ordered = sorted(counts, key=lambda name: counts[name])
    assert all(shares[a] <= shares[b] + 1e-9 for a, b in pairwise(ordered))
