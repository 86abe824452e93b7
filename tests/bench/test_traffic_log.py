"""The figures of the traffic log alone: everything goes in and comes out once, and the report says how fast."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench import traffic_log
from bench.traffic_log import main, trace_of


def test_every_trace_goes_in_and_comes_out_and_the_report_is_all_that_is_left(tmp_path: Path) -> None:
    assert main(["--out", str(tmp_path), "--traces", "1500"]) == 0
    legs = json.loads((tmp_path / "traffic_log.json").read_text())
    assert [(leg["log"], leg["what"]) for leg in legs] == [("SQLite", "to where readers find them"), ("SQLite", "read back")]
    assert all(leg["traces_per_second"] > 0 and min(leg["resident_mib"]) > 0 for leg in legs)
    assert [file.name for file in tmp_path.iterdir()] == ["traffic_log.json"]


def test_a_trace_that_comes_back_as_another_stops_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traffic_log, "trace_of", lambda number: trace_of(max(1, number)))
    with pytest.raises(AssertionError):
        main(["--out", str(tmp_path), "--traces", "10"])
