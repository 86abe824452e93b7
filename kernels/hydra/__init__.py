"""Trees grown from Hydra heads in C: one call for all levels of a whole batch."""

from __future__ import annotations

from kernels.hydra.cpu import Asked, Desk, Limits, Rules

__all__ = ["Asked", "Desk", "Limits", "Rules"]
