"""A mask leaves exactly the tokens with which the text can still become one of the language; ends, conflicts and failures."""

from __future__ import annotations

import json
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from llguidance import LLMatcher, LLParserLimits

from speculator.batch import Sampling
from speculator.constraint.guide import Guide
from speculator.drafts import Drafts, Tree
from speculator.verify import verify
from tests.speculator.constraint.alphabet import EOS, VOCAB, grammars, guide, ids, small_tokenizer

TEXTS = [small_tokenizer().decode([token]).encode() for token in range(VOCAB)]
PARTS = {33: b"\xc3", 34: b"\xa9"}
"""Tokens that are half of an é."""
LETTERS = "abé12"


def allowed(subject: Guide) -> set[int]:
    return set(torch.nonzero(subject.edit(torch.zeros(VOCAB)) > -math.inf).flatten().tolist())


def by_hand(choices: list[bytes], said: bytes) -> set[int]:
    """Tokens with which `said` still begins one of the choices, and the end where it is one of them."""
    found = {EOS} if said in choices else set()
    for token, text in enumerate(TEXTS):
        piece = PARTS.get(token, text)
        if piece and any(choice.startswith(said + piece) for choice in choices):
            found.add(token)
    return found


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(LETTERS, min_size=1, max_size=5), min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_a_mask_is_what_a_plain_look_at_the_language_allows(choices: list[str], random: object) -> None:
    subject, drafting = (guide("choice", json.dumps(choices)) for _ in range(2))
    language, said = [choice.encode() for choice in choices], b""
    while True:
        expected, forced = by_hand(language, said), drafting.forced()[:1]
        assert {*forced} <= expected
        # of bytes that must follow the library takes the tokenizer's own token, not any other beginning of them
        assert allowed(subject) == ({*forced} or expected)
        assert {token for token in range(VOCAB) if drafting.reach([token])} == expected
        token = random.choice(forced or sorted(expected))  # type: ignore[attr-defined]
        for each in (subject, drafting):
            each.accept(token)
        if token == EOS:
            break
        said += PARTS.get(token, TEXTS[token])
    assert said in language
    assert not subject.error
    assert not drafting.error


def test_where_the_grammar_may_go_on_or_end_both_are_allowed_and_where_it_is_complete_only_the_end() -> None:
    subject = guide("regex", "ab*")
    subject.accept(ids("a")[0])
    assert allowed(subject) == {*ids("b"), EOS}
    subject = guide("regex", "ab")
    subject.accept(*ids("ab"))
    assert allowed(subject) == {EOS}


def test_the_ends_are_the_stop_ids_of_the_request() -> None:
    (stop,) = ids("x")
    subject = guide("regex", "a+", frozenset({stop}))
    assert allowed(subject) == {*ids("a"), *ids("ab")} & {*ids("a")}
    subject.accept(*ids("a"))
    assert allowed(subject) == {*ids("a"), stop}
    subject.accept(stop)
    assert allowed(subject) == {stop}
    assert not subject.error


def test_an_answer_that_ignores_its_end_says_nothing_but_ends_behind_it() -> None:
    subject = guide("regex", "ab", frozenset())
    for token in (*ids("ab"), EOS, EOS):
        assert token in allowed(subject)
        subject.accept(token)
    assert allowed(subject) == {EOS}
    assert (subject.reach([EOS]), subject.forced(), subject.error) == (0, [], "")


def test_a_complete_text_ends_even_if_others_have_excluded_its_end() -> None:
    subject = guide("regex", "ab?")
    subject.accept(*ids("a"))
    for banned in ({EOS, *ids("b")}, set(range(VOCAB))):  # by min_tokens, say
        scores = torch.zeros(VOCAB)
        scores[sorted(banned)] = -math.inf
        assert torch.nonzero(subject.edit(scores) > -math.inf).flatten().tolist() == [EOS]
    scores = torch.zeros(VOCAB)
    scores[EOS] = -math.inf
    assert torch.nonzero(subject.edit(scores) > -math.inf).flatten().tolist() == ids("b"), "while it may go on, it does"
    assert not subject.error


def test_a_text_that_others_leave_no_way_on_is_an_error() -> None:
    subject = guide("regex", "a|x")
    scores = torch.zeros(VOCAB)
    scores[ids("a") + ids("x")] = -math.inf
    assert torch.isfinite(subject.edit(scores)).all(), "something is chosen, though nobody will see it"
    assert subject.error.startswith("structured_outputs.regex: logit_bias, allowed_token_ids or bad_words")


def test_what_others_excluded_stays_excluded_while_anything_is_left() -> None:
    scores = torch.zeros(VOCAB)
    scores[ids("a")] = -math.inf
    edited = guide("regex", "a|x").edit(scores)
    assert torch.nonzero(edited > -math.inf).flatten().tolist() == ids("x")


def test_a_token_outside_the_grammar_is_an_error_that_names_the_field_and_stays() -> None:
    subject = guide("regex", "a+")
    subject.accept(*ids("b"))
    assert subject.error.startswith("structured_outputs.regex: ")
    assert "\n" not in subject.error
    before, scores = subject.error, torch.arange(float(VOCAB))
    assert torch.equal(subject.edit(scores.clone()), scores)
    subject.accept(*ids("a"))
    assert (subject.error, subject.reach(ids("a")), subject.forced()) == (before, 0, [])


def test_a_grammar_that_becomes_too_complex_is_an_error_not_an_exception() -> None:
    limits = LLParserLimits(max_lexer_states=20, step_lexer_fuel=300, verbose_errors=False)
    expression = LLMatcher.grammar_from_regex("((a{1,100}){1,100}){1,100}")
    matcher = LLMatcher(grammars().view, expression, log_level=0, limits=limits)
    subject = Guide(matcher, "guided_regex", eos_ids=[EOS], ends=[EOS], vocab_size=VOCAB)
    for _ in range(40):
        subject.edit(torch.zeros(VOCAB))
        subject.accept(*ids("a"))
    assert subject.error.startswith("guided_regex: ")


@pytest.mark.parametrize("temperature", [0.0, 0.9])
def test_the_mask_at_a_node_is_that_behind_its_ancestors(temperature: float) -> None:
    said = [*ids("ab12"), EOS]
    tree = Tree.rooted(ids("x")[0])
    for token in said:
        tree.add(0, token, 0.5, 1)  # a decoy: allowed at no root but the first's
        tree.add(0 if tree.depth[-1] == 1 and len(tree) == 2 else tree.children(0)[0], EOS, 0.5, 1)
    chain = Tree.rooted(ids("x")[0])
    for token in said:
        chain.add(len(chain) - 1, token, 0.5, 1)
    for draft in (chain, tree, Tree.rooted(ids("x")[0])):
        subject, emitted = guide("regex", "ab12"), []
        logits = torch.randn(len(draft), VOCAB, generator=torch.Generator().manual_seed(1))
        sampling = Sampling(temperature=temperature, seed=5, stop_ids=frozenset({EOS}))
        while not emitted or emitted[-1] != EOS:
            position = len(emitted)
            drafts = Drafts.pack([draft if position == 0 else Tree.rooted(emitted[-1])])
            emitted += verify(drafts, logits[: drafts.num_nodes], [sampling], [position], processors=[(subject,)]).emitted[0]
        assert small_tokenizer().decode(emitted) == "ab12", "whatever the scores, one text is all that the grammar has"
