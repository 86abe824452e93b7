"""The configured target, loaded."""

from __future__ import annotations

from cli.config import Configuration
from models.loading import Target, load_target


def loaded_target(config: Configuration) -> Target:
    """Raises ModelError."""
    target = config.target
    return load_target(target.path, revision=target.revision, dtype=target.dtype, device=target.device)
