"""Day zero of an EAGLE layer: answers in, a checkpoint out that a server finds and that says what it is worth."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from models.eagle import untrained_config
from pipelines.store import open_store
from speculator.static_eagle import served_layer
from speculator.static_heads import find_static
from tests.speculator.eagle_layers import FORMS, chain_decoder
from tests.trainer.scripted import GREEDY
from trainer.answers import Answer
from trainer.dayzero import first_weights
from trainer.dayzero_eagle import EagleBeginner
from trainer.dayzero_settings import EagleSettings
from trainer.taught import Taught

TARGET = chain_decoder()
TAUGHT = Taught(TARGET, "target-1", "tokenizer-1")
QUICK = EagleSettings(steps=60, rows_per_step=128, learning_rate=0.01, held_out=10, budget=4)


def answer(number: int) -> Answer:
    """What the chain says to a prompt, greedily."""
    tokens = [number]
    while len(tokens) < 24:
        tokens.append((5 * tokens[-1] + 3) % 48)
    return Answer(tokens[:4], tokens[4:], GREEDY)


ANSWERS = [answer(number) for number in range(48)]


@FORMS
def test_a_layer_from_answers_alone_is_found_by_a_server_and_says_what_it_is_worth(tmp_path: Path, parallel: bool) -> None:
    losses: list[float] = []
    beginner = EagleBeginner(TAUGHT, replace(QUICK, parallel=parallel))
    manifest = first_weights(beginner, ANSWERS, open_store(tmp_path), lambda _, loss: losses.append(loss))
    assert len(losses) == 60
    assert losses[-1] < 0.1 * losses[0]
    found = find_static(tmp_path, "eagle", target="target-1", tokenizer="tokenizer-1")
    assert found is not None
    assert found.manifest == manifest
    assert dict(manifest.config) == served_layer(found, TARGET).config == untrained_config(TARGET.config, parallel=parallel)
    assert (manifest.kind, manifest.parent, manifest.span.num_traces) == ("eagle", None, 38)
    judged = manifest.evaluation
    assert judged is not None
    assert (judged.num_conversations, judged.budget, judged.champion_tokens_per_step) == (10, 4, 1.0)
    # nineteen tokens after the first, in a chain that is followed to the letter: four steps, or five with a mistake
    assert 19 / 5 < judged.tokens_per_step <= 19 / 4
