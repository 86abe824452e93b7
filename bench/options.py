"""What the command line says."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bench.sizes import FULL, Sizes


@dataclass(frozen=True, kw_only=True)
class Options:
    folder: Path
    """For the data of the run; must not exist yet."""
    out: Path
    """Where the report goes."""
    only: frozenset[str]
    """Names in `bench.plan.FIGURES`."""
    prompts: Path | None = None
    """None: the project's own."""
    sizes: Sizes = FULL
    target: str = ""
    """Empty: the bundled one."""
    heads: str = ""
    sources: str = ""
    """What drafts, as names with commas; empty: what the server has by default."""
    draft: str = ""
    """Checkpoint store with the draft model of the figure `ssd`; empty: one is made."""
    log: str = ""
    """URL of the traffic log of the figure `log`; empty: SQLite."""
    threads: int = 0
    """0: all cores but one."""

    @property
    def full(self) -> bool:
        """Whether the figures mean anything."""
        return self.sizes == FULL

    @property
    def flags(self) -> dict[str, str]:
        """The options of the product that these are, by name: its processes get them too."""
        given = {
            "target": self.target,
            "engine_heads": self.heads,
            "engine_sources": self.sources,
            "engine_threads": str(self.threads),
        }
        return {name: text for name, text in given.items() if text}
