"""A real redis-server."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.servers.process import ServerProcess, accepts, free_port, missing


class RedisServer(ServerProcess):
    """Without a disk unless `persistent`: what it held is lost with it. options: words of its command line."""

    def __init__(self, folder: Path, *options: str, persistent: bool = False) -> None:
        program = shutil.which("redis-server")
        if program is None:
            missing("redis-server")
        assert program is not None
        self.port = free_port()
        kept = ("--appendonly", "yes", "--appendfsync", "always") if persistent else ("--appendonly", "no", "--save", "")
        command = [program, "--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(folder), *kept, *options]
        super().__init__(command, folder / "redis.log", lambda: accepts(self.port))

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"
