"""Why a measurement was not made.

    BenchError
    ├── Different      an output is not plain decoding's, and no near-tie excuses it: nothing of it is timed
    ├── NotEnough      too few prompts of a domain for what was asked
    └── NotInstalled   what it is compared with is not there, and nobody has to have it: no failure
"""

from __future__ import annotations


class BenchError(Exception):
    """The message says what was measured and what was expected."""


class Different(BenchError):
    """Two outputs that had to be equal are not."""


class NotEnough(BenchError):
    """The prompts ran out."""


class NotInstalled(BenchError):
    """A rival that need not be on every machine."""
