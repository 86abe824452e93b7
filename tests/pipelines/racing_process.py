"""A process that competes for generations: `python -m tests.pipelines.racing_process URL NAME`.

For each generation that it reads from standard input it tries to publish and answers `won` or `lost`.
"""

from __future__ import annotations

import sys

from pipelines.errors import StaleGeneration
from pipelines.registry import Registry, open_registry
from tests.pipelines.records import SLOT, make_manifest


def compete(registry: Registry, name: str, generation: int) -> str:
    manifest = make_manifest(f"{name}-{generation}")
    try:
        registry.publish(SLOT, manifest, "here", expected_generation=generation)
    except StaleGeneration:
        return "lost"
    return "won"


def main(url: str, name: str) -> None:
    registry = open_registry(url)
    for line in sys.stdin:
        print(compete(registry, name, int(line)), flush=True)
    registry.close()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
