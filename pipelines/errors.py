"""Errors of the two pipes.

PipelineError
├── BadUrl             the URL of a log or registry names no back end we have
├── BadTrace           bytes that are not a trace of a schema we know
├── BadCheckpoint      a checkpoint that must not be loaded
│   ├── CorruptCheckpoint   torn, hash mismatch, unreadable, non-finite
│   └── ForeignCheckpoint   sound, but for another target, tokenizer or kind
└── RegistryError
    ├── UnknownVersion      no such version in the slot
    └── StaleGeneration     compare-and-set lost: somebody moved the alias first
"""


class PipelineError(Exception):
    """Base of every error a pipe reports to its user."""


class BadUrl(PipelineError):
    """The URL of a log or registry names no back end we have."""


class BadTrace(PipelineError):
    """Bytes that are not a trace of a schema we know."""


class BadCheckpoint(PipelineError):
    """A checkpoint that must not be loaded."""


class CorruptCheckpoint(BadCheckpoint):
    """Torn, altered, unreadable or holding non-finite weights."""


class ForeignCheckpoint(BadCheckpoint):
    """Sound, but made for another target, tokenizer or kind of speculator."""


class RegistryError(PipelineError):
    """The registry refused an operation."""


class UnknownVersion(RegistryError):
    """No such version in the slot."""


class StaleGeneration(RegistryError):
    """A compare-and-set lost: somebody moved the alias first."""
