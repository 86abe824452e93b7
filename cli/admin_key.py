"""The admin key that a server makes for itself where nobody has given it one."""

from __future__ import annotations

import logging
import os
import secrets
from contextlib import suppress
from pathlib import Path

log = logging.getLogger(__name__)


def admin_key(data: Path) -> str:
    """The key in the data folder, made if it is not there yet; readable to its owner alone. Raises OSError."""
    path = data / "admin.key"
    if not path.exists():
        data.mkdir(parents=True, exist_ok=True)
        # whole or not at all, and the first of two servers decides
        temporary = path.with_name(f"admin.key.{os.getpid()}")
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(32))
        with suppress(FileExistsError):
            os.link(temporary, path)
        temporary.unlink()
    log.info("the admin key is in %s", path)
    return path.read_text().strip()
