"""Only a proven near-tie excuses a difference."""

from __future__ import annotations

import pytest
import torch

from bench.equality import Judge
from bench.errors import Different
from bench.rig import Answer, Ask, Client
from kernels.linear import replace_rows
from models.decoder import Decoder
from speculator.law import NEAR_TIE
from tests.serving.rig import VOCAB, plain_engine, tiny_decoder, tiny_target

PROMPT = (3, 14, 15, 9)


def ask(temperature: float = 0.0) -> Ask:
    return Ask(1, "toy", PROMPT, 12, (), temperature)


def said(decoder: Decoder, temperature: float = 0.0) -> list[int]:
    (answer,) = Client(plain_engine(tiny_target(decoder))).run([ask(temperature)], 1)
    return answer.token_ids


def compare(decoder: Decoder, ours: list[int], theirs: list[int], temperature: float = 0.0) -> int:
    return Judge(decoder).same([Answer(ask(temperature), ours)], [Answer(ask(temperature), theirs)])


def with_twin(token: int) -> tuple[Decoder, int]:
    """A decoder in which another token has the very same row of the unembedding as `token`: their scores always tie."""
    decoder = tiny_decoder()
    twin = (token + 1) % VOCAB
    replace_rows(decoder._unembedding, [twin], decoder.output_embeddings()[token : token + 1])
    return decoder, twin


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_equal_outputs_are_equal(temperature: float) -> None:
    decoder = tiny_decoder()
    ours = said(decoder, temperature)
    assert compare(decoder, ours, list(ours), temperature) == 0


@pytest.mark.parametrize("temperature", [0.0, 0.8])
@pytest.mark.parametrize("position", [0, 5, 11])
def test_a_difference_that_is_no_near_tie_is_an_error_that_says_where(position: int, temperature: float) -> None:
    decoder = tiny_decoder()
    truth = said(decoder, temperature)
    wrong = list(truth)
    wrong[position] = (wrong[position] + 1) % VOCAB
    with pytest.raises(Different, match=rf"1 of 1 outputs differ.*output position {position}: {wrong[position]} here"):
        compare(decoder, wrong, truth, temperature)


def test_a_difference_between_the_best_two_within_rounding_is_a_near_tie() -> None:
    best = said(tiny_decoder())[0]
    decoder, twin = with_twin(best)
    judge = Judge(decoder)
    ours, theirs = [best, 1, 2], [twin, 7, 7, 7]
    assert judge.same([Answer(ask(), ours)], [Answer(ask(), theirs)]) == 1
    assert [(tie.position, tie.gap) for tie in judge.near_ties] == [(0, pytest.approx(0.0, abs=1e-5))]


def test_the_second_best_token_is_no_near_tie_when_it_is_clearly_second() -> None:
    decoder = tiny_decoder()
    logits = decoder.logits(decoder.hidden_states(torch.tensor(PROMPT))[-1])
    best, second = logits.topk(2).indices.tolist()
    assert logits[best] - logits[second] > 100 * NEAR_TIE
    with pytest.raises(Different, match="the best two"):
        compare(decoder, [best], [second])


def test_a_near_tie_does_not_excuse_a_third_token() -> None:
    best = said(tiny_decoder())[0]
    decoder, twin = with_twin(best)
    third = next(token for token in range(VOCAB) if token not in (best, twin))
    with pytest.raises(Different, match="the best two"):
        compare(decoder, [best], [third])


def test_an_output_that_stops_early_is_different() -> None:
    decoder = tiny_decoder()
    truth = said(decoder)
    with pytest.raises(Different, match="one the start of the other"):
        compare(decoder, truth[:-1], truth)


def test_the_first_of_several_is_named_and_all_are_counted() -> None:
    decoder = tiny_decoder()
    truth = said(decoder)
    wrong = [(token + 1) % VOCAB for token in truth]
    judge = Judge(decoder)
    with pytest.raises(Different, match="2 of 3 outputs differ"):
        judge.same([Answer(ask(), each) for each in (wrong, truth, wrong)], [Answer(ask(), truth)] * 3)


def test_sampled_outputs_are_judged_by_the_noise_they_were_drawn_with() -> None:
    # at this position the two tokens tie without noise, but not with it
    best = said(tiny_decoder())[0]
    decoder, twin = with_twin(best)
    logits = decoder.logits(decoder.hidden_states(torch.tensor(PROMPT))[-1])
    assert float(logits[best] - logits[twin]) == pytest.approx(0.0, abs=1e-5)
    with pytest.raises(Different):
        compare(decoder, [best], [twin], temperature=0.8)
