"""A target's own answers, made once and learnt from again and again."""

from __future__ import annotations

import gzip
import json
import os
import time
from collections import Counter
from itertools import islice
from pathlib import Path

import msgspec
import pytest
import torch
from msgspec.structs import replace

import cli.lesson
from cli.answer_files import read_answers, write_answers
from cli.answers import Text, answered, answered_again
from cli.demo.prompts import Message, Prompt
from cli.errors import Exit
from models.loading import Target, load_target
from pipelines.trace import NO_EDITS, TYPICAL, Edits, Trace
from serving.assemble import build_engine
from serving.engine import Engine
from serving.settings import EngineSettings
from speculator.batch import Sampling
from tests.cli.commands import Commands
from tests.models.families import save_model

TURNS = ("hello", "more", "bye")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("target")
    save_model("llama-tied", path, num_hidden_layers=1)
    return path


@pytest.fixture(scope="module")
def target(folder: Path) -> Target:
    return load_target(str(folder))


def engine(target: Target, folder: Path) -> Engine:
    return build_engine(EngineSettings(target=str(folder), registry="", threads=1, sources=("suffix",)), target)


def lines(path: Path, *values: object) -> Path:
    path.write_text("\n".join(map(json.dumps, values)))
    return path


def prompts(path: Path, number: int = 8) -> Path:
    return lines(path, *({"prompt": f"say {n}"} for n in range(number)))


def traces(path: Path) -> list[Trace]:
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return [msgspec.json.decode(line, type=Trace) for line in data.splitlines()]


def chat(*assistant: str) -> dict[str, object]:
    said = [{"role": "user", "content": TURNS[0]}]
    for answer, turn in zip(assistant, TURNS[1:], strict=False):
        said += [{"role": "assistant", "content": answer}, {"role": "user", "content": turn}]
    return {"messages": said}


def greedy(target: Target, prompt: tuple[int, ...], number: int) -> list[int]:
    tokens = list(prompt)
    for _ in range(number):
        tokens.append(int(target.decoder.logits(target.decoder.hidden_states(torch.tensor(tokens))[-1:]).argmax()))
    return tokens[len(prompt) :]


@pytest.mark.parametrize("name", ["kept.jsonl", "kept.jsonl.gz"])
def test_answers_are_the_targets_own_and_say_whose_they_are(
    everdraft_command: Commands, tmp_path: Path, folder: Path, target: Target, name: str
) -> None:
    out = tmp_path / "new" / name
    words = ("--target", str(folder), "--temperature", "0", "--max-tokens", "12", "--out", str(out))
    made = everdraft_command("answers", str(prompts(tmp_path / "some.jsonl")), *words)
    assert made.code == Exit.OK, made.err
    kept = traces(out)
    assert f"8 answers of {sum(len(each.output_ids) for each in kept)} tokens" in made.out
    assert target.fingerprint in made.out
    assert {(each.target, each.tokenizer) for each in kept} == {(target.fingerprint, target.tokenizer.fingerprint)}
    assert {(each.domain, each.sampling.temperature, each.sampling.max_tokens) for each in kept} == {("some", 0.0, 12)}
    assert len({each.trace_id for each in kept}) == len({each.conversation for each in kept}) == 8
    for each in kept:
        assert list(each.output_ids) == greedy(target, each.prompt_ids, len(each.output_ids))
        assert len(each.output_ids) == 12 or each.output_ids[-1] in target.eos_ids
    assert [path.name for path in out.parent.iterdir()] == [name], "nothing half written is left behind"


def test_every_turn_is_answered_behind_the_targets_own_words(
    everdraft_command: Commands, tmp_path: Path, folder: Path, target: Target
) -> None:
    recorded = (chat("RECORDED", "WORDS"), {"prompt": "alone"}, {**chat("OTHER", "TALK"), "domain": "b"})
    file = lines(tmp_path / "chats.jsonl", *recorded)
    out = tmp_path / "kept.jsonl"
    words = ("--every-turn", "--target", str(folder), "--max-tokens", "9", "--out", str(out))
    assert everdraft_command("answers", str(file), *words).code == Exit.OK
    by_conversation: dict[str, list[Trace]] = {}
    for each in traces(out):
        by_conversation.setdefault(each.conversation, []).append(each)
    assert sorted(map(len, by_conversation.values())) == [1, 3, 3]
    for talk in by_conversation.values():
        assert len({each.sampling.seed for each in talk}) == len(talk), "or every turn would be said with the same noise"
        said: list[dict[str, str]] = []
        for turn, each in zip(TURNS if len(talk) > 1 else ["alone"], talk, strict=True):
            said.append({"role": "user", "content": turn})
            assert list(each.prompt_ids) == target.tokenizer.apply_chat_template(said)
            said.append({"role": "assistant", "content": target.tokenizer.decode(each.output_ids)})


