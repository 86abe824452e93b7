"""Kinds of weights that draft from the target's states, and what their sources are called: whoever learns has its kind's name."""

from __future__ import annotations

MEDUSA, HYDRA = "medusa", "hydra"
HEADS = (MEDUSA, HYDRA)
"""Kinds of heads."""
EAGLE = "eagle"
"""A layer that goes on from the target's layers."""
WITH_FLOOR = (*HEADS, EAGLE)
"""Kinds of which there may be a copy that learns, the static floor, and a second version on trial."""

_STATIC, _RIVAL = "-static", "-rival"


def static(kind: str) -> str:
    """The floor that does not learn."""
    return kind + _STATIC


def rival(kind: str) -> str:
    """A second version, which drafts in place of the others for the sequences of a trial."""
    return kind + _RIVAL


def kind_of(name: str) -> str:
    """Of a source of that name."""
    return name.removesuffix(_STATIC).removesuffix(_RIVAL)
