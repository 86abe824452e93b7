"""Review: puts the weights in training before the gate, and acts on what it says."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator
from dataclasses import replace

import msgspec
import torch

from pipelines.errors import BadCheckpoint, RegistryError, RegistryUnavailable, StaleGeneration
from pipelines.registry import TRIED_OUT, Promotion
from trainer.descent import Descent
from trainer.feed import FeedState
from trainer.gate import Judgement, Rules, judge
from trainer.judge import Judge
from trainer.pools import Pools
from trainer.publish import Candidate, Publisher
from trainer.state import Progress
from trainer.trade import Trade

log = logging.getLogger(__name__)

_ATTEMPTS = 3
"""Judgements against ever newer champions before it is given up for this time."""

Reviewing = Generator[None, None, tuple[Judgement, str | None]]
"""Work in slices: yields after each, returns the judgement and the version that came of it."""


class Review:
    """seed: of the bootstrap. wanted: what is to become of a version that passes. canary_share: what a canary serves."""

    def __init__(
        self,
        judge: Judge,
        publisher: Publisher,
        descent: Descent,
        trade: Trade,
        pools: Pools,
        progress: Progress,
        feed: FeedState,
        rules: Rules,
        seed: int,
        wanted: Callable[[], Promotion] = lambda: "auto",
        canary_share: float = 0.25,
    ) -> None:
        self._judge = judge
        self._publisher = publisher
        self._descent = descent
        self._trade = trade
        self._pools = pools
        self._progress = progress
        self._feed = feed
        self._rules = rules
        self._seed = seed
        self._wanted = wanted
        self._canary_share = canary_share

    @property
    def promotion(self) -> Promotion:
        """What becomes of a version that passes. Where no server can try it out, a canary waits for somebody's word instead: it
        would serve without end, and nobody is judged meanwhile."""
        wanted = self._wanted()
        return "manual" if wanted == "canary" and self._trade.kind not in TRIED_OUT else wanted

    def prepare(self) -> Generator[None, None, None]:
        """Work in slices that the next judgement will not have to do: one held-out trace under the champion."""
        yield from self._judge.prepare(self._pools.held_out, self._descent.champion)

    def work(self) -> Reviewing:
        """Judges, and publishes what passes. A champion that changed meanwhile is judged against anew.

        Raises RegistryUnavailable.
        """
        for _ in range(_ATTEMPTS):
            candidate = self._candidate()
            if candidate is None:
                self._descent.restart()
                return Judgement("no gain", 0), None
            judgement = yield from self._judged(candidate)
            try:
                return self._settle(candidate, judgement)
            except StaleGeneration as error:
                log.info("the champion changed while a candidate was judged: %s", error)
                self._descent.look()
                if self._trade.distiller.age == 0:
                    break  # rolled back: training has started again, and there is nothing to judge yet
            yield
        return Judgement("not enough evidence", 0), None

    def _candidate(self) -> Candidate | None:
        """The running mean of the weights; None if it is not finite: such weights never get any further."""
        weights = self._trade.distiller.averaged()
        if not all(bool(torch.isfinite(weight).all()) for weight in weights.values()):
            log.error("weights are not finite: training starts again from the champion")
            return None
        # everything read so far counts as used up, what was held out too
        span = msgspec.structs.replace(self._progress.span, position=dict(self._feed.position))
        config = self._trade.distiller.config
        return Candidate(weights=weights, config=config, parent=self._progress.parent, span=span)

    def _judged(self, candidate: Candidate) -> Generator[None, None, Judgement]:
        traces = list(self._pools.held_out)
        if self._pools.num_conversations < self._rules.min_conversations:
            return Judgement("not enough evidence", self._pools.num_conversations)
        drafter = self._trade.drafter(candidate.config, candidate.weights)
        scores = yield from self._judge.scores(traces, self._descent.champion, drafter)
        self._progress.looks += 1
        return (yield from judge(scores, self._rules, look=self._progress.looks, seed=self._seed + self._progress.num_steps))

    def _settle(self, candidate: Candidate, judgement: Judgement) -> tuple[Judgement, str | None]:
        """Publishes or turns away. Raises StaleGeneration, RegistryUnavailable."""
        log.info("gate: %s", judgement)
        if judgement.num_conversations < self._rules.min_conversations:
            return judgement, None  # nothing was judged: there is nothing to show
        try:
            if judgement.decision != "passed":
                return judgement, self._publisher.reject(candidate, judgement)
            return judgement, self._advance(candidate, judgement)
        except (StaleGeneration, RegistryUnavailable):
            raise
        except (RegistryError, BadCheckpoint, OSError) as error:
            log.error("publishing failed: %s", error)
            return replace(judgement, decision="failed"), None

    def _advance(self, candidate: Candidate, judgement: Judgement) -> str:
        """As far as the policy takes a version that passed; returns its name. Raises what the publisher raises."""
        promotion, generation = self.promotion, self._progress.generation
        if promotion == "never":
            return self._publisher.shelve(candidate, judgement)
        if promotion == "auto":
            version, slot = self._publisher.publish(candidate, judgement, generation)
            self._descent.published(version, slot)
        else:
            share = self._canary_share if promotion == "canary" else 0.0
            version, slot = self._publisher.stage(candidate, judgement, generation, share)
            self._descent.staged(version, slot)
        return version
