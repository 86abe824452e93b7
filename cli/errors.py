"""Errors that end a verb, and the exit codes that say how it ended.

CliError             1  what was asked for could not be done
├── UsageError       2  what was asked for makes no sense, or the configuration does not
│   └── ConfigError  2  a key, its value, where it came from, and what was expected
├── NotThere         4  nothing to work on: no such slot, version, tenant or file
└── TimedOut         5  it goes on without us
"""

from __future__ import annotations

from enum import IntEnum
from typing import ClassVar


class Exit(IntEnum):
    """Exit codes of every verb; `HELP` describes them."""

    OK = 0
    FAILED = 1
    USAGE = 2
    REJECTED = 3
    NOT_THERE = 4
    TIMED_OUT = 5
    INTERRUPTED = 130


HELP = """\
exit codes:
  0    done
  1    failed; the message says why
  2    wrong usage or configuration; nothing was started, and `up` does not try again
  3    rejected: the trainer's gate turned the candidate away (retrain --wait)
  4    not there: no such slot, version, tenant or file
  5    timed out; what was asked for goes on
  130  interrupted"""


class CliError(Exception):
    """Base of what ends a verb with a message and no traceback."""

    code: ClassVar[Exit] = Exit.FAILED


class UsageError(CliError):
    """What was asked for makes no sense."""

    code = Exit.USAGE


class ConfigError(UsageError):
    """A key of the configuration: names it, its value, where it came from, and what was expected."""


class NotThere(CliError):
    """Nothing to work on: no such slot, version, tenant or file."""

    code = Exit.NOT_THERE


class TimedOut(CliError):
    """Waited long enough; what was asked for goes on."""

    code = Exit.TIMED_OUT
