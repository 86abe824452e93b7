"""The controller in worlds whose costs and acceptance are known."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from speculator import kinds
from speculator.batch import Batch, Chunk, Sampling, Sequence
from speculator.controller import PLAIN, Controller, _arms
from speculator.cost import StepCosts
from speculator.drafts import Tree
from speculator.outlook import Promise
from speculator.shadow import Shadow
from tests.speculator.worlds import World, best_fixed, pass_seconds

HEADS = 5e-4
"""Seconds that heads take to draft: a third of a step."""
CHEAP = 4e-5


def plain(num_sequences: int) -> float:
    return World(num_sequences, [("medusa", lambda step: 0.0, HEADS)], fixed_budget=0).run(300)


@pytest.mark.parametrize("num_sequences", [1, 4, 16])
@pytest.mark.parametrize("alpha", [0.0, 0.1])
def test_worthless_drafts_cost_next_to_nothing(num_sequences: int, alpha: float) -> None:
    world = World(num_sequences, [("medusa", lambda step: alpha, HEADS)])
    assert world.run(2000) >= 0.97 * plain(num_sequences)


@pytest.mark.parametrize(("num_sequences", "alpha"), [(1, 0.4), (1, 0.8), (4, 0.6), (16, 0.5), (16, 0.9)])
def test_good_drafts_bring_nearly_what_the_best_fixed_budget_brings(num_sequences: int, alpha: float) -> None:
    sources = [("medusa", lambda step: alpha, 3e-4)]
    assert World(num_sequences, sources).run(1500) >= 0.9 * best_fixed(num_sequences, sources, 500)


def test_under_load_the_draft_shrinks_to_nothing() -> None:
    """What pays for one sequence does not for sixty-four."""
    sources = [("medusa", lambda step: 0.4, 3e-4)]
    alone, crowd = World(1, sources), World(64, sources)
    assert alone.run(800) > 1.2 * plain(1)
    assert crowd.run(400) >= 0.97 * plain(64)
    assert crowd.controller.gauges()["zero_share"] > 0.9


def test_after_a_shift_from_worthless_to_good_it_comes_back() -> None:
    world = World(1, [("medusa", lambda step: 0.0 if step < 3000 else 0.7, HEADS)])
    world.run(3000)
    assert world.controller.gauges()["zero_share"] > 0.9
    world.run(600)  # the longest wait between two trials, and then some
    assert world.run(300) > 1.5 * plain(1)


def test_after_a_shift_from_good_to_worthless_it_stops_within_a_hundred_steps() -> None:
    world = World(1, [("medusa", lambda step: 0.7 if step < 1000 else 0.0, HEADS)])
    world.run(1000)
    assert world.run(100) > 0.75 * plain(1)
    assert world.run(500) > 0.95 * plain(1)


@pytest.mark.parametrize("error", [lambda rows: 1 + rows / 2, lambda rows: 1.0 if rows == 1 else 3.0, lambda rows: 1 / rows])
def test_a_profile_taken_at_a_bad_moment_is_corrected(error: Callable[[int], float]) -> None:
    sources = [("medusa", lambda step: 0.7, CHEAP)]
    world = World(1, sources, profile=lambda rows: pass_seconds(rows) * error(rows))
    world.run(2000)
    assert world.run(500) > 0.88 * best_fixed(1, sources, 500)


def test_heads_that_do_not_pay_are_left_out_where_cheap_sources_do() -> None:
    world = World(1, [("medusa", lambda step: 0.1, 1e-3), ("suffix", lambda step: 0.7, CHEAP)])
    world.run(500)
    asked = world.chains[0].asked
    assert world.run(500) > 2.0 * plain(1)
    assert world.chains[0].asked - asked < 50


@pytest.mark.parametrize(("seed", "kind"), [(0, "medusa"), (1, "medusa"), (2, "medusa"), (0, "hydra")])
def test_the_static_heads_are_the_floor_of_the_adaptive_ones(seed: int, kind: str) -> None:
    """Adaptive heads that fail after a shift are routed around, and return when they have relearnt."""

    def adaptive(step: int) -> float:
        return 0.7 if step < 1000 else 0.05 if step < 4000 else 0.9

    sources = [(kind, adaptive, 3e-4), (f"{kind}-static", lambda step: 0.5, 3e-4)]
    world = World(1, sources, shadow_every=16, seed=seed)
    world.run(1000)
    floor = World(1, sources[1:]).run(1500)
    assert world.run(500) > 0.75 * floor
    assert world.run(2500) > 0.9 * floor
    world.run(1000)
    assert world.run(500) > 1.5 * floor


def test_while_the_adaptive_heads_are_better_the_static_ones_hardly_run() -> None:
    world = World(1, [("medusa", lambda step: 0.7, 3e-4), ("medusa-static", lambda step: 0.4, 3e-4)], shadow_every=16)
    world.run(1600)
    adaptive, static = (chain.asked for chain in world.chains)
    assert static < 0.15 * adaptive


def test_the_same_world_is_played_the_same_way_twice() -> None:
    runs = [World(2, [("medusa", lambda step: 0.4, HEADS)], seed=3) for _ in range(2)]
    assert runs[0].run(300) == runs[1].run(300)
    assert runs[0].controller.gauges() == runs[1].controller.gauges()


def sequence(**traits: bool) -> Sequence:
    return Sequence(0, "t", [1, 2], 1, Sampling(max_tokens=8), **traits)


def controller(*sources: str) -> Controller:
    costs = StepCosts()
    costs.profile(lambda num_sequences, rows: pass_seconds(rows))
    return Controller(sources, costs=costs)


def test_nothing_is_budgeted_where_nothing_can_be_drafted() -> None:
    ours = controller("medusa")
    nearly_done = sequence()
    nearly_done.tokens += [1] * 6
    for batch in (
        Batch(()),
        Batch((sequence(speculative=False),)),
        Batch((nearly_done,)),
        Batch((), (Chunk(sequence(), 1),)),
    ):
        assert ours.budget(batch) == PLAIN
    assert controller().budget(Batch((sequence(),))) == PLAIN
    assert ours.budget(Batch((sequence(),))).nodes > 0


def test_speculation_can_be_switched_off_and_on() -> None:
    ours = controller("medusa")
    ours.enabled = False
    assert ours.budget(Batch((sequence(),))) == PLAIN
    ours.observe(1, 0, 1, 2e-3, 0.0)
    ours.enabled = True
    assert ours.budget(Batch((sequence(),))).nodes > 0


def test_a_budget_names_the_sources_and_the_price_of_every_node() -> None:
    ours = controller("medusa", "medusa-static", "suffix")
    batch = Batch((sequence(), sequence()), (Chunk(sequence(), 1),))
    budget = ours.budget(batch)
    assert budget.sources == {"medusa", "suffix"}
    assert len(budget.step_seconds) == budget.nodes + 1
    # two roots and a prompt token come before the drafted nodes; the prompt token is to be read in any case
    assert budget.step_seconds[0] == pytest.approx(pass_seconds(2))
    assert budget.step_seconds[4] == pytest.approx(pass_seconds(2) + pass_seconds(3 + 4) - pass_seconds(3))


@pytest.mark.parametrize(
    ("sources", "arms"),
    [
        ("suffix", ["suffix"]),
        ("medusa", ["medusa"]),
        ("medusa suffix", ["medusa suffix", "medusa", "suffix"]),
        ("medusa medusa-static", ["medusa", "medusa-static"]),
        ("medusa medusa-static suffix", ["medusa suffix", "medusa-static suffix", "medusa", "suffix"]),
        ("medusa-static suffix", ["suffix", "medusa-static suffix"]),
        ("draft-lm", ["draft-lm"]),
        ("suffix draft-lm", ["suffix", "draft-lm suffix"]),
        ("medusa draft-lm", ["medusa", "draft-lm"]),
        ("hydra hydra-static suffix", ["hydra suffix", "hydra-static suffix", "hydra", "suffix"]),
        ("medusa hydra suffix", ["medusa suffix", "hydra suffix", "medusa", "hydra", "suffix"]),
        (
            "medusa medusa-static suffix draft-lm",
            ["medusa suffix", "medusa-static suffix", "draft-lm suffix", "medusa", "suffix"],
        ),
        (
            "medusa suffix recycling rest",
            ["medusa suffix recycling rest", "medusa", "suffix recycling rest", "suffix", "recycling", "rest"],
        ),
    ],
)
def test_of_those_that_cost_something_one_drafts_at_a_time_each_with_the_cheap_ones(sources: str, arms: list[str]) -> None:
    assert _arms(sources.split()) == [frozenset(arm.split()) for arm in arms]


@pytest.mark.parametrize("kind", kinds.HEADS)
def test_what_was_scored_on_the_same_text_decides_between_the_copies_of_some_heads(kind: str) -> None:
    costs, shadow = StepCosts(), Shadow(every=16)
    costs.profile(lambda num_sequences, rows: pass_seconds(rows))
    ours = Controller([kind, f"{kind}-static", "suffix"], costs=costs, shadow=shadow)
    batch = Batch((sequence(),))
    assert ours.budget(batch).sources == {kind, "suffix"}, "the adaptive ones are preferred"
    for _ in range(20):
        for arm in ours.budget(batch).arms:
            tokens = 3 if f"{kind}-static" in arm else 1
            shadow.add_arm(Promise(arm, 1, True, tokens, 0, 1.5), (told := sequence()), chain(tokens - 1))
            told.tokens += [1, 1, 1]
            shadow.settle(told, ended=False)
        ours.observe(1, 4, 2, 2e-3, 4e-4)
    assert ours.budget(batch).sources == {f"{kind}-static", "suffix"}


def chain(length: int) -> Tree:
    tree = Tree.rooted(2)
    for depth in range(length):
        tree.add(depth, 1, 0.9, 1)
    return tree


def test_greedy_and_sampled_choices_have_arms_of_their_own() -> None:
    ours = controller("medusa", "suffix")
    greedy, sampled = sequence(), sequence()
    greedy.sampling = Sampling(max_tokens=8, temperature=0.0)
    for _ in range(96):  # drafts fail where choices are sampled, and never where they are greedy
        for choice, tokens in ((sampled, 1), (greedy, 5)):
            if ours.budget(Batch((choice,))).nodes:
                ours.observe(1, 4, tokens, 2e-3, 4e-4)
            else:
                ours.observe(1, 0, 1, 1e-3, 0.0)
    gauges = ours.gauges()
    assert gauges["arm:1:sampled:none"] == 1.0
    assert gauges["arm:1:greedy:none"] == 0.0
    assert gauges["gain:1:greedy"] > 2.0


def test_a_step_in_which_nobody_can_be_drafted_for_counts_where_it_belongs() -> None:
    """Not for whoever was served in the step before."""
    ours = controller("medusa")
    greedy, plainly = sequence(), sequence(speculative=False)
    greedy.sampling = Sampling(max_tokens=8, temperature=0.0)
    ours.budget(Batch((greedy,)))
    ours.observe(1, 4, 2, 2e-3, 4e-4)
    before = ours.gauges()["arm_gain:1:greedy:none"]
    for _ in range(20):
        ours.budget(Batch((plainly,)))
        ours.observe(1, 0, 1, 4e-3, 0.0)
    gauges = ours.gauges()
    assert gauges["arm_gain:1:greedy:none"] == before
    assert gauges["arm_gain:1:sampled:none"] < 0.98


def test_a_draft_model_that_pays_takes_over_from_heads_and_gives_way_where_it_does_not() -> None:
    draft = ("draft-lm", lambda step: 0.9 if step < 2000 else 0.3, 8e-4)
    world = World(1, [("medusa", lambda step: 0.5, 3e-4), ("suffix", lambda step: 0.0, CHEAP), draft])
    world.run(1000)
    asked = [chain.asked for chain in world.chains]
    world.run(800)
    assert world.chains[2].asked - asked[2] > 600
    assert world.chains[0].asked - asked[0] < 150, "never both at once"
    world.run(1200)
    asked = [chain.asked for chain in world.chains]
    world.run(500)
    assert world.chains[0].asked - asked[0] > 350
    assert world.chains[2].asked - asked[2] < 100


def test_one_sequence_never_gets_more_than_a_tree_may_hold() -> None:
    ours = Controller(["suffix"], max_tree=6)
    batch = Batch((sequence(),))
    for _ in range(100):
        nodes = ours.budget(batch).nodes
        assert nodes <= 6
        ours.observe(1, nodes, nodes, 1e-3, 0.0)


def test_gauges_tell_the_arm_and_its_gain_by_batch_size() -> None:
    world = World(4, [("medusa", lambda step: 0.8, HEADS), ("suffix", lambda step: 0.0, CHEAP)])
    world.run(300)
    gauges = world.controller.gauges()
    assert gauges["arm:4:sampled:medusa+suffix"] == 1.0
    assert gauges["arm:4:sampled:none"] == 0.0
    assert gauges["arm_gain:4:sampled:medusa+suffix"] == gauges["gain:4:sampled"]
    assert gauges["gain:4:sampled"] == pytest.approx(world.run(300) / plain(4), rel=0.25)
    assert gauges["zero_share"] < 0.5  # a trial of plain decoding may be under way


def test_domains_that_alternate_each_have_the_arm_that_pays_for_them() -> None:
    """Every forty steps the text turns from one that heads draft well to one on which they are worth nothing."""

    def first(step: int) -> bool:
        return step // 40 % 2 == 0

    def world(*, told: bool) -> World:
        sources = [("medusa", lambda step: 0.8 if first(step) else 0.0, HEADS)]
        return World(1, sources, domain=lambda step: "ab"[not first(step)] if told else "")

    speeds = {}
    for told in (True, False):
        ours = world(told=told)
        ours.run(2000)
        speeds[told] = ours.run(2000)
    assert speeds[True] > 1.04 * speeds[False]


def test_gauges_count_the_groups_that_are_judged_by_themselves_and_name_none() -> None:
    world = World(1, [("medusa", lambda step: 0.8, HEADS)], domain=lambda step: "a:b%20/c d" if step % 2 else "")
    before = set(world.controller.gauges())
    world.run(400)
    gauges = world.controller.gauges()
    assert gauges["groups:1:sampled:medusa"] == 2
    assert gauges["group_gain:1:sampled:medusa"] > 1.5
    arms = {f"{name}:1:sampled:{arm}" for name in ("arm", "arm_gain") for arm in ("medusa", "none")}
    assert set(gauges) - before - arms == {"gain:1:sampled", "groups:1:sampled:medusa", "group_gain:1:sampled:medusa"}


def test_a_purge_takes_what_a_tenants_steps_said_and_leaves_what_everybodys_did() -> None:
    world = World(1, [("medusa", lambda step: 0.8, HEADS)], domain=lambda step: "a")
    world.run(400)
    ours = world.controller
    before = ours.gauges()
    ours.forget("another")
    assert ours.gauges() == before
    ours.forget("t")
    ours.observe(1, 0, 1, 1e-3, 0.0)  # the step that was under way
    assert "groups:1:sampled:medusa" not in ours.gauges()
    assert "arm:1:sampled:medusa" in ours.gauges()
    assert not [each for each in (*ours._contexts._own, *ours._contexts._num_steps) if each.concerns("t")]
