"""Drafting again for texts that are already there: what a speculator would have been worth on them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

from cli.answers import Text
from models.decoder import Decoder
from speculator.protocol import Speculator
from speculator.redraft import redraft, states_for
from speculator.simulate import Simulated


def redrafted(
    speculator: Speculator, decoder: Decoder, texts: Iterable[Text], num_nodes: int
) -> Iterator[tuple[Text, Simulated]]:
    """Serves each text again, one after another: what a speculator learns from one helps it with the next.

    num_nodes: drafted nodes in each step.
    """
    for number, text in zip(itertools.count(1), texts, strict=False):
        hidden, layers = states_for(speculator, decoder, text.tokens)
        yield text, redraft(
            speculator,
            text.tokens,
            text.num_prompt,
            text.sampling,
            num_nodes=num_nodes,
            number=number,
            tenant=text.tenant,
            hidden=hidden,
            layers=layers,
        )