def test_a_conversation_ends_where_there_is_no_more_room(target: Target, folder: Path) -> None:
    said = tuple(Message("user", "x" * 60) for _ in range(5))
    talk = Prompt("d", said, max_tokens=20)
    texts = list(answered(engine(target, folder), target, [talk], temperature=0.8, every_turn=True))
    assert 1 < len(texts) < 5
    assert all(text.num_prompt + 20 <= target.config.max_positions for text in texts)


def test_conversations_that_have_begun_go_on_before_others_begin(target: Target, folder: Path) -> None:
    """Or a limit would leave nothing but openings."""
    talks = [Prompt("d", tuple(Message("user", f"{turn} {number}") for turn in TURNS), max_tokens=4) for number in range(12)]
    texts = islice(answered(engine(target, folder), target, talks, temperature=0.8, at_once=2, every_turn=True), 12)
    turns = Counter(text.conversation for text in texts)
    assert list(turns.values()).count(3) >= 3
    assert len(turns) <= 5


def test_asked_again_it_is_chosen_in_the_same_way(target: Target, folder: Path) -> None:
    prompt = target.tokenizer.apply_chat_template([{"role": "user", "content": "say it"}])
    only = (*b"abcdef",)
    some = Edits(allowed_token_ids=only)
    first, second, greedily = (
        Sampling(temperature=0.9, seed=3, choice=choice, max_tokens=16, stop_ids=frozenset({7}), top_k=top_k, edits=edits)
        for choice, top_k, edits in ((0, 0, some), (1, 0, some), (0, 1, NO_EDITS))
    )
    asked = [Text("d", "default", (*prompt, 1), len(prompt), sampling) for sampling in (first, second, greedily)]
    again = list(answered_again(engine(target, folder), target, asked))
    said = {text.sampling: text.output_ids for text in again}
    assert set(said) == {first, second, greedily}
    assert set(said[first]) | set(said[second]) <= set(only)
    assert said[first] != said[second]
    assert list(said[greedily]) == greedy(target, tuple(prompt), len(said[greedily]))


def test_prompts_that_the_pages_cannot_hold_are_left_out(everdraft_command: Commands, tmp_path: Path, folder: Path) -> None:
    file = lines(tmp_path / "mixed.jsonl", {"prompt": "hi"}, {"prompt": "x" * 130}, {"prompt": "ho"})
    out = tmp_path / "kept.jsonl"
    words = ("--target", str(folder), "--max-tokens", "8", "--engine-max-cached-tokens", "128", "--out", str(out))
    assert everdraft_command("answers", str(file), *words).code == Exit.OK
    assert len(traces(out)) == 2
    long = lines(tmp_path / "long.jsonl", {"prompt": "x" * 130})
    told = everdraft_command("answers", str(long), *words[:-1], str(tmp_path / "none.jsonl"))
    assert told.code == Exit.NOT_THERE
    assert "its pages hold 128 tokens (engine.max_cached_tokens)" in told.err


def test_only_what_everybody_may_learn_from_and_has_not_expired_teaches(
    everdraft_command: Commands, tmp_path: Path, folder: Path
) -> None:
    of_target, kept = ("--target", str(folder)), tmp_path / "kept.jsonl"
    words = ("--max-tokens", "20", "--out", str(kept))
    assert everdraft_command("answers", str(prompts(tmp_path / "some.jsonl")), *of_target, *words).code == Exit.OK
    first, second, third, *others = traces(kept)
    changed = (replace(first, consent="tenant"), replace(second, expires_at=1.0), replace(third, expires_at=time.time() + 1e6))
    export = tmp_path / "acme.jsonl"
    export.write_bytes(b"\n".join(map(msgspec.json.encode, (*changed, *others))))
    taught = everdraft_command("dayzero", str(export), *of_target, "--steps", "2", "--out", str(tmp_path / "heads"))
    assert taught.code == Exit.OK, taught.err
    assert ": 3 answers" in taught.out, "of six, half of them kept aside"
    assert "2 answers in files are left out: they are for their tenant's speculators alone or have expired" in taught.err
    replayed = everdraft_command("replay", str(export), *of_target, "--with", "suffix", "--json")
    assert json.loads(replayed.out)[0]["num_texts"] == 7, "nobody learns from a replay"
    assert "1 answers in files are left out: they have expired" in replayed.err


