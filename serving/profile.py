"""Profile: what passes of the target cost, tried out at start; the prices begin there."""

from __future__ import annotations

import time

from models.pages import PageTable
from serving.target import Target
from speculator.batch import Batch, Sampling, Sequence
from speculator.drafts import Drafts, Tree

CONTEXT = 96
"""Tokens before the rows of each sequence."""


def pass_seconds(target: Target, num_sequences: int, num_rows: int) -> float:
    """Seconds of one pass over `num_rows` rows of `num_sequences` sequences together; of fewer where there are no pages for
    so many. To be called while no page is held."""
    pool = target.pool
    num_sequences = max(1, min(num_sequences, pool.num_pages // pool.pages_for(CONTEXT + 1)))
    num_pages = pool.num_pages // num_sequences
    rows = [num_rows * (number + 1) // num_sequences - num_rows * number // num_sequences for number in range(num_sequences)]
    trees = [_tree(min(each, num_pages * pool.page_size - CONTEXT)) for each in rows]
    pages = [range(number * num_pages, (number + 1) * num_pages) for number in range(num_sequences)]
    batch = Batch(tuple(_sequence(number, PageTable(pool.page_size, each)) for number, each in enumerate(pages)))
    started = time.perf_counter()
    target.launch(batch, Drafts.pack(trees))
    target.wait()
    return time.perf_counter() - started


def _tree(num_nodes: int) -> Tree:
    tree = Tree.rooted(0)
    for _ in range(num_nodes - 1):
        tree.add(0, 0, 1.0, 1)
    return tree


def _sequence(number: int, pages: PageTable) -> Sequence:
    """One that has CONTEXT tokens and one to be fed."""
    sequence = Sequence(id=number, tenant="", tokens=[0] * (CONTEXT + 1), num_prompt=CONTEXT, sampling=Sampling())
    sequence.num_written = CONTEXT
    sequence.pages = pages
    return sequence
