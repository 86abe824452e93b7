"""Presence: what the trainer says of itself at the registry."""

from __future__ import annotations

from pipelines.registry import Presence
from trainer.slices import Used
from trainer.state import Record
from trainer.trainer import Trainer

TTL = 10.0
"""Seconds for which a word of the trainer holds."""


def presence_of(trainer: Trainer, name: str, used: Used, now: float) -> Presence:
    """The trainer now (Unix seconds)."""
    record = trainer.record
    progress = record.progress
    return Presence(
        name=f"trainer:{name}",
        at=now,
        ttl=TTL,
        version=progress.parent,
        generation=max(0, progress.generation),
        figures=_figures(trainer, record, used, now),
        state=_words(trainer),
    )


def _words(trainer: Trainer) -> str:
    away = "".join(f", {pipe} away" for pipe in trainer.away)
    return f"{trainer.state}{away}; last judgement: {trainer.record.progress.last_judgement or 'none'}"


def _figures(trainer: Trainer, record: Record, used: Used, now: float) -> dict[str, float]:
    progress, feed = record.progress, record.feed
    newest = progress.span.newest_at
    return {
        "step": float(progress.num_steps),
        "loss": progress.loss,
        "skipped_steps": float(progress.num_skipped),
        "traces": float(feed.num_read),
        "lag": float(trainer.lag),
        "studied": float(feed.num_studied),
        "held_out": float(feed.num_held_out),
        "duplicates": float(feed.num_duplicates),
        "foreign": float(feed.num_foreign),
        "withheld": float(feed.num_withheld),
        "lossy": float(feed.num_lossy),
        "short": float(feed.num_short),
        "held_out_now": float(trainer.num_conversations),
        "freshness_seconds": max(0.0, now - newest) if newest else 0.0,
        "judgements": float(progress.num_judgements),
        "published": float(progress.num_published),
        "last_gain": progress.last_gain,
        "last_gain_lower": progress.last_gain_lower,
        "idle_seconds": used.idle,
        "guaranteed_seconds": used.guaranteed,
        "alone_seconds": used.alone,
        "rested_seconds": progress.rested,
    }
