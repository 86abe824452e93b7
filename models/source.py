"""Where a model's files are: the bundled target, a local folder, or a hub id at a pinned revision."""

from __future__ import annotations

import re
from pathlib import Path

from models.errors import BadModel

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_TOKENIZER_FILES = ["*.json", "*.jinja", "tokenizer.model", "merges.txt"]
_WEIGHT_FILES = ["model*.safetensors"]


def bundled_target() -> Path:
    """The folder of the small chat model that ships with the product."""
    return Path(__file__).parent / "demo" / "target"


def target_name(path_or_id: str) -> str:
    """What clients call the model: the hub id, or the name of the folder."""
    if Path(path_or_id).is_dir():
        folder = Path(path_or_id).resolve()
        return "everdraft-demo" if folder == bundled_target().resolve() else folder.name
    return path_or_id


def locate(path_or_id: str, revision: str | None = None, *, weights: bool = True) -> Path:
    """The folder with the model's files, for a hub id downloaded first (the weights only if wanted).

    revision: for a hub id the full commit hash, so that every start serves the same weights; else None.
    Raises BadModel for a path that does not exist, a revision that pins nothing, or a failed download.
    """
    if Path(path_or_id).is_dir():
        if revision is not None:
            raise BadModel(f"revision is {revision!r}; expected none: {path_or_id!r} is a local folder")
        return Path(path_or_id)
    if not _HUB_ID.fullmatch(path_or_id):
        raise BadModel(f"target is {path_or_id!r}; expected an existing folder or a hub id (owner/name)")
    if revision is None or not _COMMIT.fullmatch(revision):
        raise BadModel(
            f"revision is {revision!r}; expected the 40 hexadecimal digits of a commit: {path_or_id!r} is no "
            "folder here but a hub id, and a branch or tag may move"
        )
    return _download(path_or_id, revision, _TOKENIZER_FILES + (_WEIGHT_FILES if weights else []))


def _download(hub_id: str, revision: str, patterns: list[str]) -> Path:
    import huggingface_hub  # takes a second to import, and a local folder does without

    try:
        return Path(huggingface_hub.snapshot_download(hub_id, revision=revision, allow_patterns=patterns))
    except (OSError, ValueError) as error:  # every error of the hub's client is one of these
        raise BadModel(f"{hub_id} at {revision} could not be downloaded: {error}") from error
