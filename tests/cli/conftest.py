"""Fixtures of the command line's tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.cli.commands import Commands


@pytest.fixture
def everdraft_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Commands:
    """The command line on a data folder that does not exist yet, whatever the environment says."""
    for name in [name for name in os.environ if name.startswith("EVERDRAFT_")]:
        monkeypatch.delenv(name)
    return Commands(tmp_path / "data", capsys)
