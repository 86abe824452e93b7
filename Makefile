# One-word commands, the same for people and for CI. From a fresh clone with python3 (3.11 or newer) and pip:
#
#   make demo     install, then the whole loop on this machine, with a report     (at most 8 minutes after installing)
#   make test     install, then every check: lint, types, tests                   (some 20 minutes on two cores)
#   make quick    the fast tests only                                             (at most 60 seconds)

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/installed
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest

.PHONY: install demo test check quick heads draft bench bench-ssd bench-draft bench-long bench-groups tree

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet -c constraints.txt -e '.[test]'
	touch $@

demo: install
	$(BIN)/everdraft demo

test: check
	$(PYTEST)

# Lint and types. Layout is left to whoever writes: the longest line is all that is checked of it.
check: install
	$(BIN)/ruff check .
	$(BIN)/mypy

quick: install
	$(PYTEST) -n 2 -m "not slow and not gpu"

# The static heads that ship with the bundled target: to be made again when that changes.
heads: install
	rm -rf build/heads
	$(BIN)/everdraft dayzero --out build/heads
	rm -rf models/demo/heads && mv build/heads models/demo/heads

# The draft model that ships with it.
draft: install
	rm -rf build/draft
	$(BIN)/everdraft dayzero --kind draft-lm --out build/draft
	rm -rf models/demo/draft && mv build/draft models/demo/draft

bench: install
	$(BIN)/python -m bench

# SSD alone: a draft model learns first (`--draft` takes one that is there), then the two cores are target and draft. An hour.
bench-ssd: install
	$(BIN)/python -m bench --only ssd --out bench-ssd-out

# The draft model that learns from traffic against the one it started from. Twenty minutes.
bench-draft: install
	$(BIN)/python -m bench --only draft-online --out bench-draft-out

# The target drafting for itself on long texts. Fifteen minutes.
bench-long: install
	$(BIN)/python -m bench --only long-context --out bench-long-out

# What Spec-Bench's task groups gain: against plain decoding, transformers, fixed settings and others' suffix decoding, in crowds, over
# shifts, source by source. 25 minutes on two quiet cores.
TASKS := groups groups-transformers concurrency fixed ablation arctic shifts
SOURCES := hydra,suffix,recycling
bench-groups: install
	$(BIN)/python -m bench $(addprefix --only=,$(TASKS)) --sources $(SOURCES) --out bench-groups-out

# The tree of the README, from the first line of every module.
tree: install
	$(BIN)/python docs/tree.py
