"""Lossy answers in the configuration: allowed by nobody but the operator, and called lossy where they are."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from cli import serve
from cli.config import load
from cli.demo_verb import _own
from cli.errors import ConfigError, UsageError
from pipelines.trace import TYPICAL, Typical
from serving.lossy import Lossy
from tests.cli.commands import Commands


def test_by_default_answers_are_exact() -> None:
    assert load({}, {}).server.lossy == Lossy(lossy_acceptance="off", typical=TYPICAL)


def test_flag_and_variable_allow_it_and_set_its_thresholds() -> None:
    config = load({"lossy_acceptance": "on-request", "lossy_epsilon": "0.2"}, {"EVERDRAFT_LOSSY_DELTA": "0.5"})
    assert config.server.lossy == Lossy(lossy_acceptance="on-request", typical=Typical(epsilon=0.2, delta=0.5))
    assert serve._api_settings(config).lossy == config.server.lossy


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("lossy_acceptance", "yes", "server.lossy_acceptance is 'yes', expected one of off, on-request, default"),
        ("lossy_epsilon", "0", "server.lossy_epsilon is 0.0, expected more than 0, at most 1 (from --lossy-epsilon)"),
        ("lossy_delta", "-1", "server.lossy_delta is -1.0, expected more than 0 (from --lossy-delta)"),
    ],
)
def test_what_cannot_work_is_refused_by_name(name: str, text: str, says: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load({name: text}, {})
    assert says in str(refused.value)


def test_help_calls_it_lossy(everdraft_command: Commands) -> None:
    shown = " ".join(everdraft_command.bare("serve", "--help").out.split())
    assert "--lossy-acceptance LOSSY_ACCEPTANCE LOSSY: " in shown


@pytest.mark.parametrize("allowance", ["off", "on-request", "default"])
def test_the_server_warns_as_it_starts(
    tmp_path: Path, allowance: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def taken(host: str, port: int) -> None:
        raise UsageError("taken")

    monkeypatch.setattr(serve, "_listen", taken)
    with caplog.at_level(logging.INFO), pytest.raises(UsageError, match="taken"):
        serve.serve(load({"data": str(tmp_path), "lossy_acceptance": allowance}, {}))
    said = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    if allowance == "off":
        assert said == []
    else:
        (line,) = said
        assert line.startswith(f"lossy_acceptance is {allowance}: LOSSY, sampled answers")


def test_the_demo_which_proves_that_answers_are_exact_has_exact_ones_whatever_is_configured(tmp_path: Path) -> None:
    config = load(_own(tmp_path), {"EVERDRAFT_LOSSY_ACCEPTANCE": "default"})
    assert not config.server.lossy.allowed
