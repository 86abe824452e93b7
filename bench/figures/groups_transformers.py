"""Our speculation against transformers' own, on the task groups: `generate` with prompt lookup, and with an assistant model.

Same weights, threads, limits and end tokens, greedy, one at a time. The assistant is the draft model that we would serve with,
exported; transformers drafts with both as it does by default, but for the number of tokens to copy, which has none.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bench.context import Bench
from bench.errors import BenchError
from bench.figures.transformers import Reference, model_in
from bench.group_speed import by_group
from bench.results import Goal, Measure, Trainer
from models.export import exported
from speculator import static_draft
from speculator.static_draft import find_static_draft

ASSISTED = Goal(
    name="groups-transformers",
    title="speculation, ours against transformers' (prompt lookup, assistant model), batch size 1, six task groups",
    at_least=2.0,
    aim=4.0,
)
GOALS = (ASSISTED,)
_COPIED, _LONGEST = 10, 3
"""Tokens that prompt lookup copies, and of the stretch that it looks for, as in Spec-Bench."""


def measure(bench: Bench, trainer: Trainer) -> Iterator[Measure]:
    """Raises BenchError."""
    client, folder, sizes = bench.practised(bench.house.offline()), bench.house.folder, bench.sizes
    ways: dict[str, Callable[[], dict[str, Any]]] = {
        "prompt lookup": lambda: {"prompt_lookup_num_tokens": _COPIED, "max_matching_ngram_size": _LONGEST},
        "an assistant model": lambda: {"assistant_model": _assistant(bench)},
    }
    for name, way in ways.items():
        reference = Reference(folder, **way())
        yield from by_group(
            bench,
            ASSISTED,
            f"ours against transformers with {name}",
            lambda asks: client.run(asks, 1),
            reference.run,
            num_pairs=sizes.group_transformers_pairs,
            num_each=sizes.group_transformers_each,
            temperature=0.0,
        )


def _assistant(bench: Bench) -> Any:
    """The static draft model as transformers reads it. Raises BenchError where there is none."""
    settings, target = bench.house.settings, bench.house.loaded
    place = Path(settings.draft) if settings.draft else static_draft.BUNDLED
    found = find_static_draft(
        place, target=target.fingerprint, tokenizer=target.tokenizer.fingerprint, stored=target.stored
    )
    if found is None:
        raise BenchError("the target has no draft model to assist transformers: `make draft` makes the bundled target's")
    with tempfile.TemporaryDirectory(prefix="everdraft-assistant-") as folder:
        for name, data in exported(found.manifest.config, found.weights, bench.house.folder).items():
            (Path(folder) / name).write_bytes(data)
        return model_in(Path(folder))
