"""`everdraft up`: server and trainer side by side, as processes of their own under one supervisor."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from cli.config import Configuration
from cli.errors import Exit
from cli.supervisor import Child, Patience, Supervisor

_MARGIN_SECONDS = 15.0
"""What a server needs beyond its drain: the traffic log's flush and the engine's end."""


def up(config: Configuration, program: Sequence[str], flags: Sequence[str]) -> Exit:
    """Runs both until Ctrl-C or SIGTERM.

    program: the command line that runs a verb, up to the verb. flags: what follows it, for both alike.
    """
    verbs = ["serve"] if config.traffic_url is None else ["serve", "train"]  # no log, nothing to learn from
    children = [Child(verb, (*program, verb, *flags)) for verb in verbs]
    patience = Patience(grace=config.server.drain_seconds + _MARGIN_SECONDS)

    async def run() -> Exit:
        return await Supervisor(children, patience).run()

    return asyncio.run(run())
