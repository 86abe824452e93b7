"""`everdraft dayzero`: first heads, eagle layer or draft model for a target from prompts alone, which the target answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from cli.answers import Text
from cli.config import Configuration
from cli.errors import UsageError
from cli.lesson import Lesson, as_answers, show_learning, taught_by, texts_of
from cli.target import loaded_target
from models.draft import DraftModel, DraftShape
from models.errors import ModelError
from models.loading import Target
from models.source import locate
from models.weights import read_weights
from pipelines.checkpoint import Manifest
from pipelines.registry import Slot, open_registry
from pipelines.store import CheckpointStore, open_store
from speculator import draft_lm
from speculator.kinds import EAGLE, HEADS, HYDRA, MEDUSA
from trainer.beginner import Beginner
from trainer.dayzero import first_weights
from trainer.dayzero_draft import DraftBeginner
from trainer.dayzero_eagle import EagleBeginner
from trainer.dayzero_heads import HeadsBeginner
from trainer.dayzero_settings import RATE_OF_LAYERS, DraftSettings, EagleSettings, HeadsSettings

_ONLY = {
    MEDUSA: {"num_heads": "num_heads", "num_blocks": "num_blocks"},
    HYDRA: {"num_heads": "num_heads"},
    EAGLE: {"parallel": "parallel"},
    draft_lm.KIND: {
        "from_layers": "",
        "hidden_size": "hidden_size",
        "intermediate_size": "intermediate_size",
        "num_layers": "num_layers",
        "num_attention_heads": "num_heads",
        "num_kv_heads": "num_kv_heads",
    },
}
"""What cannot be said of every kind: the field of its shape that each name stands for, if any."""
_LIMIT = {MEDUSA: 1500, HYDRA: 1500, EAGLE: 1500, draft_lm.KIND: 4000}
"""Prompts: a model of its own has more to learn than heads on the target's own states."""


def dayzero(config: Configuration, lesson: Lesson, *, kind: str, out: Path | None, given: Mapping[str, Any]) -> None:
    """Trains weights of a kind and writes them into the folder `out`, or publishes them where there is none.

    given: fields of the kind's settings that are not to have their default. Raises UsageError for a value that
    cannot work and for prompts that taught nothing, ModelError, PipelineError.
    """
    try:
        settings = _settings(kind, given, lesson.seed)
        layers: Sequence[int] = given.get("from_layers", ())
        store = open_store(out or config.registry.checkpoints)
        target = loaded_target(config)
        start = _start(config, target, layers) if layers else None
        texts = list(texts_of(config, target, lesson, _LIMIT[kind]))
        manifest = _learnt(target, texts, store, settings, start)
    except ValueError as error:
        raise UsageError(str(error)) from None
    judged = manifest.evaluation
    worth = f", {judged.tokens_per_step:.3f} tokens per step on answers kept aside" if judged else ""
    print(f"version {manifest.version}: {manifest.span.num_traces} answers{worth}")
    print(_published(config, manifest) if out is None else f"written to {out / manifest.version}")


def _settings(kind: str, given: Mapping[str, Any], seed: int) -> HeadsSettings | EagleSettings | DraftSettings:
    """Raises ValueError for a value that cannot work, or that only another kind has."""
    foreign = [name for names in _ONLY.values() for name in names if name in given and name not in _ONLY[kind]]
    if foreign:
        raise ValueError(f"{foreign[0]} is given; expected none, as kind is {kind}")
    if kind in HEADS:
        return HeadsSettings(**given, kind=kind, seed=seed)
    if kind == EAGLE:
        return EagleSettings(**given, seed=seed)
    shape = {field: given[name] for name, field in _ONLY[kind].items() if field and name in given}
    if shape and "from_layers" in given:
        raise ValueError(f"{next(name for name in given if _ONLY[kind].get(name))} is given; expected none, as from_layers is")
    common = {name: value for name, value in given.items() if name not in _ONLY[kind]}
    if "from_layers" in given:
        common = {"learning_rate": RATE_OF_LAYERS, **common}
    return DraftSettings(**common, shape=DraftShape(**shape), seed=seed)


def _start(config: Configuration, target: Target, layers: Sequence[int]) -> DraftModel:
    """Raises ValueError for layers that the target has not, or that are none of a draft model's."""
    weights = read_weights(locate(config.target.path, config.target.revision), target.config)
    try:
        return DraftModel.of_layers(target.config, weights, layers)
    except ModelError as error:
        raise ValueError(f"from_layers: {error}") from error


def _learnt(
    target: Target,
    texts: Sequence[Text],
    store: CheckpointStore,
    settings: HeadsSettings | EagleSettings | DraftSettings,
    start: DraftModel | None,
) -> Manifest:
    progress = partial(show_learning, settings.steps)
    return first_weights(_beginner(target, settings, start), as_answers(texts), store, progress)


def _beginner(target: Target, settings: HeadsSettings | EagleSettings | DraftSettings, start: DraftModel | None) -> Beginner:
    taught = taught_by(target)
    if isinstance(settings, HeadsSettings):
        return HeadsBeginner(taught, settings)
    if isinstance(settings, EagleSettings):
        return EagleBeginner(taught, settings)
    return DraftBeginner(taught, settings, start)


def _published(config: Configuration, manifest: Manifest) -> str:
    """A location is the version's own name (`pipelines.store`)."""
    slot = Slot(target=manifest.target, kind=manifest.kind)
    registry = open_registry(config.registry.url)
    try:
        generation = registry.state(slot).generation
        state = registry.publish(slot, manifest, manifest.version, expected_generation=generation, detail="day zero")
    finally:
        registry.close()
    return f"published: champion of generation {state.generation}"
