"""The demo's verb: what it starts, and what it never touches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path

import pytest

from cli import demo_verb
from cli.config import Configuration
from cli.errors import Exit
from tests.cli.commands import Commands


class Started:
    """Notes what a stack would have been started with."""

    def __init__(self) -> None:
        self.config: Configuration | None = None
        self.command: Sequence[str] = ()

    def __call__(self, config: Configuration, command: Callable[[str], Sequence[str]], logs: Path) -> nullcontext[None]:
        self.config, self.command = config, command("serve")
        return nullcontext()


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Started:
    started = Started()
    monkeypatch.setattr(demo_verb, "LiveStack", started)
    monkeypatch.setattr(demo_verb, "run_demo", lambda *args: 1)
    return started


def test_a_claim_that_fails_is_the_exit_code(everdraft_command: Commands, started: Started) -> None:
    assert everdraft_command.bare("demo").code == Exit.FAILED


def test_it_keeps_everything_in_a_folder_of_its_own(
    everdraft_command: Commands, started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVERDRAFT_TRAFFIC", "sqlite:////srv/in-use/traffic.db")
    monkeypatch.setenv("EVERDRAFT_TRAFFIC_POLICY", "off")
    everdraft_command("demo", "--registry", "sqlite:////srv/in-use/registry.db", "--port", "8000", "--host", "0.0.0.0")
    config = started.config
    assert config is not None
    places = (config.data, config.traffic.url, config.registry.url, config.registry.checkpoints, config.trainer.state)
    assert all("everdraft-demo-" in str(place) for place in places)
    assert not config.data.exists(), "and takes it away again"
    assert (config.server.host, config.server.port, config.traffic.policy) == ("127.0.0.1", 0, "shared")
    assert f"--data={config.data}" in started.command


def test_flags_win_over_its_own_haste(everdraft_command: Commands, started: Started) -> None:
    everdraft_command.bare("demo", "--trainer-min-steps", "7")
    assert started.config is not None
    assert started.config.trainer.min_steps == 7
    assert started.config.trainer.guaranteed_share == 0.5
    assert "--trainer-min-steps=7" in started.command


def test_a_file_that_holds_no_prompts_is_wrong_usage(everdraft_command: Commands, tmp_path: Path) -> None:
    outcome = everdraft_command.bare("demo", "--prompts", str(tmp_path / "missing.jsonl"))
    assert outcome.code == Exit.USAGE
    assert "missing.jsonl" in outcome.err
