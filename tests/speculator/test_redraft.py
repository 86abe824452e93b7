"""A text drafted for again takes the steps that serving it took, also where drafting needs pages of its own."""

from __future__ import annotations

import random

import pytest

from serving.engine import Engine, FixedBudget
from serving.messages import Request
from speculator.batch import Sampling
from speculator.draft_lm import DraftModelSpeculator
from speculator.merged import MergedSpeculator
from speculator.redraft import redraft
from speculator.static_draft import draft_source
from tests.serving.rig import VOCAB, tiny_scheduler
from tests.speculator.draft_models import NUM_PAGES, PAGE_SIZE, decoder_of, draft_model, target_of

NODES = 6
DECODER = decoder_of(draft_model(seed=0))


def source(**pages: int) -> DraftModelSpeculator:
    """Drafts with a model that resembles the target."""
    model = draft_model(seed=0)
    weight = model.tensors["model.layers.1.mlp.down_proj.weight"]
    model.copy_weights({**model.tensors, "model.layers.1.mlp.down_proj.weight": 0.7 * weight})
    return draft_source(model, version="v", max_tree=NODES, device=DECODER.device, dtype=DECODER.dtype, **pages)


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_drafting_again_takes_exactly_the_steps_that_serving_took(temperature: float) -> None:
    target = target_of(draft_model(seed=0))
    served = source(page_size=PAGE_SIZE, num_pages=NUM_PAGES)
    engine = Engine(target, tiny_scheduler(target), MergedSpeculator([served], max_tree=NODES), FixedBudget(NODES))
    again = MergedSpeculator([source()], max_tree=NODES)  # merging calibrates, as it did in the engine
    rng = random.Random(5)
    tokens = steps = 0
    for number in range(1, 9):
        prompt = tuple(rng.randrange(VOCAB) for _ in range(rng.randrange(2, 12)))
        request = Request(id=number, prompt_ids=prompt, max_tokens=24, temperature=temperature, seed=number)
        engine.submit(request)
        said: list[int] = []
        num_steps = 0
        while engine.has_work:
            for moved in engine.step():
                said += moved.token_ids
                num_steps += moved.nodes >= 0
        sampling = Sampling(temperature=temperature, seed=number)
        redrafted = redraft(again, (*prompt, *said), len(prompt), sampling, num_nodes=NODES, number=number)
        assert (redrafted.num_tokens, redrafted.num_steps) == (len(said) - 1, num_steps)
        tokens, steps = tokens + redrafted.num_tokens, steps + redrafted.num_steps
    assert tokens > 1.5 * steps, "hardly anything was ever accepted"


def test_an_answer_of_one_token_takes_no_step() -> None:
    assert redraft(source(), [3, 4, 5], 2, Sampling(temperature=0.0), num_nodes=NODES).num_steps == 0


def test_nothing_is_drafted_beyond_the_end_of_the_answer() -> None:
    drafted = redraft(source(), [3, 4, 5, 6], 2, Sampling(temperature=0.0, max_tokens=99), num_nodes=NODES)
    assert (drafted.num_steps, drafted.proposed) == (1, ())


@pytest.mark.parametrize("max_tree", [0, 1, 2, 4, 7, 12, 32, 64])
def test_a_source_drafts_within_any_tree(max_tree: int) -> None:
    """Its branches must fit the slots that are kept free behind a text."""
    made = draft_source(draft_model(seed=0), version="v", max_tree=max_tree, device=DECODER.device, dtype=DECODER.dtype)
    drafted = redraft(made, [*range(9)], 3, Sampling(temperature=0.0), num_nodes=max_tree)
    assert len(drafted.proposed) <= max_tree
    assert sum(drafted.proposed) <= drafted.num_steps * max_tree
