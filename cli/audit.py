"""`everdraft audit`: what was done by hand, by whom, and what was refused."""

from __future__ import annotations

import time

from cli.config import Configuration
from cli.show import ago, as_json, table
from cli.slots import opened, slot_name


def audit(config: Configuration, *, limit: int, as_data: bool) -> None:
    """Prints the newest lines of the audit log. Raises NotThere."""
    with opened(config) as registry:
        acts = registry.acts(limit)
    if as_data:
        print(as_json(acts))
    elif not acts:
        print("nothing was done by hand yet")
    else:
        now = time.time()
        head = ("when", "who", "did", "to", "slot", "outcome", "reason")
        rows = [
            (ago(act.at, now), act.actor, act.action, act.what, slot_name(act.slot), act.outcome, act.reason) for act in acts
        ]
        print(table(head, rows))
