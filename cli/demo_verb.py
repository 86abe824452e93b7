"""`everdraft demo`: starts a stack on a folder of its own, runs the demo against it, and takes it down again."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from cli.config import load
from cli.config_flags import as_words
from cli.demo.options import DemoOptions
from cli.demo.run import run_demo
from cli.demo.supply import supply_of
from cli.errors import Exit
from cli.live.stack import LiveStack

_IN_MINUTES = {"trainer_guaranteed_share": "0.5", "trainer_held_out_fraction": "0.35", "trainer_min_steps": "100"}
"""A day's learning in minutes: traffic never pauses here, so the trainer gets half a thread of the machine at once, and the
gate has its 64 fresh conversations after some 180 requests."""


def demo(options: DemoOptions, *, program: Sequence[str], flags: Mapping[str, str], file: Path | None) -> Exit:
    """FAILED when a claim does not hold.

    program: the command line that runs a verb, up to the verb. flags, file: the configuration as given; where
    things are kept is the demo's own business, so that it never touches a log or a registry in use.
    Raises PromptFileError, and what starting a stack raises.
    """
    supply = supply_of(options.files, options.seed)
    with tempfile.TemporaryDirectory(prefix="everdraft-demo-") as data:
        own = _own(Path(data))
        given = {name: text for name, text in flags.items() if name.removesuffix("_file") not in own}
        own = {**_IN_MINUTES, **given, **own}
        words = as_words(file, own)
        config = load(own, os.environ, file)
        with LiveStack(config, lambda verb: (*program, verb, *words), options.folder) as stack:
            return Exit(run_demo(stack, supply, options, sys.stdout))


def _own(data: Path) -> dict[str, str]:
    """Flags that the demo decides."""
    return {
        "host": "127.0.0.1",
        "port": "0",
        "traffic_policy": "shared",
        "lossy_acceptance": "off",
        "trainer_kind": "hydra",
        "data": str(data),
        "traffic": f"sqlite:///{data / 'traffic.db'}",
        "registry": f"sqlite:///{data / 'registry.db'}",
        "registry_checkpoints": str(data / "checkpoints"),
    }
