"""A trainer in a process of its own, to be killed: `python -m tests.trainer.killed_process FOLDER`."""

from __future__ import annotations

import sys
import threading
from contextlib import closing
from pathlib import Path

from tests.trainer.scripted import House
from trainer.main import work


def main(folder: Path) -> None:
    house = House(folder, commit_seconds=0.02, poll_seconds=0.005)
    with closing(house):
        trainer = house.trainer()
        print("ready", flush=True)
        work(house.settings, trainer, house.registry, threading.Event())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
