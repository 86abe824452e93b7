"""A server with every source that learns without gradients, on the bundled target, in an engine as it is assembled."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.loading import Target
from serving.engine import FixedBudget
from speculator.datastore import EVERYONE, build
from tests.serving.test_draft_model import answers, engine_of, loaded

pytestmark = pytest.mark.slow
__all__ = ["loaded"]

SOURCES = ("hydra", "suffix", "recycling", "rest")


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_the_text_is_that_of_plain_decoding_whoever_drafts(loaded: Target, tmp_path: Path, temperature: float) -> None:
    expected = answers(engine_of(loaded), loaded, temperature, 1)
    halves = [list(answer[: len(answer) // 2]) for answer in expected.values()]
    build(tmp_path / "store", {EVERYONE: halves}, loaded.tokenizer.fingerprint)
    places = {"rest": str(tmp_path / "store"), "suffix_folder": str(tmp_path / "trees")}
    engine = engine_of(loaded, *SOURCES, **places)
    assert engine.speculator.source_names == ("hydra", "hydra-static", "suffix", "recycling", "rest")
    assert answers(engine, loaded, temperature, 4) == expected, "as the controller likes"
    counters = engine.stats.counters
    for arm in (*(frozenset({name}) for name in SOURCES[1:]), frozenset(SOURCES)):
        engine.controller = FixedBudget(12, arm)
        before = counters["accepted_tokens"]
        assert answers(engine, loaded, temperature, 2) == expected
        assert counters["accepted_tokens"] > before + 20, arm
    engine.close()
    again = engine_of(loaded, "suffix", suffix_folder=str(tmp_path / "trees"))
    again.controller = FixedBudget(12)
    assert answers(again, loaded, temperature, 1) == expected
    assert again.stats.counters["accepted_tokens"] > sum(map(len, expected.values())) / 2, "it has said all of this before"


def test_a_server_starts_without_a_datastore_and_without_a_place_for_its_trees(
    loaded: Target, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    engine = engine_of(loaded, "suffix", "rest", rest=str(tmp_path / "none"), suffix_folder=str(tmp_path / "file"))
    assert engine.speculator.versions["rest"] == ""
    assert "suffix trees are not kept" in caplog.text
    assert answers(engine, loaded, 0.0, 4) == answers(engine_of(loaded), loaded, 0.0, 4)
    engine.close()