def test_an_engine_that_answers_takes_nothing_of_a_running_servers_and_is_closed(
    everdraft_command: Commands, tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[EngineSettings] = []
    closed: list[Engine] = []

    def build(settings: EngineSettings, target: Target) -> Engine:
        built.append(settings)
        return build_engine(settings, target)

    monkeypatch.setattr(cli.lesson, "build_engine", build)
    monkeypatch.setattr(Engine, "close", lambda engine: closed.append(engine))
    trees = tmp_path / "trees"
    server = ("--engine-suffix-folder", str(trees), "--engine-ssd-listen", "127.0.0.1:7000")
    words = ("--target", str(folder), "--max-tokens", "4", "--limit", "2", "--out", str(tmp_path / "kept.jsonl"))
    assert everdraft_command("answers", str(prompts(tmp_path / "some.jsonl")), *words, *server).code == Exit.OK
    (settings,) = built
    assert (settings.suffix_folder, settings.ssd_listen, settings.registry) == ("", "", "")
    assert len(closed) == 1
    assert not trees.exists()


def test_asked_again_with_the_same_noise_a_target_says_the_same(target: Target, folder: Path) -> None:
    asked = [Prompt("d", (Message("user", f"say {number}"),), max_tokens=12) for number in range(6)]
    texts = list(answered(engine(target, folder), target, asked, temperature=0.9, seed=3))
    again = list(answered_again(engine(target, folder), target, texts))
    assert sorted(again, key=lambda text: text.tokens) == sorted(texts, key=lambda text: text.tokens)


def test_lossy_answers_in_a_file_teach_nobody(target: Target, folder: Path, tmp_path: Path) -> None:
    asked = [Prompt("d", (Message("user", f"say {number}"),), max_tokens=6) for number in range(2)]
    kept = tmp_path / "kept.jsonl"
    write_answers(kept, answered(engine(target, folder), target, asked, temperature=0.9, seed=3), target)
    exact, lossy = traces(kept)
    lossy = replace(lossy, sampling=replace(lossy.sampling, lossy=TYPICAL))
    kept.write_bytes(b"\n".join(map(msgspec.json.encode, (lossy, exact))))
    assert list(read_answers(kept, target)) == [exact]


def test_what_was_kept_teaches_and_is_replayed_without_being_said_again(
    everdraft_command: Commands, tmp_path: Path, folder: Path
) -> None:
    of_target = ("--target", str(folder))
    kept = tmp_path / "kept.jsonl"
    file = prompts(tmp_path / "some.jsonl")
    assert everdraft_command("answers", str(file), *of_target, "--max-tokens", "20", "--out", str(kept)).code == Exit.OK
    for kind in ("medusa", "draft-lm"):
        out = str(tmp_path / kind)
        made = everdraft_command("dayzero", str(kept), "--kind", kind, *of_target, "--steps", "2", "--out", out)
        assert made.code == Exit.OK, made.err
        assert ": 4 answers" in made.out, "half of eight are kept aside"
        assert "the target answers" not in made.err
    both = everdraft_command("replay", str(kept), str(file), *of_target, "--with", "suffix", "--json")
    assert both.code == Exit.OK, both.err
    assert next(row for row in json.loads(both.out) if row["domain"] == "everything")["num_texts"] == 16
    few = everdraft_command("replay", str(kept), str(file), *of_target, "--with", "suffix", "--limit", "5", "--json")
    assert next(row for row in json.loads(few.out) if row["domain"] == "everything")["num_texts"] == 5


def test_what_cannot_work_is_told_by_name(everdraft_command: Commands, tmp_path: Path, folder: Path) -> None:
    of_target, file, out = ("--target", str(folder)), prompts(tmp_path / "some.jsonl", 2), tmp_path / "kept.jsonl"
    assert everdraft_command("answers", str(file), *of_target, "--out", str(out)).code == Exit.OK
    before = out.read_bytes()
    again = everdraft_command("answers", str(file), *of_target, "--out", str(out))
    assert again.code == Exit.USAGE
    assert f"--out is {out}, which is there already" in again.err
    assert out.read_bytes() == before

    trace = json.loads(before.splitlines()[0])
    foreign = lines(tmp_path / "foreign.jsonl", {**trace, "target": "another"})
    told = everdraft_command("dayzero", str(foreign), *of_target, "--out", str(tmp_path / "heads"))
    assert told.code == Exit.USAGE
    assert "foreign.jsonl, line 1: target is another; expected " in told.err
    torn = lines(tmp_path / "torn.jsonl", trace, {"trace_id": "x"})
    told = everdraft_command("replay", str(torn), *of_target)
    assert told.code == Exit.USAGE
    assert "torn.jsonl, line 2: " in told.err
    for verb in ("answers", "dayzero"):
        os.mkfifo(tmp_path / verb)
        told = everdraft_command(verb, str(tmp_path / verb), *of_target, "--out", str(tmp_path / "none"))
        assert told.code == Exit.USAGE
        assert f"{tmp_path / verb}: is no ordinary file" in told.err
    told = everdraft_command("answers", str(file), str(out), *of_target, "--out", str(tmp_path / "none.jsonl"))
    assert told.code == Exit.USAGE
    assert f"{out}: holds answers already; expected prompts" in told.err
    told = everdraft_command("replay", str(out), *of_target, "--tenant", "acme")
    assert told.code == Exit.USAGE
    assert "--tenant is acme; expected none with files" in told.err
    long = lines(tmp_path / "long.jsonl", {"prompt": "x" * 300})
    told = everdraft_command("answers", str(long), *of_target, "--out", str(tmp_path / "none.jsonl"))
    assert told.code == Exit.NOT_THERE
    assert "256 positions" in told.err
    assert not (tmp_path / "none.jsonl").exists()
