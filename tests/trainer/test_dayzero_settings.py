"""What day zero cannot be told."""

from __future__ import annotations

from dataclasses import replace

import pytest

from trainer.dayzero_settings import DayZeroSettings, DraftSettings, EagleSettings, HeadsSettings


@pytest.mark.parametrize(
    ("settings", "field", "value"),
    [
        *((kind(), "steps", 0) for kind in (HeadsSettings, DraftSettings, EagleSettings)),
        (DayZeroSettings(), "seconds", 0.0),
        (DayZeroSettings(), "learning_rate", float("nan")),
        (DayZeroSettings(), "sampled_tokens", -1),
        (DayZeroSettings(), "held_out", -1),
        (HeadsSettings(), "num_heads", 0),
        (DraftSettings(), "max_tokens", 0),
        (DraftSettings(), "hybrid", -1.0),
        (EagleSettings(), "max_tokens", 0),
    ],
)
def test_a_setting_that_cannot_work_is_named(settings: DayZeroSettings, field: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"^{field} is {value!r}, expected "):
        replace(settings, **{field: value})
