"""A new target with its heads on the command line: what it is, what it says of itself, and that it is served like any other."""

from __future__ import annotations

import json
import re
import weakref
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

import cli.joint
from cli.errors import Exit
from models.loading import Target, load_target
from pipelines.store import open_store
from serving.assemble import build_engine
from serving.messages import Request
from serving.settings import EngineSettings
from speculator.kinds import MEDUSA
from speculator.static_heads import find_static_heads
from tests.cli.commands import Commands
from tests.models.families import save_model
from trainer.beginner import Learner
from trainer.dayzero import learnt
from trainer.dayzero_settings import JointSettings

pytestmark = pytest.mark.slow

QUICK = ("--steps", "6", "--heads-first", "3", "--learning-rate", "0.002", "--heads-rate", "2", "--num-heads", "2")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("target")
    save_model("llama-tied", path, num_hidden_layers=1)
    return path


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    file = tmp_path / "some.jsonl"
    file.write_text("\n".join(json.dumps({"prompt": f"say {n}"}) for n in range(10)))
    return file


def said_with_heads(target: Target, folder: Path, prompt: tuple[int, ...], number: int) -> list[int]:
    """Greedily, its own heads drafting."""
    settings = EngineSettings(
        target=str(folder), heads=str(folder / "heads"), sources=(MEDUSA,), registry="", threads=1, shadow_every=0
    )
    engine = build_engine(settings, target)
    assert engine.submit(Request(id=1, prompt_ids=prompt, max_tokens=number, temperature=0.0)) is None
    said: list[int] = []
    while engine.has_work:
        for moved in engine.step():
            said += moved.token_ids
    return said


def test_the_new_target_is_served_as_transformers_reads_it_and_says_how_far_it_has_moved(
    everdraft_command: Commands, tmp_path: Path, folder: Path, prompts: Path
) -> None:
    from transformers import AutoModelForCausalLM

    out = tmp_path / "new" / "target"
    made = everdraft_command("joint", str(prompts), "--target", str(folder), "--out", str(out), *QUICK)
    assert made.code == Exit.OK, made.err
    old, new = load_target(str(folder)), load_target(str(out))
    assert new.fingerprint != old.fingerprint
    assert (new.name, new.tokenizer.fingerprint) == ("target", old.tokenizer.fingerprint)
    moved, same = re.findall(r"(\d\.\d+) nats a token, ([\d.]+)% of first choices", made.out)[0]
    assert float(moved) > 1e-4
    assert 0 < float(same) < 100
    for told in (made.out, (out / "README.md").read_text()):
        assert old.fingerprint in told
        assert new.fingerprint in told
        assert moved in told
    assert "It is another target" in made.out

    heads = find_static_heads(out / "heads", target=new.fingerprint, tokenizer=new.tokenizer.fingerprint, kind=MEDUSA)
    assert heads is not None
    assert old.fingerprint in heads.manifest.note
    assert heads.manifest.evaluation is not None
    assert heads.manifest.evaluation.num_conversations == heads.manifest.span.num_traces == 5
    assert f"heads {heads.manifest.version}" in made.out
    assert find_static_heads(out / "heads", target=old.fingerprint, tokenizer=old.tokenizer.fingerprint, kind=MEDUSA) is None

    prompt = (*b"say it",)
    said = said_with_heads(new, out, prompt, 40)
    theirs = AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32)
    text = theirs.generate(torch.tensor([prompt]), do_sample=False, max_new_tokens=40, eos_token_id=None, pad_token_id=0)
    assert text[0, len(prompt) :].tolist() == said
    first = said_with_heads(old, folder, prompt, 40)
    assert first != said, "had nothing changed, nothing would have been shown"
    assert [path.name for path in out.parent.iterdir()] == ["target"], "nothing half written is left behind"


def test_weights_stay_in_the_format_in_which_they_were_stored(
    everdraft_command: Commands, tmp_path: Path, prompts: Path
) -> None:
    from safetensors.torch import load_file

    save_model("qwen3", tmp_path, num_hidden_layers=1).bfloat16().save_pretrained(tmp_path / "old")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).rename(tmp_path / "old" / name)
    words = ("--target", str(tmp_path / "old"), "--out", str(tmp_path / "new"), *QUICK)
    assert everdraft_command("joint", str(prompts), *words).code == Exit.OK
    old, new = (load_file(tmp_path / name / "model.safetensors") for name in ("old", "new"))
    assert old.keys() == new.keys()
    assert {tensor.dtype for tensor in new.values()} == {torch.bfloat16}
    assert not torch.equal(old["lm_head.weight"], new["lm_head.weight"])


