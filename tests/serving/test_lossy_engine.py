"""Lossy answers of the engine: every token is typical or the target's own choice, and exact answers beside them stay exact."""

from __future__ import annotations

import math
import random

import pytest
import torch

from pipelines.trace import TYPICAL, Edits, Typical
from serving.engine import Engine
from serving.messages import Moved, Request
from speculator.batch import Sampling
from speculator.constraint.guide import Guide
from speculator.draft_lm import DraftModelSpeculator
from speculator.drafts import Law
from speculator.edits import processors_of
from speculator.law import noisy_scores, process
from speculator.merged import MergedSpeculator
from speculator.processor import Processor, edited
from speculator.protocol import Speculator
from tests.serving.rig import (
    MAX_TREE,
    VOCAB,
    GuessingSpeculator,
    NoSpeculator,
    moves_of,
    plain_engine,
    tiny_scheduler,
    tiny_target,
)
from tests.serving.test_constrained_engine import CASES, EOS, WANTED, keeps, wanted
from tests.serving.test_constrained_engine import request as constrained_request
from tests.serving.test_engine_exactness import DECODER, plain, request
from tests.speculator.constraint.alphabet import grammars, small_tokenizer
from tests.speculator.draft_models import draft_model, runner_of, target_of

EDITS = Edits(repetition_penalty=1.3, frequency_penalty=0.4)
LAX = Typical(epsilon=0.03, delta=0.3)


def engine_of(*sources: Speculator, **limits: int) -> Engine:
    target = tiny_target(DECODER, num_pages=limits.pop("num_pages", 256))
    return Engine(target, tiny_scheduler(target, **limits), MergedSpeculator(sources, max_tree=MAX_TREE), grammars=grammars())


def said(moves: list[Moved]) -> tuple[int, ...]:
    return tuple(token for moved in moves for token in moved.token_ids)


def processors_after(asked: Request, before: tuple[int, ...]) -> list[Processor]:
    sampling = Sampling(stop_ids=frozenset(asked.stop_ids), edits=asked.edits)
    found: list[Processor] = list(processors_of(sampling, asked.prompt_ids))
    if asked.constraint is not None:
        found.append(grammars().guide(asked.constraint, asked.stop_ids))
    for token in before:
        for each in found:
            each.accept(token)
    return found


def departures(asked: Request, tokens: tuple[int, ...]) -> int:
    """How many tokens are not the target's choice after those before them, by a dense pass; all of these must be typical."""
    assert asked.lossy is not None
    sampling = Sampling(asked.temperature, asked.top_p, asked.top_k, seed=asked.seed, choice=asked.choice)
    rows = DECODER.logits(DECODER.hidden_states(torch.tensor([*asked.prompt_ids, *tokens])))[len(asked.prompt_ids) - 1 :]
    count = 0
    for position, (token, row) in enumerate(zip(tokens, rows, strict=False)):
        scores = edited(row, processors_after(asked, tokens[:position]))
        if token == int(noisy_scores(scores, sampling, position).argmax()):
            continue
        probs = process(scores, sampling).double().softmax(-1)
        entropy = -sum(p * math.log(p) for p in probs.tolist() if p > 0)
        assert probs[token] > min(asked.lossy.epsilon, asked.lossy.delta * math.exp(-entropy))
        count += 1
    return count


def mixed(num: int, **changes: object) -> list[Request]:
    """Every third is exact, every third greedy with thresholds that do not concern it."""
    how = ((0.9, LAX), (0.9, None), (0.0, LAX))
    return [
        request(number, how[number % 3][0], 3 + number % 9, **{"lossy": how[number % 3][1], **changes}) for number in range(num)
    ]


@pytest.mark.parametrize("changes", [{}, {"edits": EDITS}, {"top_p": 0.8}, {"top_k": 6, "stop_ids": (1, 2, 3)}], ids=str)
@pytest.mark.parametrize("limits", [{}, {"num_pages": 30, "max_running": 4}], ids=["roomy", "preempting"])
def test_lossy_tokens_are_typical_or_the_targets_and_their_neighbours_stay_exact(
    changes: dict[str, object], limits: dict[str, int]
) -> None:
    asked = mixed(15, **changes)
    exact = plain(asked)
    engine = engine_of(GuessingSpeculator({}, 3), **limits)
    moves = moves_of(engine, asked)
    departed = 0
    for each in asked:
        tokens = said(moves[each.id])
        if each.lossy is None or each.temperature == 0:
            assert tokens == exact[each.id]
        else:
            departed += departures(each, tokens)
    assert departed > 3, "nothing lossy was accepted: nothing was tested"
    assert ("num_pages" in limits) == (engine.scheduler.counters["preemptions"] > 0)


