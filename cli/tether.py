"""Runs a command that ends when its supervisor does: `python tether.py PARENT_PID COMMAND…`.

On Linux the kernel sends it SIGTERM when the parent dies, of SIGKILL too (prctl(2), PR_SET_PDEATHSIG, which
survives execve). Elsewhere the command runs as it is. A program of its own, because code between fork and
exec may deadlock in a process that has threads.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Ties this process to its parent, then becomes the command."""
    parent = int(sys.argv[1])
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it died before the tie held
        sys.exit(1)
    os.execvp(sys.argv[2], sys.argv[2:])


if __name__ == "__main__":
    main()
