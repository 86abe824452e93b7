"""A draft model on the command line: made from prompts, drafted with, exported for others."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from cli.errors import Exit
from models.draft import DraftModel
from models.loading import bundled_target
from tests.cli.commands import Commands

pytestmark = pytest.mark.slow

TINY = ("--hidden-size", "16", "--intermediate-size", "24", "--num-attention-heads", "2", "--num-kv-heads", "1")
SMALL = ("--kind", "draft-lm", "--steps", "3", "--limit", "6", "--engine-threads", "1", *TINY)


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    file = tmp_path / "tables.jsonl"
    lines = [{"prompt": f"Table t{n}(a, b)\nWrite a SQL query: What is a?"} for n in range(6)]
    file.write_text("\n".join(map(json.dumps, lines)))
    return file


def test_a_draft_model_written_to_a_folder_can_be_drafted_with(
    everdraft_command: Commands, tmp_path: Path, prompts: Path
) -> None:
    folder = tmp_path / "draft"
    made = everdraft_command("dayzero", str(prompts), "--out", str(folder), *SMALL)
    assert made.code == Exit.OK, made.err
    (version,) = (path.name for path in folder.iterdir())
    assert f"version {version}: 3 answers, " in made.out, "half of six are kept aside"
    words = (str(prompts), "--limit", "2", "--json")
    by_folder = everdraft_command("replay", *words, "--with", str(folder))
    assert by_folder.code == Exit.OK, by_folder.err
    row = next(each for each in json.loads(by_folder.out) if each["domain"] == "everything")
    assert (row["version"], row["num_texts"]) == (version, 2)
    assert sum(row["proposed"]) > 0
    named = everdraft_command("replay", *words, "--with", "draft-lm+suffix", "--engine-draft", str(folder))
    assert named.code == Exit.OK, named.err
    assert version in json.loads(named.out)[0]["version"]


def test_a_published_draft_model_is_champion_of_its_own_slot_and_can_be_exported(
    everdraft_command: Commands, tmp_path: Path, prompts: Path
) -> None:
    from transformers import AutoModelForCausalLM

    made = everdraft_command("dayzero", str(prompts), "--publish", *SMALL)
    assert made.code == Exit.OK, made.err
    (version,) = json.loads(everdraft_command("versions", "--json").out)
    assert (version["state"], version["slot"].partition("/")[0]) == ("champion", "draft-lm")
    out = tmp_path / "exported"
    written = everdraft_command("export", "champion", "--out", str(out))
    assert written.code == Exit.OK, written.err
    model = AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32)
    own = DraftModel.from_config(version["manifest"]["config"])
    own.copy_weights({name: tensor for name, tensor in model.state_dict().items() if name != "lm_head.weight"})
    tokens = torch.arange(20).unsqueeze(0)
    with torch.no_grad():
        assert torch.allclose(model(tokens).logits, own.logits(own(tokens)), atol=1e-3)
    again = everdraft_command("export", "champion", "--out", str(out))
    assert again.code == Exit.USAGE
    assert "which is there already" in again.err
    unknown = everdraft_command("export", "nobody", "--out", str(tmp_path / "other"))
    assert unknown.code == Exit.NOT_THERE
    assert version["manifest"]["version"] in unknown.err, "those that there are"


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")  # transformers on its own generation
def test_as_assistant_model_it_leaves_the_targets_greedy_tokens_as_they_are(
    everdraft_command: Commands, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    out = tmp_path / "exported"
    written = everdraft_command("export", "static", "--out", str(out))
    assert written.code == Exit.OK, written.err
    target = AutoModelForCausalLM.from_pretrained(bundled_target(), dtype=torch.float32).eval()
    draft = AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(out)
    calls = 0

    def counted(*args: object) -> None:
        nonlocal calls
        calls += 1

    hook = target.register_forward_hook(counted)
    for prompt in ("Once upon a time, a tiny fox had a red kite.", "I need to find a restaurant in Oakland."):
        chat = tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}], add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        calls = 0
        plain = target.generate(**chat, max_new_tokens=48, do_sample=False)
        plain_calls, calls = calls, 0
        assisted = target.generate(**chat, max_new_tokens=48, do_sample=False, assistant_model=draft)
        assert assisted.tolist() == plain.tolist()
        assert calls < 0.7 * plain_calls, "the draft was of no use"
    hook.remove()


def test_a_draft_model_starts_from_layers_of_the_target(everdraft_command: Commands, tmp_path: Path, prompts: Path) -> None:
    folder = tmp_path / "draft"
    small = ("--kind", "draft-lm", "--steps", "1", "--limit", "6", "--engine-threads", "1")
    made = everdraft_command("dayzero", str(prompts), "--out", str(folder), *small, "--from-layers", "0,5")
    assert made.code == Exit.OK, made.err
    (version,) = folder.iterdir()
    config = json.loads((version / "manifest.json").read_text())["config"]
    assert (config["num_hidden_layers"], config["hidden_size"]) == (2, 384)
    words = ("dayzero", str(prompts), "--out", str(folder), *small, "--from-layers")
    for given, said in (
        (("0,6",), "from_layers: layer 6 of the target; expected 0 to 5"),
        (("0,x",), "'0,x' given, expected numbers such as 0,5"),
        (("0", "--num-layers", "2"), "num_layers is given; expected none, as from_layers is"),
    ):
        refused = everdraft_command(*words, *given)
        assert refused.code == Exit.USAGE
        assert said in refused.err


def test_what_cannot_work_is_told_by_name(everdraft_command: Commands, tmp_path: Path, prompts: Path) -> None:
    out = ("--out", str(tmp_path / "draft"))
    foreign = everdraft_command("dayzero", str(prompts), *out, *SMALL, "--num-blocks", "2")
    assert foreign.code == Exit.USAGE
    assert "num_blocks is given; expected none, as kind is draft-lm" in foreign.err
    foreign = everdraft_command("dayzero", str(prompts), *out, "--num-kv-heads", "2")
    assert foreign.code == Exit.USAGE
    assert "num_kv_heads is given; expected none, as kind is hydra" in foreign.err
    odd = everdraft_command("dayzero", str(prompts), *out, "--kind", "draft-lm", "--hidden-size", "30")
    assert odd.code == Exit.USAGE
    assert "hidden_size is 30" in odd.err
