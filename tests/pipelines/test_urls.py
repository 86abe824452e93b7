"""The back end of a pipe is chosen by URL."""

from __future__ import annotations

import subprocess
import sys

import pytest

from pipelines.errors import BadUrl
from pipelines.registry import open_registry
from pipelines.traffic_log import open_reader, open_writer, sqlite_path


def test_three_slashes_are_relative_and_four_absolute() -> None:
    assert sqlite_path("sqlite:///data/traffic.db", "traffic") == "data/traffic.db"
    assert sqlite_path("sqlite:////var/traffic.db", "traffic") == "/var/traffic.db"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "traffic.db",
        "sqlite://",
        "sqlite:///",
        "sqlite://host/traffic.db",
        "sqlite:///traffic.db?mode=ro",
        "sqlite:///traffic.db#1",
        "carrier-pigeon://loft",
    ],
)
def test_a_url_without_a_back_end_is_refused_by_the_name_of_its_setting(url: str) -> None:
    for setting, opening in (("traffic", open_writer), ("traffic", open_reader), ("registry", open_registry)):
        with pytest.raises(BadUrl, match=f"^{setting}: "):
            opening(url)


def test_neither_pipe_waits_for_torch() -> None:
    program = """
import sys
from pipelines.registry import open_registry
from pipelines.traffic_log import open_reader
open_registry("sqlite:///unused.db"), open_reader("sqlite:///unused.db")
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)
