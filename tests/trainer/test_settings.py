"""Settings are checked at birth, and the message names the field."""

from __future__ import annotations

from typing import Any

import pytest

from trainer.dayzero_settings import HeadsSettings
from trainer.settings import TrainerSettings

GIVEN = {"target": "t", "traffic": "sqlite:///a", "registry": "sqlite:///b", "checkpoints": "c", "state": "s"}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("target", ""),
        ("scope", ""),
        ("dtype", "int8"),
        ("served_dtype", "int4"),
        ("held_out_fraction", 0.0),
        ("held_out_fraction", 1.0),
        ("guaranteed_share", float("nan")),
        ("recent_share", -0.1),
        ("window_traces", 0),
        ("budget", 0),
        ("sampled_tokens", -1),
        ("learning_rate", 0.0),
        ("learning_rate", float("nan")),
        ("rows_per_step", 0),
        ("lookahead", 0),
        ("hybrid", -1.0),
        ("kind", "oracle"),
        ("slice_seconds", float("nan")),
        ("niceness", 20),
        ("max_held_out", 10),
    ],
)
def test_a_value_that_cannot_work_is_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"^{field} is .*expected"):
        TrainerSettings(**{**GIVEN, field: value})


def test_the_defaults_work() -> None:
    TrainerSettings(**GIVEN)  # type: ignore[arg-type]
    HeadsSettings()


@pytest.mark.parametrize(("field", "value"), [("steps", 0), ("held_out", -1), ("seconds", 0.0), ("seconds", float("nan"))])
def test_day_zero_refuses_by_name_too(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"^{field} is .*expected"):
        HeadsSettings(**{field: value})
