"""The verbs of the command line, in the order in which help tells of them."""

from __future__ import annotations

from cli.verbs.offline import OFFLINE
from cli.verbs.operating import OPERATING
from cli.verbs.running import RUNNING
from cli.verbs.upkeep import UPKEEP
from cli.verbs.verb import Verb

VERBS: tuple[Verb, ...] = (*RUNNING, *OPERATING, *OFFLINE, *UPKEEP)

__all__ = ["VERBS", "Verb"]
