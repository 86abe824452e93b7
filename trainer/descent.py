"""Descent: whom the weights in training come from, and whom they have to beat."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from pipelines.checkpoint import TrafficSpan
from pipelines.registry import SlotState
from pipelines.traffic_log import advance, covers
from trainer.champion import Champion, Champions
from trainer.kept import Kept
from trainer.pools import Pools
from trainer.state import Progress
from trainer.trade import Trade

log = logging.getLogger(__name__)


class Descent:
    """Follows the slot. When the version the weights come from is rolled back, training starts again from whoever is
    champion now; when somebody else published, it goes on, against the new champion."""

    def __init__(
        self,
        champions: Champions,
        trade: Trade,
        pools: Pools,
        progress: Progress,
    ) -> None:
        self._champions = champions
        self._trade = trade
        self._pools = pools
        self._progress = progress
        self._champion: Champion | None = None
        self.slot = SlotState()
        """As of the last look."""

    @property
    def looked(self) -> bool:
        return self._champion is not None

    @property
    def champion(self) -> Champion:
        """As of the last look."""
        assert self._champion is not None, "nobody looked yet"
        return self._champion

    def look(self) -> None:
        """Takes note of who is champion. Raises RegistryUnavailable, nothing having changed."""
        progress = self._progress
        state = self._champions.state()
        if state.generation == 0 and progress.champion is not None:
            state = self._champions.recover(progress.champion)
        self.slot = state
        if self._champion is not None and state.generation == progress.generation:
            return
        champion = self._champions.load(state.champion)
        orphaned = progress.generation < 0 or self._champions.quarantined(progress.parent)
        self._champion = champion
        if orphaned or dict(champion.config) != progress.config:
            self.restart()
        elif state.champion != progress.champion:
            progress.looks = 0  # a publication that this trainer did not make, or made just before it was killed
        progress.champion, progress.generation = state.champion, state.generation
        self._cut()

    def restart(self, *, static: bool = False) -> None:
        """Starts training again from the champion, or from what servers start with."""
        champion, progress = self._champions.load(None) if static else self.champion, self._progress
        self._trade.begin(champion.config, champion.weights)
        progress.parent, progress.config = champion.version, dict(champion.config)
        newer = [trace for trace in self._pools.studied if not covers(champion.span.position, trace.place)]
        progress.span = extended(champion.span, newer)
        log.info("training starts from %s", champion.version or "untrained weights")

    def published(self, version: str, slot: SlotState) -> None:
        """The weights have become the champion: they go on from there."""
        progress = self._progress
        self.slot = slot
        self._champion = self._champions.load(version)
        progress.parent = progress.champion = version
        progress.generation = slot.generation
        self._cut()

    def staged(self, version: str, slot: SlotState) -> None:
        """The weights have become a candidate: they go on from there."""
        self.slot = slot
        self._progress.parent = version
        self._progress.generation = slot.generation

    def _cut(self) -> None:
        """Held-out traces from before the champion was published have been judged on: they prove nothing any more."""
        position = self.champion.span.position
        self._pools.held_out.keep(lambda trace: not covers(position, trace.place))


def extended(span: TrafficSpan, traces: Sequence[Kept]) -> TrafficSpan:
    """The span with these newer traces learnt from as well."""
    if not traces:
        return span
    position = dict(span.position)
    for trace in traces:  # in any order
        if not covers(position, trace.place):
            advance(position, trace.place)
    return TrafficSpan(
        position=position,
        num_traces=span.num_traces + len(traces),
        num_tokens=span.num_tokens + sum(trace.num_rows for trace in traces),
        newest_at=max(span.newest_at, *(trace.trace.finished_at for trace in traces)),
    )