def test_without_a_draft_lossy_answers_are_exact() -> None:
    asked = mixed(6)
    assert {number: said(moves) for number, moves in moves_of(engine_of(NoSpeculator()), asked).items()} == plain(asked)


def test_choices_of_one_prompt_go_their_own_ways_and_share_its_pages() -> None:
    asked = [request(1, 0.9, 17, lossy=LAX, id=choice + 1, choice=choice, seed=5) for choice in range(6)]
    engine = engine_of(GuessingSpeculator({}, 4))
    moves = moves_of(engine, asked)
    assert engine.scheduler.counters["prefix_cache_hits"] > 0
    assert sum(departures(each, said(moves[each.id])) for each in asked) > 1
    assert len({said(each) for each in moves.values()}) > 3


def test_log_probabilities_are_the_targets_raw_ones_at_lossy_tokens_too() -> None:
    asked = request(1, 0.9, 7, lossy=LAX, logprobs=1)
    (moves,) = moves_of(engine_of(GuessingSpeculator({}, 6)), [asked]).values()
    tokens = said(moves)
    assert departures(asked, tokens) > 0
    rows = DECODER.logits(DECODER.hidden_states(torch.tensor([*asked.prompt_ids, *tokens[:-1]])))[6:].log_softmax(-1)
    scored = [each for moved in moves for each in moved.scored]
    assert [each.token for each in scored] == list(tokens)
    assert [each.logprob for each in scored] == pytest.approx(rows[range(len(tokens)), list(tokens)].tolist(), abs=1e-4)


def test_within_a_grammar_nothing_forbidden_is_accepted() -> None:
    generous = Typical(epsilon=1e-9, delta=1e-9)
    asked = [
        constrained_request(10 * number + index, 0.7, wanted(index), lossy=generous) for number, (index, _) in enumerate(CASES)
    ]
    rng = random.Random(0)
    answers = {each.id: tuple(rng.randrange(VOCAB) for _ in range(60)) for each in asked}
    moves = moves_of(engine_of(GuessingSpeculator(answers, 3, hit_rate=0.2)), asked)
    num_ended = 0
    departed = 0
    for each, (index, _) in zip(asked, CASES, strict=True):
        tokens = said(moves[each.id])
        departed += departures(each, tokens)
        if tokens[-1] == EOS:
            num_ended += 1
            assert keeps(*WANTED[index], small_tokenizer().decode(tokens))
    assert departed > 3
    assert num_ended > len(asked) / 2


def test_a_fork_of_a_guide_moves_on_alone() -> None:
    first: Guide = grammars().guide(wanted(5), (EOS,))
    other = first.fork()
    before = first.edit(torch.zeros(VOCAB))
    other.accept(int(before.argmax()))
    assert torch.equal(first.edit(torch.zeros(VOCAB)), before)
    assert not torch.equal(other.edit(torch.zeros(VOCAB)), before)


@pytest.mark.parametrize("law", [Law.CHAIN_REJECTION, Law.WITHOUT_REPLACEMENT])
def test_drawn_drafts_are_judged_by_the_same_criterion(law: Law) -> None:
    """A drafter that is not the target: by the exact law it loses more."""
    verified = draft_model(seed=0)
    counts = []
    for lossy in (None, TYPICAL):
        target = target_of(verified)
        source = DraftModelSpeculator(runner_of(draft_model(seed=5)), version="v", max_tree=12, depth=4, law=law)
        engine = Engine(target, tiny_scheduler(target, max_running=4), MergedSpeculator([source], max_tree=12))
        asked = [request(number, 0.8, 5, lossy=lossy) for number in range(12)]
        moves = moves_of(engine, asked)
        assert all(len(said(each)) == 24 for each in moves.values())
        counts.append(engine.stats.counters["decode_steps"])
    assert counts[1] < counts[0]


def test_plain_engines_and_lossy_ones_emit_the_same_for_whoever_is_exact() -> None:
    asked = [request(number, 0.9, 5) for number in range(6)]
    alone = moves_of(plain_engine(tiny_target(DECODER), GuessingSpeculator({}, 8)), asked)
    crowd = moves_of(engine_of(GuessingSpeculator({}, 9)), [*asked, *(request(n, 0.9, 5, lossy=LAX) for n in range(20, 26))])
    assert {number: said(moves) for number, moves in alone.items()} == {each.id: said(crowd[each.id]) for each in asked}
