"""Verb: one story of the command line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cli import flags
from cli.calls import Call
from cli.errors import Exit
from cli.flags import Parser

EVERY_SECTION = ("", "target", "server", "engine", "rollout", "traffic", "registry", "trainer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Verb:
    """What it is for, how it is used, and where it is done."""

    name: str
    summary: str
    story: str
    examples: tuple[str, ...]
    run: Callable[[Call], Exit | None]
    """None: it went well."""
    usage: str = "[flags]"
    arguments: Callable[[Parser], None] = flags.no_flags
    sections: tuple[str, ...] = ("", "registry")
    """Those of the configuration that matter to it: their options are shown as its flags."""
