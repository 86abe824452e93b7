"""A real engine, tiny and random, that speaks in bytes."""

from __future__ import annotations

from serving.engine import Engine
from serving.messages import Request
from tests.serving.rig import plain_engine, tiny_decoder, tiny_target
from tests.serving.tokenizers import ByteTokenizer

DECODER = tiny_decoder(vocab_size=ByteTokenizer.vocab_size)


def local_engine() -> Engine:
    return plain_engine(tiny_target(DECODER, num_pages=400))


def said_by(request: Request) -> tuple[int, ...]:
    """What an engine of its own answers."""
    engine, said = local_engine(), []
    assert engine.submit(request) is None
    while engine.has_work:
        said += [token for moved in engine.step() for token in moved.token_ids]
    return tuple(said)
