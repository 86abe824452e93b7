"""Errors of the two pipes.

PipelineError
├── BadUrl             the URL of a log or registry names no back end we have
├── BadTrace           bytes that are not a trace of a schema we know
├── LogUnavailable     the traffic log cannot be read just now, or is not a traffic log
├── BadCheckpoint      a checkpoint that must not be loaded
│   ├── CorruptCheckpoint   torn, hash mismatch, unreadable, non-finite
│   └── ForeignCheckpoint   sound, but for another target, tokenizer or kind
└── RegistryError
    ├── RegistryUnavailable the back end does not answer, or is not a registry
    │   └── StoreUnavailable    whoever keeps the weights does not answer
    ├── UnknownVersion      no such version in the slot
    ├── UnknownRun          no such run
    ├── RunOpen             the slot has an open run already
    ├── Superseded          another trainer has taken the lead meanwhile
    └── StaleGeneration     compare-and-set lost: somebody moved the alias first
"""

from __future__ import annotations


class PipelineError(Exception):
    """Base of every error a pipe reports to its user."""


class BadUrl(PipelineError):
    """The URL of a log or registry names no back end we have."""


class BadTrace(PipelineError):
    """Bytes that are not a trace of a schema we know."""


class LogUnavailable(PipelineError):
    """The traffic log cannot be read just now, or is not a traffic log."""


class BadCheckpoint(PipelineError):
    """A checkpoint that must not be loaded."""


class CorruptCheckpoint(BadCheckpoint):
    """Torn, altered, unreadable or holding non-finite weights."""


class ForeignCheckpoint(BadCheckpoint):
    """Sound, but made for another target, tokenizer or kind of speculator."""


class RegistryError(PipelineError):
    """The registry refused an operation."""


class RegistryUnavailable(RegistryError):
    """The back end does not answer, or is not a registry.

    Nothing was changed; or all of it was, if a server across a network fell silent after the question: look before asking again.
    """


class StoreUnavailable(RegistryUnavailable):
    """Whoever keeps the weights does not answer: nothing can be loaded or published until they do, as without a registry."""


class UnknownVersion(RegistryError):
    """No such version in the slot."""


class UnknownRun(RegistryError):
    """No such run."""


class RunOpen(RegistryError):
    """The slot has an open run already: `run_id`."""

    def __init__(self, run_id: str) -> None:
        super().__init__(f"run {run_id} is open: wait for it, or cancel it")
        self.run_id = run_id


class Superseded(RegistryError):
    """Another trainer has taken the lead since: whatever this one was about to publish is out of date."""


class StaleGeneration(RegistryError):
    """A compare-and-set lost: somebody moved the alias first."""
