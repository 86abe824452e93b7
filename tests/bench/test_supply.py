"""Prompts: none twice, fresh ones first, and an error when they run out."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import pytest

from bench.errors import NotEnough
from bench.supply import Supply, from_folder, written_here
from models.tokenizer_files import load_tokenizer
from tests.models.families import save_tokenizer


@pytest.fixture
def place(tmp_path: Path) -> Path:
    save_tokenizer(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"eos_token_id": 1}))
    (tmp_path / "prompts").mkdir()
    return tmp_path


def write(place: Path, name: str, texts: Sequence[str]) -> None:
    with gzip.open(place / "prompts" / f"{name}.jsonl.gz", "wt") as file:
        file.writelines(json.dumps({"prompt": text, "domain": name.split(".")[0]}) + "\n" for text in texts)


def supply(place: Path, context: int = 400) -> Supply:
    return from_folder(place / "prompts", load_tokenizer(str(place)), context)


def texts(place: Path, subject: Supply, domain: str, num: int) -> list[str]:
    tokenizer = load_tokenizer(str(place))
    return [tokenizer.decode(ask.prompt_ids).removeprefix("user: ") for ask in subject.fresh(domain, num)]


def test_no_prompt_comes_twice_even_if_both_files_have_it(place: Path) -> None:
    write(place, "sql.dev", ["one", "two", "one"])
    write(place, "sql.train", ["two", "three", "four"])
    subject = supply(place)
    assert texts(place, subject, "sql", 2) == ["one", "two"]
    assert [len(subject.training("sql", 1)), *texts(place, subject, "sql", 1)] == [1, "four"]
    with pytest.raises(NotEnough, match="1 more prompts of sql wanted, 0 are left"):
        subject.fresh("sql", 1)


def test_what_is_measured_on_is_fresh_as_long_as_it_lasts(place: Path) -> None:
    write(place, "sql.dev", ["dev 1", "dev 2"])
    write(place, "sql.train", ["train 1", "train 2"])
    assert texts(place, supply(place), "sql", 3) == ["dev 1", "dev 2", "train 1"]


def test_every_domain_gives_its_share_and_training_prompts_stay_out(place: Path) -> None:
    write(place, "a.dev", [f"a{number}" for number in range(9)])
    write(place, "b.dev", ["b0", "b1"])
    write(place, "b.train", ["b2", "b3", "b4", "b5"])
    subject = supply(place)
    assert [ask.domain for ask in subject.everywhere(8)] == ["a", "b", "a", "b", "a", "a", "a", "a"]
    with pytest.raises(NotEnough, match="6 prompts wanted over all domains, 3 are left"):
        subject.everywhere(6)


def test_mixed_requests_take_turns_by_domain(place: Path) -> None:
    for domain in ("a", "b"):
        write(place, f"{domain}.dev", [f"{domain}{number}" for number in range(5)])
    assert [ask.domain for ask in supply(place).mixed(5, ("a", "b"))] == ["a", "b", "a", "b", "a"]


def test_a_prompt_that_leaves_no_room_for_its_answer_is_passed_over(place: Path) -> None:
    write(place, "sql.dev", ["x" * 300, "short"])
    assert texts(place, supply(place, context=200), "sql", 1) == ["short"]


def test_every_request_has_a_seed_of_its_own(place: Path) -> None:
    write(place, "sql.dev", [f"prompt {number}" for number in range(20)])
    asks = supply(place).fresh("sql", 20)
    assert len({ask.seed for ask in asks}) == 20


def test_an_unknown_domain_and_an_empty_folder_are_named(place: Path) -> None:
    with pytest.raises(NotEnough, match="prompts holds no prompts"):
        supply(place)
    write(place, "sql.dev", ["one"])
    with pytest.raises(NotEnough, match="no domain 'math', expected among sql"):
        supply(place).fresh("math", 1)


def test_the_projects_own_prompts_need_no_files(place: Path) -> None:
    subject = written_here(load_tokenizer(str(place)), 2000)
    measured, learnt = subject.fresh("sql", 30), subject.training("sql", 30)
    assert len({ask.prompt_ids for ask in measured + learnt}) == 60
    assert list(islice(subject.domains, 4)) == ["stories", "dialogue", "sql", "math"]
