"""For all tests."""

from __future__ import annotations

import random
import sys

import kafka as kafka

# A client whose broker is gone draws how long to wait from the `random` that all share, on a thread that may outlive its test;
# hypothesis fails tests during which anybody else draws.
for name, module in list(sys.modules.items()):
    if name.startswith("kafka.") and getattr(module, "random", None) is random:
        module.random = random.Random()  # type: ignore[attr-defined]
