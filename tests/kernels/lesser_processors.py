"""Tests of kernels that are run again, compiled for a processor with fewer instructions than this one has."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest


def assert_passed_without(limits: str, names: str, file: str, cache: Path) -> None:
    """limits: flags of the compiler. names: of the tests in `file`, as pytest's -k takes them. cache: an empty folder."""
    if platform.machine() != "x86_64":
        pytest.skip("these are flags of x86")
    environment = os.environ | {"CC": f"cc {limits}", "XDG_CACHE_HOME": str(cache)}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist", "-k", names, file]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout[-2000:]
    assert " passed" in ran.stdout
    assert list(cache.glob("everdraft/*.so")), "the kernels were compiled for it"
