"""Compiled grammars: the tokenizer as the library sees it, what is kept, what cannot be compiled."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.source import bundled_target
from models.tokenizer import Tokenizer
from models.tokenizer_files import load_tokenizer
from speculator.constraint.constraint import BadConstraint
from speculator.constraint.grammars import Grammars
from speculator.constraint.guide import Guide
from tests.models.families import save_tokenizer
from tests.speculator.constraint.alphabet import EOS, VOCAB, constraint, ids, small_tokenizer


def bundled(folder: Path) -> Tokenizer:
    return load_tokenizer(str(bundled_target()))


def saved(folder: Path) -> Tokenizer:
    save_tokenizer(folder)
    return load_tokenizer(str(folder))


@pytest.mark.parametrize("load", [bundled, saved, lambda folder: small_tokenizer()])
def test_every_token_is_the_bytes_that_our_tokenizer_makes_of_it(load: object, tmp_path: Path) -> None:
    tokenizer: Tokenizer = load(tmp_path)  # type: ignore[operator]
    view = Grammars(tokenizer, tokenizer.vocab_size + 3).view
    num_partial = 0
    for token in range(tokenizer.vocab_size):
        text = tokenizer.decode([token], skip_special=False)
        if view.is_special_token(token):
            # or the byte FF, which no text holds: the library marks special tokens with it
            assert tokenizer.decode([token]) == "" or text == "\ufffd"
        else:
            assert view.decode_bytes([token]).decode(errors="replace") == text
            num_partial += "\ufffd" in text
    assert num_partial, "tokens that are parts of a character are what this is about"
    assert view.eos_tokens == sorted(tokenizer.eos_ids)


def test_characters_of_several_tokens_are_spelt_byte_by_byte() -> None:
    tokenizer = load_tokenizer(str(bundled_target()))
    grammars = Grammars(tokenizer, tokenizer.vocab_size)
    for text in ("é東👍🏽", "naïve café, 東京", "👩‍👩‍👧‍👦"):
        spelt = tokenizer.encode(text)
        assert len(spelt) > len(text) / 2
        guide = grammars.guide(constraint("choice", f'["{text}", "other"]'), tokenizer.eos_ids)
        assert guide.reach([*spelt, *tokenizer.eos_ids]) == len(spelt) + 1


def test_the_text_of_a_special_token_is_not_that_token() -> None:
    tokenizer = load_tokenizer(str(bundled_target()))
    (end,) = tokenizer.encode("<|end|>")
    guide = Grammars(tokenizer, tokenizer.vocab_size).guide(constraint("choice", '["<|end|>"]'), tokenizer.eos_ids)
    assert guide.reach([end]) == 0
    assert guide.reach([token for letter in "<|end|>" for token in tokenizer.encode(letter)]) == len("<|end|>")


def compiled(grammars: Grammars, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Texts of the constraints that are compiled from now on."""
    seen: list[str] = []
    compile_one = grammars._compiled
    monkeypatch.setattr(grammars, "_compiled", lambda each: seen.append(each.text) or compile_one(each))
    return seen


def test_a_grammar_is_compiled_once_while_it_is_kept_and_the_least_used_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    grammars = Grammars(small_tokenizer(), VOCAB, most_kept=2)
    seen = compiled(grammars, monkeypatch)
    for text in ("a", "b", "a", "c", "a", "b"):
        assert grammars.guide(constraint("regex", text), {EOS}).reach(ids(text)) == 1
    assert seen == ["a", "b", "c", "b"]


def test_guides_through_one_grammar_do_not_move_each_other() -> None:
    grammars = Grammars(small_tokenizer(), VOCAB)
    first, second = (grammars.guide(constraint("regex", "ab+c"), {EOS}) for _ in range(2))
    for token in ids("a"):
        first.accept(token)
    assert (first.reach(ids("bbc")), second.reach(ids("bbc"))) == (3, 0)
    third = grammars.guide(constraint("regex", "ab+c"), {EOS})
    assert third.reach(ids("a")) == 1


def refusal(grammars: Grammars, kind: str = "regex", text: str = "a") -> str:
    with pytest.raises(BadConstraint) as refused:
        grammars.guide(constraint(kind, text), {EOS})
    return str(refused.value)


def test_a_model_without_an_end_token_cannot_be_constrained() -> None:
    assert "end token" in refusal(Grammars(small_tokenizer(frozenset()), VOCAB))


def test_a_tokenizer_that_does_not_fit_the_vocabulary_is_a_refusal_not_a_crash() -> None:
    assert "tokenizer" in refusal(Grammars(small_tokenizer(), 10))


def test_what_only_the_tokenizer_shows_to_be_wrong_is_refused_too() -> None:
    assert "structured_outputs.grammar: " in refusal(Grammars(small_tokenizer(), VOCAB), "grammar", "start: <|nobody|>")


def test_a_guide_is_a_guide() -> None:
    assert isinstance(Grammars(small_tokenizer(), VOCAB).guide(constraint("regex", "a"), ()), Guide)
