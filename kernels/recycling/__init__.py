"""Drafts from recycled tokens in C: one call for a whole batch."""

from __future__ import annotations

from kernels.recycling.cpu import Asked, Desk, Rules

__all__ = ["Asked", "Desk", "Rules"]
