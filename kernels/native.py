"""The C kernels: compiled by the machine's own compiler when they are first needed, kept, and loaded.

Whoever has no C compiler loses speed, not function: `library()` is None then, and every kernel runs as plain torch.
"""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import c_double, c_float, c_int, c_long, c_uint32, c_void_p
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

log = logging.getLogger(__name__)

ROOM = Path(__file__).parent
_FLAGS = ("-O3", "-march=native", "-std=gnu11", "-ffp-contract=fast", "-shared", "-fPIC", f"-I{ROOM}")
_TRIES: tuple[tuple[str, ...], ...] = (("-fopenmp",), ())
"""Further flags: several cores where the compiler can, else one."""
_TILES: dict[str, tuple[type, ...]] = {
    "everdraft_tile_columns": (),
    "everdraft_pack_tiles": (c_void_p, c_long, c_long, c_void_p),
    "everdraft_replace_tiles": (c_void_p, c_long, c_long, c_void_p),
    "everdraft_linear_tiles": (c_void_p, c_long, c_long, c_void_p, c_long, c_void_p, c_void_p, c_void_p, c_int),
}
"""Only where the processor has matrix tiles."""
_BRIEF: dict[str, tuple[type | None, tuple[type, ...]]] = {
    "everdraft_chosen": (c_long, (c_void_p, c_long, c_float, c_uint32, c_uint32)),
    "everdraft_recycle": (c_long, (c_void_p, c_void_p, c_long, c_void_p, c_void_p, c_void_p)),
    "everdraft_combine": (
        c_long,
        (
            *(c_void_p, c_long, c_void_p, c_long, c_void_p, c_void_p, c_void_p, c_void_p, c_void_p),
            *(c_void_p, c_void_p, c_void_p),
        ),
    ),
    "everdraft_suffix_new": (c_void_p, (c_int, c_long)),
    "everdraft_suffix_free": (None, (c_void_p,)),
    "everdraft_suffix_copy": (c_void_p, (c_void_p,)),
    "everdraft_suffix_extend": (c_long, (c_void_p, c_void_p, c_long)),
    "everdraft_suffix_close": (c_long, (c_void_p,)),
    "everdraft_suffix_leaving": (c_long, (c_void_p,)),
    "everdraft_suffix_take_leaving": (None, (c_void_p, c_void_p)),
    "everdraft_suffix_look": (None, (c_void_p, c_void_p)),
    "everdraft_suffix_walk": (c_int, (c_void_p, c_void_p, c_long, c_void_p)),
    "everdraft_suffix_longest": (None, (c_void_p, c_void_p, c_long, c_void_p)),
    "everdraft_suffix_holds": (c_int, (c_void_p, c_long, c_void_p, c_long)),
    "everdraft_suffix_step": (c_int, (c_void_p, c_int, c_long, c_int)),
    "everdraft_suffix_count": (c_int, (c_void_p, c_int)),
    "everdraft_suffix_use": (None, (c_void_p, c_int)),
    "everdraft_suffix_run": (c_long, (c_void_p, c_int, c_long, c_long, c_void_p)),
    "everdraft_suffix_children": (c_long, (c_void_p, c_int, c_long, c_void_p)),
    "everdraft_suffix_measure": (None, (c_void_p, c_void_p)),
    "everdraft_suffix_follow": (None, (c_void_p, c_void_p, c_void_p, c_long, c_long)),
    "everdraft_suffix_draft": (c_long, (c_void_p, c_void_p, c_long, c_void_p, c_void_p, c_void_p)),
}
"""What takes microseconds, and what it returns: see `brief`. A copy of a tree takes 1.2 ms, but has to be of one moment."""
_TIMEOUT = 120.0
"""Seconds for one run of the compiler."""

