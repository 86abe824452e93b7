"""Day zero: first weights of a speculator from prompts alone. The target answered them, and its answers are what is learnt.

Here nothing else wants the machine: no slices, no pauses, as many threads as torch may use.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from torch import Tensor

from pipelines.checkpoint import Manifest
from pipelines.store import CheckpointStore
from trainer.answers import Answer, Answers
from trainer.beginner import Beginner, Learner
from trainer.dayzero_settings import DayZeroSettings
from trainer.gate import Judgement, Rules, judge
from trainer.in_training import MAX_SKIPPED
from trainer.kept import Kept
from trainer.publish import evaluation_of
from trainer.slicing import finish
from trainer.study import sample_rows

log = logging.getLogger(__name__)

Progress = Callable[[int, float], None]
"""Called after each step with its number and its loss."""


def first_weights(
    beginner: Beginner, answers: Sequence[Answer], store: CheckpointStore, progress: Progress = lambda step, loss: None
) -> Manifest:
    """Trains a speculator for a target and saves it as a checkpoint; the manifest says what it is worth.

    Raises ValueError when there is no answer to learn from, or nothing was learnt.
    """
    known = Answers.of(answers, beginner.taught, beginner.settings.held_out)
    weights = learnt(beginner, known.studied, progress)
    return saved(beginner, weights, known, store, note="day zero: learnt from the target's answers to prompts")


def learnt(learner: Learner, studied: Sequence[Kept], progress: Progress) -> dict[str, Tensor]:
    """The weights after as many steps as the settings ask for, or have time for.

    Raises ValueError when steps came to nothing, `MAX_SKIPPED` in a row.
    """
    distiller = learner.distiller
    if not distiller.shortlist.whole:
        for trace in studied:
            distiller.shortlist.see(sample_rows(finish(learner.lessons.read(trace))))
    batches = learner.batches(studied)
    for step, way in _steps(learner.settings):
        distiller.recipe = learner.pace(way)
        while not distiller.ready:
            learner.teach(next(batches))
        if not distiller.step() and distiller.skipped_in_a_row >= MAX_SKIPPED:
            raise ValueError(f"step {step}: {MAX_SKIPPED} in a row were not finite; a smaller learning_rate may help")
        progress(step, distiller.loss)
    return distiller.averaged()


def saved(beginner: Beginner, weights: Mapping[str, Tensor], known: Answers, store: CheckpointStore, *, note: str) -> Manifest:
    """Judges weights on the answers kept aside, and saves them with what came of it.

    note: where they come from.
    """
    judged = len({trace.conversation for trace in known.held_out}) > 1
    judgement = _judgement(beginner, weights, known.held_out) if judged else None
    log.info("%s: %s", beginner.kind, judgement)
    manifest, _ = store.save(
        weights,
        kind=beginner.kind,
        parent=None,
        target=beginner.taught.fingerprint,
        tokenizer=beginner.taught.tokenizer,
        config=beginner.distiller.config,
        created_at=time.time(),
        span=known.span,
        evaluation=evaluation_of(judgement, beginner.settings.budget) if judgement else None,
        note=f"{note}, judged against {beginner.rival}",
    )
    return manifest


def _steps(settings: DayZeroSettings) -> Iterator[tuple[int, float]]:
    """Steps from 1, each with the share of the way that lies behind: of steps or of time, whichever is more."""
    until = time.monotonic() + settings.seconds
    for step in range(settings.steps):
        way = max(step / settings.steps, 1 - (until - time.monotonic()) / settings.seconds)
        if way >= 1:
            return
        yield step + 1, way


def _judgement(beginner: Beginner, weights: Mapping[str, Tensor], held_out: Sequence[Kept]) -> Judgement:
    scores = beginner.scores(weights, held_out)
    return finish(judge(scores, Rules(min_conversations=2), look=1, seed=beginner.settings.seed))
