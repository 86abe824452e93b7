"""First heads on the command line: from prompts to drafts, on the bundled target."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli.errors import Exit
from speculator.kinds import EAGLE, HEADS
from tests.cli.commands import Commands

pytestmark = pytest.mark.slow

SMALL = ("--steps", "3", "--limit", "6", "--engine-threads", "1")


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    file = tmp_path / "tables.jsonl"
    lines = [{"prompt": f"Table t{n}(a, b)\nWrite a SQL query: What is a?"} for n in range(6)]
    file.write_text("\n".join(map(json.dumps, lines)))
    return file


@pytest.mark.parametrize("kind", [*HEADS, EAGLE, f"{EAGLE} --parallel"])
def test_weights_written_to_a_folder_can_be_drafted_with(
    everdraft_command: Commands, tmp_path: Path, prompts: Path, kind: str
) -> None:
    heads = tmp_path / "heads"
    made = everdraft_command("dayzero", str(prompts), "--kind", *kind.split(), "--out", str(heads), *SMALL)
    assert made.code == Exit.OK, made.err
    (version,) = (path.name for path in heads.iterdir())
    assert f"version {version}: 3 answers" in made.out, "half of six are kept aside"
    words = (str(prompts), "--with", str(heads), "--limit", "2", "--json")
    again = everdraft_command("replay", *words)
    assert again.code == Exit.OK, again.err
    row = next(each for each in json.loads(again.out) if each["domain"] == "everything")
    assert (row["version"], row["num_texts"]) == (version, 2)
    assert sum(row["proposed"]) > 0


@pytest.mark.parametrize("kind", HEADS)
def test_published_heads_are_champion(everdraft_command: Commands, prompts: Path, kind: str) -> None:
    made = everdraft_command("dayzero", str(prompts), "--kind", kind, "--publish", *SMALL)
    assert made.code == Exit.OK, made.err
    assert "champion of generation 1" in made.out
    (version,) = json.loads(everdraft_command("versions", "--json").out)
    assert (version["state"], version["manifest"]["kind"]) == ("champion", kind)
    replayed = everdraft_command("replay", str(prompts), "--with", "champion", "--limit", "1", "--json")
    assert json.loads(replayed.out)[0]["version"] == version["manifest"]["version"]


def test_without_files_the_projects_own_prompts_are_answered(everdraft_command: Commands, tmp_path: Path) -> None:
    made = everdraft_command("dayzero", "--out", str(tmp_path / "heads"), *SMALL)
    assert made.code == Exit.OK, made.err
    assert "3 answers" in made.out


def test_what_cannot_work_is_told_by_name(everdraft_command: Commands, tmp_path: Path, prompts: Path) -> None:
    out = ("--out", str(tmp_path / "heads"))
    nothing = everdraft_command("dayzero", str(prompts), *out, "--seconds", "0")
    assert nothing.code == Exit.USAGE
    assert "seconds is 0" in nothing.err
    foreign = everdraft_command("dayzero", str(prompts), *out, "--kind", "hydra", "--num-blocks", "2")
    assert foreign.code == Exit.USAGE
    assert "num_blocks is given; expected none, as kind is hydra" in foreign.err
    foreign = everdraft_command("dayzero", str(prompts), *out, "--parallel")
    assert foreign.code == Exit.USAGE
    assert "parallel is given; expected none, as kind is hydra" in foreign.err
    empty = tmp_path / "empty.jsonl"
    empty.write_text("")
    nothing = everdraft_command("dayzero", str(empty), *out)
    assert nothing.code == Exit.USAGE
    assert "holds no prompt" in nothing.err
    assert everdraft_command("dayzero", str(prompts)).code == Exit.USAGE, "neither --out nor --publish"
