"""Transport: what engine and worker each hold one end of, whatever lies between them.

Beside the engine, on one host, that is a socket pair (`pipelines.wire.Wire`); between hosts it is a process group of
torch.distributed (`speculator.ssd.gloo.GlooWire`). Both carry the same messages (`speculator.ssd.messages`).
"""

from __future__ import annotations

from typing import Protocol, TypeVar

from speculator.ssd.messages import FromWorker, ToWorker

Out = TypeVar("Out", contravariant=True)
In = TypeVar("In")

MOST_TO_WORKER = (1 << 32) - 1
"""Bytes of the largest message that a worker takes: the weights of a draft model."""
MOST_FROM_WORKER = 1 << 28
"""Bytes of the largest that an engine takes: what is said for every sequence of a round."""


class Transport(Protocol[Out, In]):
    """One end."""

    def send(self, message: Out, /) -> None:
        """Never blocks: what does not go out now goes out later. Raises WireClosed where the other end is gone."""

    def receive(self, seconds: float, /) -> list[In]:
        """What has come, after waiting so long for the first of it; of what has come in part, nothing is lost.

        Raises WireClosed where the other end is gone or says more than is taken, msgspec.DecodeError for garbage.
        """

    def close(self) -> None:
        """Lets go of it, and of whatever it keeps running; the other end hears WireClosed."""


Link = Transport[ToWorker, FromWorker]
"""The engine's end. Closing it ends a worker that is this engine's own, whatever it is doing."""
WorkerLink = Transport[FromWorker, ToWorker]
"""The worker's end."""
