"""`everdraft export`: a draft model as an ordinary Hugging Face folder, for whoever else reads such."""

from __future__ import annotations

from pathlib import Path

from cli.config import Configuration
from cli.errors import UsageError
from cli.sources import draft_named
from cli.target import loaded_target
from models.export import exported
from models.source import locate
from pipelines.folders import put_folder


def export(config: Configuration, name: str, out: Path) -> None:
    """Writes the draft model that `name` stands for into the folder `out`, whole or not at all.

    Raises UsageError where something is in the way, NotThere, ModelError, PipelineError.
    """
    out = out.absolute()
    if out.exists():
        raise UsageError(f"--out is {out}, which is there already; expected a folder to be made")
    draft = draft_named(name, config, loaded_target(config))
    target = locate(config.target.path, config.target.revision, weights=False)
    put_folder(out.parent, out.name, exported(draft.manifest.config, draft.weights, target))
    print(f"version {draft.manifest.version}: {draft.manifest.num_parameters:,} parameters written to {out}")
