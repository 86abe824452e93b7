"""Task groups: what each is made of, from a corpus and from the project's own prompts."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from bench.errors import NotEnough
from bench.groups import FIRST, GROUPS, task_groups
from bench.supply import Supply, written_here
from cli.demo.prompt_files import PromptFileError
from models.tokenizer_files import load_tokenizer
from tests.models.families import save_tokenizer

CONTEXT = 6000


@pytest.fixture
def place(tmp_path: Path) -> Path:
    save_tokenizer(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"eos_token_id": 1}))
    return tmp_path


def write(place: Path, domain: str, num: int, *, turns: int = 1, length: int = 40) -> None:
    """Rows of so many exchanges; question and answer tell domain and number."""
    for split in ("dev", "train"):
        with gzip.open(place / f"{domain}.{split}.jsonl.gz", "wt") as file:
            for row in range(num):
                messages = []
                for turn in range(turns):
                    name = f"{split} {domain} {row}.{turn}"
                    messages.append({"role": "user", "content": f"ask {name}?"})
                    messages.append({"role": "assistant", "content": f"say {name} ".ljust(length, "x")})
                file.write(json.dumps({"messages": messages, "domain": domain}) + "\n")


@pytest.fixture
def corpus(place: Path) -> Supply:
    for domain in ("chat", "code", "math", "multilingual", "shell", "sql"):
        write(place, domain, 12)
    write(place, "stories", 6, length=700)
    write(place, "dialogue", 12, turns=3)
    return task_groups(place, load_tokenizer(str(place)), CONTEXT)


def texts(place: Path, subject: Supply, group: str, num: int) -> list[str]:
    tokenizer = load_tokenizer(str(place))
    return [tokenizer.decode(ask.prompt_ids) for ask in subject.fresh(group, num)]


@pytest.mark.parametrize("group", GROUPS)
def test_every_group_has_prompts_of_its_own_from_files_and_without(place: Path, corpus: Supply, group: str) -> None:
    for subject in (corpus, task_groups(None, load_tokenizer(str(place)), CONTEXT)):
        asks = [*subject.fresh(group, 2), *subject.training(group, 2)]
        assert {ask.domain for ask in asks} == {group}
        assert len({ask.prompt_ids for ask in asks}) == 4


def test_requests_have_other_seeds_than_those_of_the_plain_domains(place: Path, corpus: Supply) -> None:
    plain = written_here(load_tokenizer(str(place)), CONTEXT).fresh("math", 3)
    assert {ask.id for ask in corpus.fresh("math", 3)} == {FIRST, FIRST + 1, FIRST + 2}
    assert max(ask.id for ask in plain) < FIRST


def test_talks_have_several_turns_and_are_of_all_domains_that_talk(place: Path, corpus: Supply) -> None:
    found = texts(place, corpus, "multi-turn", 8)
    assert all(text.count("user: ") >= 2 and text.count("assistant: ") >= 1 for text in found)
    for domain in ("dialogue", "chat", "code", "sql"):
        assert any(f"ask dev {domain}" in text for text in found), domain
    two_turns = next(text for text in found if "dev sql 0.0" in text)
    assert two_turns.index("ask dev sql 0.0") < two_turns.index("say dev sql 0.0") < two_turns.index("ask dev sql 1.0")
    assert "say dev sql 1.0" not in two_turns
    own = texts(place, task_groups(None, load_tokenizer(str(place)), CONTEXT), "multi-turn", 8)
    assert all("assistant: " in text for text in own), "half of the dialogues have one turn, and are left out"


def test_what_is_summarized_is_a_long_text(place: Path, corpus: Supply) -> None:
    found = texts(place, corpus, "summary", 2)
    assert [text.count("say dev stories") for text in found] == [1, 1]
    assert all(500 <= len(text.partition("Summarize: ")[2]) <= 1300 for text in found)
    write(place, "stories", 30, length=200)
    (joined,) = texts(place, task_groups(place, load_tokenizer(str(place)), CONTEXT), "summary", 1)
    assert joined.count("say dev stories") == 3
    write(place, "stories", 1, length=3000)
    (cut,) = texts(place, task_groups(place, load_tokenizer(str(place)), CONTEXT), "summary", 1)
    assert len(cut.partition("Summarize: ")[2]) < 1300


def test_a_question_comes_behind_three_passages_one_of_which_answers_it(place: Path, corpus: Supply) -> None:
    asked = set()
    for text in texts(place, corpus, "retrieval", 3):
        passages, question = text.split("Answer from the passages: ask ")
        assert passages.count("say dev shell") == 3
        row = question.partition("?")[0]
        assert f"say {row}" in passages
        asked.add(passages.index(f"say {row}") == passages.index("say "))
    assert asked == {True, False}, "the passage asked for is not always the first"


def test_questions_are_of_shell_and_chat_in_turns(place: Path, corpus: Supply) -> None:
    assert ["shell" in text for text in texts(place, corpus, "qa", 4)] == [True, False, True, False]


def test_what_is_measured_on_is_not_what_is_practised_on(place: Path, corpus: Supply) -> None:
    tokenizer = load_tokenizer(str(place))
    for group in GROUPS:
        assert "train" not in "".join(texts(place, corpus, group, 2)), group
        assert "dev" not in tokenizer.decode(corpus.training(group, 1)[0].prompt_ids), group


def test_a_group_that_nothing_is_there_for_says_so(place: Path) -> None:
    write(place, "math", 3)
    subject = task_groups(place, load_tokenizer(str(place)), CONTEXT)
    assert len(subject.fresh("math", 3)) == 3
    for group in set(GROUPS) - {"math"}:
        with pytest.raises(NotEnough, match=f"1 more prompts of {group} wanted, 0 are left"):
            subject.fresh(group, 1)


def test_a_damaged_row_is_named(place: Path) -> None:
    write(place, "stories", 1)
    (place / "stories.dev.jsonl.gz").write_bytes(gzip.compress(b'{"messages": 3}\n'))
    subject = task_groups(place, load_tokenizer(str(place)), CONTEXT)
    with pytest.raises(PromptFileError, match=r"stories.dev.jsonl.gz: .*expected rows with `messages`"):
        subject.fresh("summary", 1)


def test_a_file_that_cannot_be_read_is_named(place: Path, corpus: Supply) -> None:
    torn = place / "stories.dev.jsonl.gz"
    torn.write_bytes(torn.read_bytes()[:-20])
    with pytest.raises(PromptFileError, match=r"stories\.dev\.jsonl\.gz: cannot be read"):
        list(corpus.fresh("summary", 99))
