"""`everdraft datastore build`, and what a purge takes out of a datastore again."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import msgspec
import pytest

from cli.answer_files import read_answers, text_of, write_answers
from cli.answers import Text
from cli.errors import Exit
from models.loading import Target
from models.source import bundled_target
from models.tokenizer import Tokenizer
from models.tokenizer_files import load_tokenizer
from pipelines.trace import Trace
from speculator.datastore import Datastore, newest_version, open_datastore
from tests.cli.commands import Commands, trace_of


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return load_tokenizer(str(bundled_target()))


def traced(tokenizer: Tokenizer, name: str, tenant: str, output: tuple[int, ...]) -> Trace:
    return msgspec.structs.replace(
        trace_of(name, tenant), tokenizer=tokenizer.fingerprint, prompt_ids=tuple(range(100, 140)), output_ids=output
    )


def bundled(tokenizer: Tokenizer) -> Target:
    """As much of the target as answers name."""
    return cast(Target, SimpleNamespace(fingerprint=trace_of("x").target, tokenizer=tokenizer))


def opened(root: Path, tokenizer: Tokenizer) -> Datastore:
    version = newest_version(root)
    assert version is not None
    return open_datastore(root, version, tokenizer.fingerprint)


def held(store: Datastore, tenant: str, tokens: list[int]) -> bool:
    return any(start < stop for start, stop in (array.interval(tokens) for array in store.bearing_on(tenant)))


def test_a_log_and_files_become_a_store_scope_by_scope(
    everdraft_command: Commands, tmp_path: Path, tokenizer: Tokenizer
) -> None:
    foreign = trace_of("x", "acme")
    everdraft_command.log([traced(tokenizer, "a", "acme", (7, 8, 9)), traced(tokenizer, "b", "other", (7, 8, 5)), foreign])
    conversation = [{"role": "user", "content": "Sing."}, {"role": "assistant", "content": "La la la."}]
    exported = msgspec.json.encode(traced(tokenizer, "c", "third", (7, 6))).decode()
    lines = [json.dumps({"text": "once upon a time"}), "", json.dumps({"messages": conversation}), exported]
    file = tmp_path / "texts.jsonl.gz"
    file.write_bytes(gzip.compress("\n".join(lines).encode()))
    out, url = tmp_path / "store", f"sqlite:///{everdraft_command.data / 'traffic.db'}"
    outcome = everdraft_command("datastore", "build", "--from", url, str(file), "--out", str(out))
    assert outcome.code == Exit.OK, outcome.err
    assert "acme: 19 tokens\n" in outcome.out, "sixteen of the prompt and the answer"
    store = opened(out, tokenizer)
    assert store.version in outcome.out
    for tenant, mine, others in (("acme", [138, 139, 7, 8, 9], [8, 5]), ("other", [7, 8, 5], [8, 9]), ("third", [7, 6], [7, 8])):
        assert held(store, tenant, mine)
        assert not held(store, tenant, others)
        assert not held(store, tenant, [123, 124]), "no more of a prompt than answers are found by"
        assert held(store, tenant, tokenizer.encode("once upon a time", add_special_tokens=False))
        question = tokenizer.apply_chat_template(conversation[:1])
        assert held(store, tenant, [*question[-4:], *tokenizer.encode("La la la.", add_special_tokens=False)[:4]])


def test_answers_made_for_nobody_are_everyones_and_expired_traces_nobodys(
    everdraft_command: Commands, tmp_path: Path, tokenizer: Tokenizer
) -> None:
    file = tmp_path / "answers.jsonl"
    target = bundled(tokenizer)
    write_answers(file, [Text("d", "default", (1, 2, 3, 7, 8, 9), 3)], target)
    late = msgspec.structs.replace(traced(tokenizer, "a", "acme", (7, 5)), expires_at=1.0)
    with file.open("ab") as stream:
        stream.write(msgspec.json.encode(late))
    out = tmp_path / "store"
    outcome = everdraft_command("datastore", "build", "--from", str(file), "--out", str(out))
    assert outcome.code == Exit.OK, outcome.err
    assert "everyone: 6 tokens" in outcome.out
    store = opened(out, tokenizer)
    assert held(store, "whoever", [3, 7, 8, 9])
    assert not held(store, "acme", [7, 5])
    assert [text_of(trace).tenant for trace in read_answers(file, target) if trace.expires_at is None] == ["default"]


def test_a_purge_takes_a_tenant_out_of_the_store(everdraft_command: Commands, tmp_path: Path, tokenizer: Tokenizer) -> None:
    everdraft_command.log([traced(tokenizer, "a", "acme", (7, 8, 9)), traced(tokenizer, "b", "other", (7, 8, 5))])
    out, url = tmp_path / "store", f"sqlite:///{everdraft_command.data / 'traffic.db'}"
    everdraft_command("datastore", "build", "--from", url, "--out", str(out))
    outcome = everdraft_command("tenant", "purge", "acme", "--yes", "--engine-rest", str(out))
    assert f"19 tokens of tenant acme deleted from {out}" in outcome.out
    store = opened(out, tokenizer)
    assert not held(store, "acme", [7, 8, 9])
    assert held(store, "other", [7, 8, 5])


def test_only_the_newest_tokens_stay(everdraft_command: Commands, tmp_path: Path, tokenizer: Tokenizer) -> None:
    everdraft_command.log([traced(tokenizer, str(number), "acme", (7, number)) for number in range(10)])
    out, url = tmp_path / "store", f"sqlite:///{everdraft_command.data / 'traffic.db'}"
    everdraft_command("datastore", "build", "--from", url, "--out", str(out), "--max-tokens", "40")
    store = opened(out, tokenizer)
    assert [held(store, "acme", [7, number]) for number in (0, 7, 8, 9)] == [False, False, True, True]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("{", "line 1: "),
        ("{}", 'line 1: expected {"text"'),
        ('{"messages": [{"role": "narrator", "content": "x"}]}', "line 1: "),
        ('{"trace_id": "x"}', "line 1: Object missing required field"),
    ],
)
def test_a_line_that_is_none_is_named(everdraft_command: Commands, tmp_path: Path, line: str, told: str) -> None:
    file = tmp_path / "bad.jsonl"
    file.write_text(line)
    outcome = everdraft_command("datastore", "build", "--from", str(file), "--out", str(tmp_path / "store"))
    assert outcome.code == Exit.USAGE
    assert f"{file}, {told}" in outcome.err
    assert not (tmp_path / "store").exists()


def test_nothing_to_build_from_is_said(everdraft_command: Commands, tmp_path: Path) -> None:
    url, out = f"sqlite:///{everdraft_command.data / 'traffic.db'}", str(tmp_path / "store")
    assert everdraft_command("datastore", "build", "--from", url, "--out", out).code == Exit.NOT_THERE
    assert everdraft_command("datastore", "build", "--from", str(tmp_path / "none"), "--out", out).code == Exit.USAGE
