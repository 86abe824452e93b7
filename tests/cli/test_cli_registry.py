"""registry rebuild: a lost registry comes back from the manifests beside the weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from cli.errors import Exit
from pipelines.store import open_store
from tests.cli.commands import SLOT, Commands, manifest_of


def saved(place: str | Path, *names: str) -> list[str]:
    """Versions that passed the gate, each with the one before as its parent."""
    versions: list[str] = []
    for number, name in enumerate(names):
        parent = versions[-1] if versions else None
        manifest, _ = open_store(place).save(
            {name: torch.ones(1)},
            kind=SLOT.kind,
            parent=parent,
            target=SLOT.target,
            tokenizer="tokenizer",
            config={},
            created_at=float(number),
            evaluation=manifest_of(name, "any").evaluation,
        )
        versions.append(manifest.version)
    return versions


def test_what_was_lost_is_there_again_and_the_newest_is_champion(everdraft_command: Commands) -> None:
    old, new = saved(everdraft_command.data / "checkpoints", "old", "new")
    outcome = everdraft_command("registry", "rebuild")
    assert outcome.code == Exit.OK, outcome.err
    assert outcome.out == f"medusa/3fa94c01/all: 2 versions, champion {new} (generation 1)\n"
    listed = json.loads(everdraft_command("versions", "--json").out)
    assert [(each["manifest"]["version"], each["state"]) for each in listed] == [(old, ""), (new, "champion")]
    assert everdraft_command("registry", "rebuild").out == outcome.out, "done again it changes nothing"


def test_what_the_registry_knows_stays_in_service(everdraft_command: Commands) -> None:
    saved(everdraft_command.data / "checkpoints", "old", "new")
    everdraft_command.publish("v1")
    assert "3 versions, champion v1 (generation 1)" in everdraft_command("registry", "rebuild").out


@pytest.mark.parametrize("exists", [False, True])
def test_without_a_version_it_says_where_it_looked(everdraft_command: Commands, tmp_path: Path, exists: bool) -> None:
    elsewhere = tmp_path / "elsewhere"
    if exists:
        (elsewhere / "no version").mkdir(parents=True)
    saved(everdraft_command.data / "checkpoints", "here")
    outcome = everdraft_command("registry", "rebuild", "--registry-checkpoints", str(elsewhere))
    assert outcome.code == Exit.NOT_THERE
    assert f"no version lies in {elsewhere}" in outcome.err


def test_the_weights_may_lie_at_a_url(everdraft_command: Commands, tmp_path: Path) -> None:
    (tmp_path / "bucket").mkdir()
    url = f"file://{tmp_path}/bucket"
    (version,) = saved(url, "only")
    assert f"champion {version}" in everdraft_command("registry", "rebuild", "--registry-checkpoints", url).out


def test_a_url_of_no_protocol_is_a_wrong_use(everdraft_command: Commands) -> None:
    outcome = everdraft_command("registry", "rebuild", "--registry-checkpoints", "pigeon://loft/checkpoints")
    assert outcome.code == Exit.USAGE
    assert "checkpoints: 'pigeon' is no protocol" in outcome.err


def test_an_action_that_does_not_exist_is_a_wrong_use(everdraft_command: Commands) -> None:
    assert everdraft_command("registry", "destroy").code == Exit.USAGE
