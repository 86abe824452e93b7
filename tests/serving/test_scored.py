"""Log-probabilities are those of the target's raw scores, in drafts and in prompts, whatever is edited."""

from __future__ import annotations

import msgspec
import pytest
import torch

from pipelines.trace import Edits
from serving.messages import Moved, Request
from speculator import scoring
from speculator.scored import Scored
from tests.serving.rig import VOCAB, GuessingSpeculator, NoSpeculator, engine_with, moves_of, plain_engine, tiny_target
from tests.serving.test_engine_exactness import DECODER, plain, request

EDITS = Edits(repetition_penalty=1.5, logit_bias=((3, 5.0),))


def served(asks: list[Request]) -> dict[int, list[Moved]]:
    """What the engine reports of each, drafts accepted at many depths."""
    engine = plain_engine(tiny_target(DECODER), GuessingSpeculator(plain(asks), 3, hit_rate=0.9))
    return moves_of(engine, asks)


def check(tokens: list[int], scored: list[Scored], start: int, num_top: int) -> None:
    """scored: of tokens[start:]. Bitwise equality is not asked of a pass of another shape; 1e-4 is no other token's."""
    raw = DECODER.logits(DECODER.hidden_states(torch.tensor(tokens))).log_softmax(-1)[start - 1 : -1]
    assert [each.token for each in scored] == tokens[start:]
    for row, each in zip(raw, scored, strict=True):
        assert each.logprob == pytest.approx(row[each.token].item(), abs=1e-4)
        assert each.rank == 1 + int((row > row[each.token]).sum())
        best = row.topk(num_top)
        assert [token for token, _ in each.top] == best.indices.tolist()
        assert [value for _, value in each.top] == pytest.approx(best.values.tolist(), abs=1e-4)


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_log_probabilities_of_what_is_emitted_are_those_of_a_fresh_pass(temperature: float) -> None:
    asks = [request(number, temperature, 5, logprobs=number, edits=EDITS) for number in range(3)]
    moves = served(asks)
    assert max(len(moved.token_ids) for each in moves.values() for moved in each) > 3, "nothing was scored within a draft"
    for each in asks:
        said = [token for moved in moves[each.id] for token in moved.token_ids]
        scored = [one for moved in moves[each.id] for one in moved.scored]
        check([*each.prompt_ids, *said], scored, len(each.prompt_ids), each.id)


def test_a_stop_token_within_a_draft_is_scored_last() -> None:
    base = request(2, 0.0, 5)
    answer = plain([base])[2]
    ask = request(2, 0.0, 5, stop_ids=(answer[9],), logprobs=0)
    engine = plain_engine(tiny_target(DECODER), GuessingSpeculator({2: answer}, 4, hit_rate=1.0))
    scored = [one for moved in moves_of(engine, [ask])[2] for one in moved.scored]
    check([*ask.prompt_ids, *answer[: answer.index(answer[9]) + 1]], scored, 5, 0)


def test_prompts_are_scored_in_chunks_and_pieces_beside_others_that_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "_ROWS", 3)  # chunks have up to 7 tokens
    wanted = [request(number, 0.0, length, prompt_logprobs=2) for number, length in enumerate((1, 2, 7, 8, 30))]
    others = [request(number, 0.8, 9) for number in (5, 6)]
    asks = [wanted[0], others[0], *wanted[1:], others[1]]
    moves = served(asks)
    for each in wanted:
        first, *rest = moves[each.id]
        check(list(each.prompt_ids), list(first.prompt_scored), 1, 2)
        assert not any(moved.prompt_scored for moved in rest)
    for each in others:
        assert not any(moved.prompt_scored or moved.scored for moved in moves[each.id])


def test_asking_changes_nothing_of_what_is_said() -> None:
    asks = [request(number, 0.8, 9) for number in range(3)]
    told = [msgspec.structs.replace(each, logprobs=VOCAB + 5, prompt_logprobs=0) for each in asks]
    assert plain(asks) == {key: tuple(t for m in each for t in m.token_ids) for key, each in served(told).items()}


def test_a_prompt_read_again_is_not_told_again() -> None:
    target = tiny_target(DECODER)
    engine = engine_with(target, NoSpeculator(), max_running=1)
    ask = request(1, 0.0, 20, prompt_logprobs=1)
    engine.submit(ask)
    engine.step()
    (sequence,) = engine.scheduler.running
    assert len(sequence.prompt_scored) == sequence.num_written == 4
    engine.submit(request(2, 0.0, 3, priority=-1))  # takes its place
    engine.step()
    assert sequence.num_written == 0
    while engine.has_work:
        engine.step()
    check(list(ask.prompt_ids), sequence.prompt_scored, 1, 1)
