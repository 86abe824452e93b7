"""What an engine is told is looked at before it works."""

from __future__ import annotations

import pytest

from serving.settings import EngineSettings


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("law", "rejection", "law is 'rejection', expected point-mass, chain-rejection, without-replacement"),
        ("saguaro", 1.5, "saguaro is 1.5, expected 0 to 1"),
        ("saguaro", -0.1, "saguaro is -0.1, expected 0 to 1"),
        ("ssd_lookahead", 0, "ssd_lookahead is 0, expected at least 1"),
        ("ssd_fan_out", -1, "ssd_fan_out is -1, expected 0 or more"),
    ],
)
def test_a_value_that_cannot_work_is_refused_by_name(field: str, value: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EngineSettings(target="toy", **{field: value})  # type: ignore[arg-type]