def test_the_heads_alone_learn_as_the_settings_say() -> None:
    names = "num_heads", "num_blocks", "common_tokens", "sampled_tokens", "held_out", "budget", "cache_bytes"
    given = {name: number for number, name in enumerate(names, start=2)}
    heads = JointSettings(**given, seed=10, steps=100, heads_first=600, seconds=80.0).of_heads
    assert {name: getattr(heads, name) for name in given} == given
    assert (heads.seed, heads.steps, heads.seconds) == (10, 600, 40.0), "six steps alone cost one together"


def test_the_seconds_are_granted_once_and_one_cache_is_filled_at_a_time(
    everdraft_command: Commands, tmp_path: Path, folder: Path, prompts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, granted = 0.0, list[float]()
    caches: list[weakref.ref[object]] = []

    def slowly(learner: Learner, *rest: Any) -> dict[str, Tensor]:
        nonlocal now
        assert not any(cache() for cache in caches), "the heads' cache is still there"
        caches.append(weakref.ref(learner.lessons))
        granted.append(learner.settings.seconds)
        now += 25.0
        return learnt(learner, *rest)

    monkeypatch.setattr(cli.joint, "learnt", slowly)
    monkeypatch.setattr(cli.joint, "time", SimpleNamespace(monotonic=lambda: now))
    words = ("joint", str(prompts), "--target", str(folder), *QUICK)
    made = everdraft_command(*words, "--seconds", "60", "--out", str(tmp_path / "new"))
    assert made.code == Exit.OK, made.err
    assert granted[0] < 10
    assert granted[1] == 35
    told = everdraft_command(*words, "--seconds", "20", "--out", str(tmp_path / "late"))
    assert told.code == Exit.USAGE
    assert "seconds is 20.0; expected more" in told.err


def test_a_place_that_cannot_be_written_to_is_told_of_before_anything_is_learnt(
    everdraft_command: Commands, tmp_path: Path, folder: Path, prompts: Path
) -> None:
    (tmp_path / "file").write_text("")
    out = tmp_path / "file" / "new"
    outcome = everdraft_command("joint", str(prompts), "--target", str(folder), "--out", str(out), *QUICK)
    assert outcome.code == Exit.FAILED
    assert "answers" not in outcome.err


def test_a_fault_of_our_own_is_not_told_as_wrong_usage(
    everdraft_command: Commands, tmp_path: Path, folder: Path, prompts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(*arguments: object) -> None:
        raise ValueError("a tensor has another shape")

    monkeypatch.setattr(cli.joint, "learnt", wrong)
    with pytest.raises(ValueError, match="another shape"):
        everdraft_command("joint", str(prompts), "--target", str(folder), "--out", str(tmp_path / "new"), *QUICK)
    assert list(tmp_path.glob("*new*")) == []


def test_what_cannot_work_is_told_by_name_and_nothing_is_written(
    everdraft_command: Commands, tmp_path: Path, folder: Path, prompts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "new"
    words = ("joint", str(prompts), "--target", str(folder), "--out", str(out))
    for flag, value, told in (
        ("--learning-rate", "0", "learning_rate is 0.0, expected more than 0"),
        ("--heads-rate", "0", "heads_rate is 0.0, expected more than 0"),
        ("--dtype", "int8", "target.dtype is 'int8'; expected another"),
        ("--limit", "1", "prompts: 1 answers; expected two or more"),
    ):
        outcome = everdraft_command(*words, flag, value)
        assert outcome.code == Exit.USAGE, outcome
        assert told in outcome.err
    store = open_store

    def full(place: object) -> object:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cli.joint, "open_store", full)
    outcome = everdraft_command(*words, *QUICK)
    assert outcome.code == Exit.FAILED
    assert "No space left" in outcome.err
    assert list(tmp_path.glob("*new*")) == []
    monkeypatch.setattr(cli.joint, "open_store", store)
    out.mkdir()
    outcome = everdraft_command(*words, *QUICK)
    assert outcome.code == Exit.USAGE
    assert f"--out is {out}, which is there already" in outcome.err
    assert list(out.iterdir()) == []
