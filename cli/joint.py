"""`everdraft joint`: a new target and its heads, trained together (Medusa-2): easier to draft for than the one they come from."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from cli.answer_files import text_of
from cli.answers import Text, answered_again
from cli.config import Configuration
from cli.errors import UsageError
from cli.lesson import AT_ONCE, Lesson, answering_engine, as_answers, show_learning, taught_by, texts_of
from cli.target import loaded_target
from models.export import retrained
from models.loading import Target, load_target
from models.source import locate
from models.weights import read_weights
from pipelines.checkpoint import Manifest
from pipelines.store import open_store
from serving.settings import EngineSettings
from speculator.kinds import MEDUSA
from trainer.answers import Answers, kept
from trainer.dayzero import learnt, saved
from trainer.dayzero_heads import HeadsBeginner
from trainer.dayzero_joint import JointLearner
from trainer.dayzero_settings import JointSettings
from trainer.joint_distil import Jointly
from trainer.likeness import Likeness, likeness

_LIMIT = 1500
HEADS = "heads"
"""The folder within the new target's that its heads lie in."""
_SOURCES = ",".join((MEDUSA, *EngineSettings.sources[1:]))
"""What drafts with them."""


@dataclass(frozen=True, slots=True)
class _Made:
    """The new target as it lies in its folder, and what it is."""

    target: Target
    likeness: Likeness
    heads: Manifest


def joint(config: Configuration, lesson: Lesson, *, out: Path, given: Mapping[str, Any]) -> None:
    """Trains a copy of the target together with Medusa heads, and writes both into the folder `out`, whole or not at all.

    given: fields of `JointSettings` that are not to have their default. Raises UsageError for a value that cannot work, for
    something in the way and for prompts that taught nothing, OSError, ModelError, PipelineError.
    """
    out = out.absolute()
    if out.exists():
        raise UsageError(f"--out is {out}, which is there already; expected a folder to be made")
    if config.target.dtype == "int8":
        raise UsageError("target.dtype is 'int8'; expected another, since the weights as stored are trained")
    try:
        settings = JointSettings(**given, seed=lesson.seed)
    except ValueError as error:
        raise UsageError(str(error)) from None
    target = loaded_target(config)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as temporary:
        known = _known(target, list(texts_of(config, target, lesson, _LIMIT)), settings)
        together = _together(config, target, known, settings)
        made = _made(config, target, together, known, settings, Path(temporary) / out.name)
        (Path(temporary) / out.name).rename(out)
    print(_report(target, made, out))


def _known(target: Target, texts: Sequence[Text], settings: JointSettings) -> Answers:
    try:
        known = Answers.of(as_answers(texts), taught_by(target), settings.held_out)
    except ValueError as error:
        raise UsageError(str(error)) from None
    if not known.held_out:
        raise UsageError(f"prompts: {len(texts)} answers; expected two or more, to say of some how far the target has moved")
    return known


def _together(config: Configuration, target: Target, known: Answers, settings: JointSettings) -> Jointly:
    weights = read_weights(locate(config.target.path, config.target.revision), target.config)
    started = time.monotonic()
    first = _heads_first(target, known, settings)
    left = settings.seconds - (time.monotonic() - started)
    if left <= 0:
        raise UsageError(f"seconds is {settings.seconds}; expected more: the heads alone took all of them")
    learner = JointLearner(taught_by(target), weights, replace(settings, seconds=left), first)
    learned = Jointly.of(learnt(learner, known.studied, partial(show_learning, settings.steps)))
    return Jointly({name: tensor.to(weights[name].dtype) for name, tensor in learned.target.items()}, learned.heads)


def _heads_first(target: Target, known: Answers, settings: JointSettings) -> dict[str, Tensor]:
    """The heads alone. What the target said of its answers is let go of with whom it was kept for: up to `cache_bytes`."""
    alone = HeadsBeginner(taught_by(target), settings.of_heads)
    return learnt(alone, known.studied, partial(show_learning, settings.heads_first))


def _made(
    config: Configuration, target: Target, together: Jointly, known: Answers, settings: JointSettings, folder: Path
) -> _Made:
    """Writes the folder. What the new target is worth is found on answers of its own."""
    folder.mkdir()
    origin = locate(config.target.path, config.target.revision, weights=False)
    for name, data in retrained(together.target, origin).items():
        (folder / name).write_bytes(data)
    new = load_target(str(folder), dtype=config.target.dtype, device=config.target.device)
    like = likeness(target.decoder, new.decoder, known.held_out)
    (folder / "README.md").write_text(_card(target, new, like))
    asked = [text_of(each.trace) for each in known.held_out]
    # what drafts for the old target is none of the new one's
    alone = replace(config, engine=replace(config.engine, sources=("suffix",)))
    with answering_engine(alone, new) as engine:
        again = list(answered_again(engine, new, asked, at_once=AT_ONCE))
    own = Answers(known.studied, kept(as_answers(again), taught_by(new)))
    note = f"trained together with its target, which was {target.fingerprint}"
    manifest = saved(HeadsBeginner(taught_by(new), settings.of_heads), together.heads, own, open_store(folder / HEADS), note=note)
    return _Made(new, like, manifest)


def _report(target: Target, made: _Made, out: Path) -> str:
    judged = made.heads.evaluation
    worth = f": {judged.tokens_per_step:.3f} tokens per step on its own answers to prompts kept aside" if judged else ""
    return f"""\
target {made.target.fingerprint} written to {out}
heads {made.heads.version} written to {out / HEADS}{worth}
It is another target than {target.fingerprint}, and says other things: {made.likeness}.
Its text is exact against itself, not against that one; versions, traces and static weights of that one are none of its own.
serve it with --engine-heads {out / HEADS} --engine-sources {_SOURCES} --trainer-kind {MEDUSA}"""


def _card(target: Target, made: Target, like: Likeness) -> str:
    return f"""\
# {made.name}

Made by `everdraft joint` from {target.name}: weights and Medusa heads (in `{HEADS}/`) were trained together, so that the heads
foresee more of what it says (Medusa-2, arXiv 2401.10774). It is another model than the one it comes from, with other answers.
Served with `--engine-sources {_SOURCES} --trainer-kind {MEDUSA}`.

| | |
|---|---|
| fingerprint | `{made.fingerprint}` |
| trained from | `{target.fingerprint}` |
| KL(original, this) on answers kept aside | {like.divergence:.5f} nats a token |
| likeliest token the same | {like.same_first:.1%} of {like.num_tokens} tokens |
"""
