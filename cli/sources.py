"""Sources of drafts by name: `suffix`, `static`, `champion`, a version, a folder of heads, or several with `+`."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from cli.config import Configuration
from cli.errors import NotThere
from cli.slots import opened
from models.heads import MedusaHeads
from models.loading import Target
from pipelines.checkpoint import Checkpoint
from pipelines.errors import UnknownVersion
from pipelines.registry import Slot
from pipelines.store import open_store
from speculator.medusa import MedusaSpeculator
from speculator.merged import MergedSpeculator
from speculator.protocol import Speculator
from speculator.static_heads import BUNDLED, KIND, find_static_heads
from speculator.suffix import SuffixSpeculator

SUFFIX, STATIC, CHAMPION = "suffix", "static", "champion"


def present(config: Configuration, target: Target) -> list[str]:
    """What there is to draft with, plainly: the suffix tree, and static heads and champion where they exist."""
    names = [SUFFIX]
    for name in (STATIC, CHAMPION):
        with suppress(NotThere):
            heads_named(name, config, target)
            names.append(name)
    return names


def source_named(name: str, config: Configuration, target: Target, num_nodes: int) -> Speculator:
    """Raises NotThere for a name that stands for nothing, PipelineError for weights that must not be loaded."""
    parts = name.split("+")
    if len(parts) > 1:
        sources = [source_named(part, config, target, num_nodes) for part in dict.fromkeys(parts)]
        return MergedSpeculator(sources, max_tree=num_nodes)
    if name == SUFFIX:
        return SuffixSpeculator(max_tokens=config.engine.suffix_tokens, max_tree=num_nodes)
    return heads_source(heads_named(name, config, target), target, name, num_nodes)


def heads_source(heads: Checkpoint, target: Target, name: str, num_nodes: int) -> MedusaSpeculator:
    """Heads that draft for `target`, under that name."""
    module = MedusaHeads.from_config(heads.manifest.config)
    module.copy_weights(heads.weights)
    module.to(device=target.decoder.device, dtype=target.decoder.dtype)
    version = heads.manifest.version
    return MedusaSpeculator(module, target.decoder.logits, name=name, version=version, max_tree=num_nodes)


def heads_named(name: str, config: Configuration, target: Target) -> Checkpoint:
    """The heads that `name` stands for: `static`, `champion`, a folder or a version.

    Raises NotThere, PipelineError.
    """
    if name == STATIC or Path(name).is_dir():
        return _in_folder(static_folder(config) if name == STATIC else Path(name), target)
    return _registered(name, config, target)


def static_folder(config: Configuration) -> Path:
    """Where the static heads are."""
    return Path(config.engine.heads) if config.engine.heads else BUNDLED


def _in_folder(folder: Path, target: Target) -> Checkpoint:
    found = find_static_heads(folder, target=target.fingerprint, tokenizer=target.tokenizer.fingerprint)
    if found is None:
        raise NotThere(f"{folder} holds no heads for this target")
    return found


def _registered(name: str, config: Configuration, target: Target) -> Checkpoint:
    slot = Slot(target=target.fingerprint, kind=KIND)
    with opened(config) as registry:
        version = registry.state(slot).champion if name == CHAMPION else name
        try:
            location = registry.location(slot, version or "")
        except UnknownVersion:
            known = ", ".join(each.version for each in registry.versions(slot)) or "none yet"
            raise NotThere(f"no version {name} for this target; there are {known}") from None
    tokenizer = target.tokenizer.fingerprint
    return open_store(config.registry.checkpoints).load(
        location, target=target.fingerprint, tokenizer=tokenizer, kind=KIND
    )
