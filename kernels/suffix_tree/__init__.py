"""Suffix trees in C, and the drafts that grow from them.

In plain Python they are `speculator/suffix_tree.py`, `suffix_match.py` and `suffix_growth.py`: these say what the C must do, and
take over where there is no compiler.
"""

from __future__ import annotations

from kernels.suffix_tree.cpu import NativeMatch, NativeTree
from kernels.suffix_tree.drafts import Desk, Rules
from kernels.suffix_tree.state import Frozen, frozen, thawed

__all__ = ["Desk", "Frozen", "NativeMatch", "NativeTree", "Rules", "frozen", "thawed"]
