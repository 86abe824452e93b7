"""Sources of drafts by name: those of `engine.sources`, `static`, `champion`, a version, a folder of weights, a `+` of these."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from cli.config import Configuration
from cli.errors import NotThere
from cli.slots import opened
from models.loading import Target
from pipelines.checkpoint import Checkpoint
from pipelines.errors import UnknownVersion
from pipelines.registry import Slot
from pipelines.store import open_store
from speculator import static_draft, static_heads
from speculator.draft_lm import KIND as DRAFT_MODEL
from speculator.draft_lm import DraftModelSpeculator
from speculator.eagle import EagleSpeculator
from speculator.heads import HeadsSpeculator
from speculator.kinds import EAGLE, HEADS, HYDRA, MEDUSA
from speculator.merged import MergedSpeculator
from speculator.protocol import Speculator
from speculator.recycling import RecyclingSpeculator
from speculator.rest import RestSpeculator
from speculator.static_draft import draft_model, draft_source
from speculator.static_eagle import eagle_source, served_layer
from speculator.static_heads import BUNDLED, find_static
from speculator.suffix import SuffixSpeculator

SUFFIX, RECYCLING, REST, STATIC, CHAMPION = "suffix", "recycling", "rest", "static", "champion"
_WEIGHTS = {MEDUSA: "heads", HYDRA: "heads", EAGLE: "eagle layer", DRAFT_MODEL: "draft model"}


def present(config: Configuration, target: Target) -> list[str]:
    """What there is to draft with, plainly: the suffix tree, static heads and champion where they exist, and the eagle layer and
    the draft model that a server starts with where these kinds are served."""
    names = [SUFFIX]
    for kind, named in ((EAGLE, eagle_named), (DRAFT_MODEL, draft_named)):
        if kind in config.engine.sources:
            with suppress(NotThere):
                named(STATIC, config, target)
                names.append(kind)
    for name, any_named in ((STATIC, heads_named), (CHAMPION, weights_named)):
        with suppress(NotThere):
            any_named(name, config, target)
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
    if name == RECYCLING:
        return RecyclingSpeculator(target.config.vocab_size, max_tree=num_nodes)
    if name == REST:
        return _rest(config, target, num_nodes)
    if name == DRAFT_MODEL:
        return _draft_source(draft_named(STATIC, config, target), target, name, num_nodes)
    if name == EAGLE:
        return _eagle_source(eagle_named(STATIC, config, target), target, name, num_nodes)
    weights = weights_named(name, config, target)
    if weights.manifest.kind == DRAFT_MODEL:
        return _draft_source(weights, target, name, num_nodes)
    if weights.manifest.kind == EAGLE:
        return _eagle_source(weights, target, name, num_nodes)
    return heads_source(weights, target, name, num_nodes)


def _rest(config: Configuration, target: Target, num_nodes: int) -> RestSpeculator:
    if not config.engine.rest:
        raise NotThere("engine.rest is empty: there is no datastore to draft from")
    return RestSpeculator(Path(config.engine.rest), target.tokenizer.fingerprint, max_tree=num_nodes)


def heads_source(heads: Checkpoint, target: Target, name: str, num_nodes: int) -> HeadsSpeculator[Any]:
    """Heads that draft for `target`, under that name."""
    module = static_heads.served_heads(heads.manifest.kind, heads, target.decoder)
    version = heads.manifest.version
    return static_heads.heads_source(module, target.decoder.logits, name=name, version=version, max_tree=num_nodes)


def _draft_source(draft: Checkpoint, target: Target, name: str, num_nodes: int) -> DraftModelSpeculator:
    """A draft model that drafts for `target`, one text at a time."""
    decoder = target.decoder
    return draft_source(
        draft_model(draft),
        version=draft.manifest.version,
        max_tree=num_nodes,
        device=decoder.device,
        dtype=decoder.dtype,
        name=name,
    )


def _eagle_source(layer: Checkpoint, target: Target, name: str, num_nodes: int) -> EagleSpeculator:
    """An eagle layer that drafts for `target`, one text at a time."""
    module = served_layer(layer, target.decoder)
    return eagle_source(module, version=layer.manifest.version, max_tree=num_nodes, name=name)


def weights_named(name: str, config: Configuration, target: Target) -> Checkpoint:
    """The weights of any kind that `name` stands for: of one that is served, if there are, else heads first; `static` heads first
    of all.

    Raises NotThere, PipelineError.
    """
    served = {*config.engine.sources} if name != STATIC else {*HEADS}
    ways = ((HEADS, heads_named), ((DRAFT_MODEL, "ssd"), draft_named), ((EAGLE,), eagle_named))
    missing: list[NotThere] = []
    for _, named in sorted(ways, key=lambda way: served.isdisjoint(way[0])):
        try:
            return named(name, config, target)
        except NotThere as error:
            missing.append(error)
    raise missing[0]


def heads_named(name: str, config: Configuration, target: Target) -> Checkpoint:
    """The heads that `name` stands for: `static`, `champion`, a folder or a version; of the kinds that are served first of all.

    Raises NotThere, PipelineError.
    """
    missing: list[NotThere] = []
    for kind in dict.fromkeys((*(each for each in config.engine.sources if each in HEADS), *HEADS)):
        try:
            return _named(name, kind, static_folder(config), config, target)
        except NotThere as error:
            missing.append(error)
    raise missing[0]


def draft_named(name: str, config: Configuration, target: Target) -> Checkpoint:
    """The draft model that `name` stands for, as in `heads_named`."""
    folder = Path(config.engine.draft) if config.engine.draft else static_draft.BUNDLED
    return _named(name, DRAFT_MODEL, folder, config, target)


def eagle_named(name: str, config: Configuration, target: Target) -> Checkpoint:
    """The eagle layer that `name` stands for, as in `heads_named`; the static one lies beside the static heads."""
    return _named(name, EAGLE, static_folder(config), config, target)


def static_folder(config: Configuration) -> Path:
    """Where the static heads are."""
    return Path(config.engine.heads) if config.engine.heads else BUNDLED


def _named(name: str, kind: str, static: Path, config: Configuration, target: Target) -> Checkpoint:
    if name == STATIC or Path(name).is_dir():
        return _in_folder(static if name == STATIC else Path(name), kind, target)
    return _registered(name, kind, config, target)


def _in_folder(folder: Path, kind: str, target: Target) -> Checkpoint:
    tokenizer = target.tokenizer.fingerprint
    found = find_static(folder, kind, target=target.fingerprint, tokenizer=tokenizer, stored=target.stored)
    if found is None:
        raise NotThere(f"{folder} holds no {_WEIGHTS[kind]} for this target")
    return found


def _registered(name: str, kind: str, config: Configuration, target: Target) -> Checkpoint:
    slot = Slot(target=target.fingerprint, kind=kind)
    with opened(config) as registry:
        version = registry.state(slot).champion if name == CHAMPION else name
        try:
            location = registry.location(slot, version or "")
        except UnknownVersion:
            known = ", ".join(each.version for each in registry.versions(slot)) or "none yet"
            raise NotThere(f"no version {name} for this target; there are {known}") from None
    tokenizer = target.tokenizer.fingerprint
    return open_store(config.registry.checkpoints).load(
        location, target=target.fingerprint, tokenizer=tokenizer, kind=kind
    )
