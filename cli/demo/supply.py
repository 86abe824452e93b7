"""Where a run's prompts come from, and in which order its domains take part."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cli.demo.prompt_files import read_prompts
from cli.demo.prompts import Prompt, prompts

WARM, SHIFTED = ("stories", "dialogue"), ("sql", "math")
"""Domains of the project's own prompts before and after the shift."""


@dataclass(frozen=True)
class Supply:
    """Prompts by domain, for the traffic and for the evaluation after it; no prompt is in both."""

    words: str
    """Where they come from, for the report."""
    phases: tuple[tuple[str, ...], ...]
    """Domains of the traffic, phase by phase."""
    traffic: Mapping[str, Iterator[Prompt]]
    evaluation: Mapping[str, Iterator[Prompt]]

    @property
    def domains(self) -> tuple[str, ...]:
        return tuple(self.traffic)


def supply_of(files: Sequence[Path], seed: int) -> Supply:
    """The prompts of `files`, or the project's own where there are none. Raises PromptFileError."""
    return from_files(files) if files else written(seed)


def written(seed: int) -> Supply:
    """The project's own prompts."""
    domains = WARM + SHIFTED
    return Supply(
        f"written by the project from seed {seed}",
        (WARM, SHIFTED),
        {domain: prompts(domain, seed, "traffic") for domain in domains},
        {domain: prompts(domain, seed, "evaluation") for domain in domains},
    )


def from_files(files: Sequence[Path]) -> Supply:
    """The prompts of `files`: the first half of their domains, in order of appearance, then the others.

    Raises PromptFileError.
    """
    traffic: dict[str, list[Prompt]] = {}
    evaluation: dict[str, list[Prompt]] = {}
    for prompt in read_prompts(files):
        for use in (traffic, evaluation):
            use.setdefault(prompt.domain, [])
        (evaluation if prompt.split == "evaluation" else traffic)[prompt.domain].append(prompt)
    domains = tuple(traffic)
    half = (len(domains) + 1) // 2
    return Supply(
        "from " + ", ".join(file.name for file in files),
        tuple(phase for phase in (domains[:half], domains[half:]) if phase),
        {domain: iter(found) for domain, found in traffic.items()},
        {domain: iter(found) for domain, found in evaluation.items()},
    )


def mixed(sources: Sequence[Iterator[Prompt]], rng: random.Random) -> Iterator[Prompt]:
    """Prompts of all `sources` in random order, each with equal chance until it ends."""
    left = list(sources)
    while left:
        source = rng.choice(left)
        prompt = next(source, None)
        if prompt is None:
            left.remove(source)
        else:
            yield prompt