_ARGUMENTS: dict[str, tuple[type, ...]] = {
    "everdraft_panel_width": (),
    "everdraft_pack_float": (c_void_p, c_long, c_long, c_void_p),
    "everdraft_pack_bfloat16": (c_void_p, c_long, c_long, c_void_p),
    "everdraft_linear_float": (c_void_p, c_long, c_long, c_void_p, c_long, c_void_p, c_void_p, c_void_p, c_int),
    "everdraft_linear_bfloat16": (c_void_p, c_long, c_long, c_void_p, c_long, c_void_p, c_void_p, c_void_p, c_int),
    "everdraft_tiles": (),
    "everdraft_int8_tiles": (),
    "everdraft_linear_int8": (
        *(c_void_p, c_long, c_long, c_void_p, c_void_p, c_void_p, c_long),
        *(c_void_p, c_void_p, c_void_p, c_int, c_int),
    ),
    "everdraft_pack_int8": (c_void_p, c_long, c_long, c_void_p, c_void_p, c_void_p),
    "everdraft_replace_int8": (c_void_p, c_long, c_void_p, c_long, c_void_p, c_void_p, c_void_p),
    "everdraft_attention": (
        *(c_void_p, c_long, c_long, c_long, c_long, c_void_p, c_void_p, c_long),
        *(c_void_p, c_long, c_long, c_float, c_void_p, c_int),
    ),
    "everdraft_write": (*(c_void_p, c_long, c_void_p, c_long, c_long, c_long, c_long), *(c_void_p, c_long, c_void_p, c_void_p)),
    "everdraft_rms_norm": (c_void_p, c_long, c_long, c_long, c_void_p, c_float, c_void_p),
    "everdraft_swiglu": (c_void_p, c_long, c_long, c_void_p),
    "everdraft_replace_float": (c_void_p, c_long, c_long, c_void_p),
    "everdraft_replace_bfloat16": (c_void_p, c_long, c_long, c_void_p),
    "everdraft_candidates": (c_void_p, c_long, c_long, c_void_p, c_void_p, c_void_p, c_long, c_void_p, c_void_p),
    "everdraft_layers": (
        *(c_void_p, c_long, c_long, c_long, c_long, c_float, c_void_p, c_long, c_void_p, c_void_p, c_long, c_void_p, c_void_p),
        *(c_void_p, c_void_p, c_long, c_void_p, c_long, c_long, c_float, c_void_p, c_int),
    ),
    "everdraft_hydra": (
        *(c_void_p, c_void_p, c_void_p, c_long, c_double, c_void_p),
        *(c_void_p, c_void_p, c_void_p, c_void_p, c_int),
    ),
    "everdraft_likeliest": (c_void_p, c_long, c_long, c_long, c_void_p, c_void_p),
    "everdraft_rope": (c_void_p, c_long, c_long, c_long, c_long, c_void_p, c_void_p, c_void_p),
    "everdraft_suffix_freeze": (c_void_p, c_void_p),
    "everdraft_suffix_thaw": (c_void_p, c_void_p),
}


def runs_natively(tensor: Tensor) -> bool:
    """Whether the C kernels take it: float32 in the CPU's memory, and there is a library."""
    return tensor.dtype == torch.float32 and tensor.device.type == "cpu" and library() is not None


def loaded() -> ctypes.CDLL:
    """The library, which must be there."""
    found = library()
    assert found is not None, "ask runs_natively first"
    return found


def outside(name: str, places: Tensor, size: int) -> IndexError:
    """What to raise where C found that not all of `places` are from 0 to `size` - 1."""
    wrong = places[(places < 0) | (places >= size)]
    return IndexError(f"{name}: {int(wrong[0])}, expected 0 to {size - 1}")


@lru_cache(maxsize=1)
def has_tiles() -> bool:
    """Whether there are matrix tiles (AMX) that this process may use."""
    found = library()
    return found is not None and bool(found.everdraft_tiles())


@lru_cache(maxsize=1)
def has_int8_tiles() -> bool:
    """As `has_tiles`, for bytes."""
    found = library()
    return found is not None and bool(found.everdraft_int8_tiles())


