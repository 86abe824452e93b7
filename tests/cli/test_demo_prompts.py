"""The project's own prompts, and those read from files."""

from __future__ import annotations

import gzip
import itertools
import json
import random
from pathlib import Path

import pytest

from cli.demo.grammar import fill, vocabulary
from cli.demo.prompt_files import PromptFileError, read_prompts
from cli.demo.prompts import DOMAINS, Prompt, Split, prompts

MANY = 1000
USES: tuple[Split, ...] = ("training", "traffic", "evaluation")


def first(domain: str, seed: int, split: Split, count: int = MANY) -> list[Prompt]:
    return list(itertools.islice(prompts(domain, seed, split), count))


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_domain_has_thousands_of_prompts_and_repeats_none(domain: str) -> None:
    made = first(domain, 0, "traffic")
    assert len({prompt.messages for prompt in made}) == MANY


@pytest.mark.parametrize("domain", DOMAINS)
def test_the_same_seed_makes_the_same_prompts_and_another_seed_others(domain: str) -> None:
    assert first(domain, 3, "traffic", 50) == first(domain, 3, "traffic", 50)
    assert first(domain, 3, "traffic", 50) != first(domain, 4, "traffic", 50)


@pytest.mark.parametrize("domain", DOMAINS)
def test_no_two_uses_share_a_prompt_whatever_the_seeds(domain: str) -> None:
    made = [{p.messages for seed in (0, 1) for p in first(domain, seed, use, 300)} for use in USES]
    for one, other in itertools.combinations(made, 2):
        assert not one & other


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_prompt_waits_for_the_assistant_and_leaves_no_slot_open(domain: str) -> None:
    for prompt in first(domain, 0, "training"):
        assert [m.role for m in prompt.messages] == ["user", "assistant", "user"][: len(prompt.messages)]
        assert len(prompt.messages) in (1, 3)
        assert all(m.content and "{" not in m.content and "|" not in m.content for m in prompt.messages)


def test_an_exhausted_domain_ends_instead_of_repeating(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = {"tiny": (lambda rng: [rng.choice(["one", "two", "three", "four"])], 8)}
    monkeypatch.setattr("cli.demo.prompts._WRITERS", tiny)
    made = [p.messages[0].content for use in ("training", "traffic", "evaluation") for p in prompts("tiny", 0, use)]
    assert sorted(made) == ["four", "one", "three", "two"]


def test_a_slot_that_comes_back_keeps_its_phrase_and_a_numbered_one_differs() -> None:
    words = vocabulary("name: Ann | Ben\n pair: {name} and {name2}")
    assert set(words["name"]) == {"Ann", "Ben"}
    for seed in range(20):
        said = fill("{pair}: {name}", words, random.Random(seed))
        assert said in ("Ann and Ben: Ann", "Ben and Ann: Ben")


def test_a_range_stands_for_its_numbers_and_an_article_fits_its_noun() -> None:
    words = vocabulary("age: 3 to 9 by 3\n beast: otter | unicorn | fox")
    assert words["age"] == ("3", "6", "9")
    said = {fill("a {beast}", words, random.Random(seed)) for seed in range(30)}
    assert said == {"an otter", "a unicorn", "a fox"}


def write(path: Path, text: str) -> Path:
    data = text.encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@pytest.mark.parametrize("name", ["mail.dev.jsonl", "mail.dev.jsonl.gz"])
def test_prompts_are_read_from_plain_and_gzipped_files(tmp_path: Path, name: str) -> None:
    talk = '{"messages": [{"role": "user", "content": "hi"}], "domain": "chat", "id": 7}'
    read = list(read_prompts([write(tmp_path / name, f'{{"prompt": "hello"}}\n\n{talk}\n')]))
    assert [(p.domain, p.messages[0].content) for p in read] == [("mail", "hello"), ("chat", "hi")]


def test_a_prompt_that_stands_in_a_file_twice_is_read_once(tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", '{"prompt": "hello"}\n{"prompt": "hello"}\n')
    again = write(tmp_path / "b.jsonl", '{"prompt": "hello"}\n')
    assert len(list(read_prompts([file, again]))) == 1


def recorded(number: int) -> str:
    turns = [f'{{"role": "{role}", "content": "{role} {turn}, {number}"}}' for turn in (1, 2, 3) for role in ROLES]
    return f'{{"messages": [{", ".join(turns)}]}}\n'


ROLES = ("user", "assistant")


def test_a_recorded_conversation_is_cut_before_one_of_its_answers(tmp_path: Path) -> None:
    file = write(tmp_path / "talk.jsonl", "".join(recorded(number) for number in range(60)))
    read = list(read_prompts([file]))
    assert {prompt.messages[-1].role for prompt in read} == {"user"}
    # 60 conversations of three answers: a cut that never comes up has a chance of (2/3)^60 = 3e-11
    assert {len(prompt.messages) for prompt in read} == {1, 3, 5}
    assert [p.messages for p in read] == [p.messages for p in read_prompts([file])]


def test_a_conversation_that_waits_for_an_answer_is_kept_whole(tmp_path: Path) -> None:
    roles = (("user", "a"), ("assistant", "b"), ("user", "c"))
    line = json.dumps({"messages": [{"role": role, "content": content} for role, content in roles]})
    (prompt,) = read_prompts([write(tmp_path / "talk.jsonl", line)])
    assert [message.content for message in prompt.messages] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("nonsense", "JSON is malformed"),
        ("[]", "Expected `object`"),
        ("{}", "either `messages` or `prompt`"),
        ('{"prompt": "a", "messages": []}', "either `messages` or `prompt`"),
        ('{"prompt": 3}', r"at `\$.prompt`"),
        ('{"prompt": " "}', "a turn of the user"),
        ('{"messages": []}', "a turn of the user"),
        ('{"messages": [{"role": "assistant", "content": "b"}]}', "a turn of the user"),
        ('{"messages": [{"role": "usr", "content": "b"}]}', r"'usr' - at `\$.messages\[0\].role`"),
        ('{"messages": [{"role": "user"}]}', r"`content` - at `\$.messages\[0\]`"),
    ],
)
def test_a_bad_line_is_refused_by_file_line_and_what_was_expected(tmp_path: Path, line: str, complaint: str) -> None:
    file = write(tmp_path / "bad.jsonl", f'{{"prompt": "fine"}}\n{line}\n')
    with pytest.raises(PromptFileError, match=complaint) as caught:
        list(read_prompts([file]))
    assert "bad.jsonl, line 2: " in str(caught.value)
    assert "expected" in str(caught.value)


def test_text_that_is_not_utf8_is_refused_by_line(tmp_path: Path) -> None:
    file = tmp_path / "latin.jsonl"
    file.write_bytes(b'{"prompt": "\xff"}\n')
    with pytest.raises(PromptFileError, match=r"latin\.jsonl, line 1"):
        list(read_prompts([file]))


def test_an_empty_a_missing_and_a_torn_file_are_refused_by_name(tmp_path: Path) -> None:
    torn = write(tmp_path / "torn.jsonl.gz", '{"prompt": "hello"}\n' * 500)
    torn.write_bytes(torn.read_bytes()[:-12])
    for file in (write(tmp_path / "empty.jsonl", "\n"), tmp_path / "missing.jsonl", torn):
        with pytest.raises(PromptFileError, match=file.name):
            list(read_prompts([file]))
