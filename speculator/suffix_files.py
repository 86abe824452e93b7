"""SuffixFiles: one file for each tenant's suffix tree, so that a restarted server knows what the one before did.

A file is a line that names the format, the SHA-256 of the rest, and the rest: msgpack. It is written beside its place and
renamed into it; one that is damaged, of another format or another tokenizer is refused and said, and stops nothing.
"""

from __future__ import annotations

import hashlib
import logging
import os
import threading
from collections import Counter
from pathlib import Path

import msgspec

from pipelines.folders import opened_folder, read_plain, try_lock
from speculator.suffix_tenant import TenantState

log = logging.getLogger(__name__)

_MAGIC = b"everdraft suffix trees 1\n"
_DIGEST = 32
_SUFFIX = ".tree"
_MAX_BYTES = 1 << 30


class _Content(msgspec.Struct, frozen=True):
    tokenizer: str
    tenant: TenantState


class SuffixFiles:
    """Of one server: a second one in the folder keeps nothing. tokenizer: fingerprint of the target's."""

    def __init__(self, folder: Path, tokenizer: str) -> None:
        """Raises OSError where the folder cannot be used."""
        self._folder = folder
        self._tokenizer = tokenizer
        self._lock = threading.Lock()
        self._drops = Counter[str]()
        """By tenant: what was taken before the last of them is not to be written any more."""
        self._held = try_lock(folder / ".lock")
        if self._held is None:
            log.warning("%s is another server's: suffix trees are not kept", folder)

    def load(self) -> list[TenantState]:
        """What was saved, the latest last."""
        paths = sorted(self._folder.glob(f"*{_SUFFIX}")) if self._held is not None else []
        found = [state for path in paths if (state := self._read(path)) is not None]
        return sorted(found, key=lambda state: state.saved_at)

    def ticket(self, tenant: str) -> int:
        """To be taken together with the state, and shown when it is written."""
        return self._drops[tenant]

    def save(self, state: TenantState, ticket: int) -> None:
        """Writes a tenant's file, durably and by one rename, unless it was dropped since the ticket was taken. From any
        thread. Raises OSError."""
        if self._held is None:
            return
        body = msgspec.msgpack.encode(_Content(self._tokenizer, state))
        path = self._path(state.name)
        temporary = path.with_suffix(".tmp")
        with self._lock:
            if self._drops[state.name] != ticket:
                return
            with open(temporary, "wb") as out:
                out.write(_MAGIC + hashlib.sha256(body).digest())
                out.write(body)
                out.flush()
                os.fsync(out.fileno())
            os.replace(temporary, path)

    def drop(self, tenant: str) -> None:
        """Deletes a tenant's file."""
        if self._held is None:
            return
        self._drops[tenant] += 1
        with self._lock:
            self._path(tenant).unlink(missing_ok=True)

    def close(self) -> None:
        """Leaves the folder to others."""
        if self._held is not None:
            os.close(self._held)
            self._held = None

    def _path(self, tenant: str) -> Path:
        return file_of(self._folder, tenant)

    def _read(self, path: Path) -> TenantState | None:
        try:
            with opened_folder(path.parent) as folder:
                data = read_plain(folder, path.name, _MAX_BYTES)
            content = _decoded(data)
            if content.tokenizer != self._tokenizer:
                raise ValueError(f"tokenizer is {content.tokenizer}, expected {self._tokenizer}")
        except (OSError, ValueError, msgspec.MsgspecError) as error:
            log.warning("suffix tree refused, it is learnt anew: %s: %s", path, error)
            return None
        return content.tenant


def file_of(folder: Path, tenant: str) -> Path:
    """Where a tenant's tree is kept: under a hash, since a tenant may have any name."""
    return folder / f"{hashlib.sha256(tenant.encode()).hexdigest()[:32]}{_SUFFIX}"


def _decoded(data: bytes) -> _Content:
    """Raises ValueError, msgspec.MsgspecError."""
    start = len(_MAGIC) + _DIGEST
    if not data.startswith(_MAGIC):
        raise ValueError(f"begins with {data[: len(_MAGIC)]!r}, expected {_MAGIC!r}")
    if hashlib.sha256(memoryview(data)[start:]).digest() != data[len(_MAGIC) : start]:
        raise ValueError("it is not what was written")
    return msgspec.msgpack.decode(memoryview(data)[start:], type=_Content)