@lru_cache(maxsize=1)
def library() -> ctypes.CDLL | None:
    """The compiled kernels; None, said once in the log, where they cannot be had.

    What the compiler makes is kept under `$XDG_CACHE_HOME/everdraft` (`~/.cache/everdraft`), by source, flags, compiler
    and processor.
    """
    command = compiler()
    if command is None:
        named = os.environ.get("CC", "cc") or "CC is empty"
        log.warning("no C compiler (%s): plain torch kernels, several times slower on a CPU", named)
        return None
    try:
        with _cache() as cache:
            library = ctypes.CDLL(str(_compiled(command, cache)))
        for name, arguments in (_ARGUMENTS | (_TILES if hasattr(library, "everdraft_linear_tiles") else {})).items():
            getattr(library, name).argtypes = arguments
        library.everdraft_suffix_thaw.restype = c_void_p  # the others return an int, or nothing
    except (OSError, AttributeError, subprocess.SubprocessError) as error:
        log.warning("the C kernels cannot be used: plain torch kernels, several times slower on a CPU: %s", _reason(error))
        return None
    return library


@lru_cache(maxsize=1)
def brief() -> ctypes.PyDLL:
    """The functions that keep the interpreter's lock: who gives it away for microseconds may wait 5 ms to have it back. So what
    they change needs no lock of its own. There must be a library."""
    found = loaded()
    held = ctypes.PyDLL(found._name, handle=found._handle)
    for name, (result, arguments) in _BRIEF.items():
        function = getattr(held, name)
        function.restype, function.argtypes = result, arguments
    return held


def compiler() -> list[str] | None:
    """The C compiler's command: `cc`, or what the environment's CC says; None where it is not found, or CC is empty."""
    command = shlex.split(os.environ.get("CC", "cc"))
    return command if command and shutil.which(command[0]) else None


@contextmanager
def _cache() -> Iterator[Path]:
    """A folder into which this user alone can write, for what lies there is loaded as code; else one for this once."""
    try:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "everdraft"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        owner = folder.stat()
        kept = os.access(folder, os.W_OK) and owner.st_uid == os.getuid() and not owner.st_mode & 0o022
    except (OSError, RuntimeError):  # RuntimeError: there is no home
        kept = False
    if kept:
        yield folder
    else:
        with tempfile.TemporaryDirectory(prefix="everdraft-kernels-") as folder_of_now:
            yield Path(folder_of_now)


def _compiled(compiler: list[str], cache: Path) -> Path:
    sources = sorted(ROOM.glob("*/*.c"))
    headers = [*sorted(ROOM.glob("*.h")), *sorted(ROOM.glob("*/*.h"))]
    path = cache / f"kernels-{_key(compiler, [*sources, *headers])}.so"
    if path.exists():
        return path
    handle, made = tempfile.mkstemp(suffix=".so", dir=cache)
    os.close(handle)
    try:
        for number, further in enumerate(_TRIES, start=1):
            command = [*compiler, *_FLAGS, *further, "-o", made, *map(str, sources), "-lm"]
            try:
                subprocess.run(command, check=True, capture_output=True, text=True, timeout=_TIMEOUT)
                break
            except subprocess.CalledProcessError:
                if number == len(_TRIES):
                    raise
        os.replace(made, path)  # whole or not at all: others may be compiling the same
    finally:
        Path(made).unlink(missing_ok=True)
    return path


def _key(compiler: list[str], files: list[Path]) -> str:
    version = subprocess.run([*compiler, "--version"], check=True, capture_output=True, timeout=_TIMEOUT).stdout
    parts = [version, repr((compiler, _FLAGS, _TRIES)).encode(), _processor().encode(), *(file.read_bytes() for file in files)]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


def _processor() -> str:
    """What `-march=native` depends on: a home folder may be shared between machines."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    return "\n".join(sorted({line for line in lines if line.startswith(("flags", "model name", "Features"))}))


def _reason(error: BaseException) -> str:
    words = (error.stderr or "").strip() if isinstance(error, subprocess.CalledProcessError) else ""
    return f"{error}: {words[:500]}" if words else str(error)
