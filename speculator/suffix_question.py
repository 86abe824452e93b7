"""Question: one sequence that a suffix draft is wanted for; and what decides how it is answered, whoever keeps the trees."""

from __future__ import annotations

from kernels.suffix_tree import NativeMatch, NativeTree
from speculator.batch import Sampling
from speculator.suffix_growth import unseen_weights
from speculator.suffix_match import SuffixMatch
from speculator.suffix_tree import SuffixTree

UNSEEN_IN_REQUEST = unseen_weights(3.0)
UNSEEN_IN_TENANT = unseen_weights(6.0)
"""What followed in the request itself is twice as likely to follow again. Fitted to the bundled target's
answers to questions about sql and mathematics and to stories, greedy and at temperature 0.8: confidence is
mostly within 0.1 of the share accepted, at worst 0.25 above it."""
# Beside the longest match, which may be a chance one, a short one with more evidence: 4 % more tokens a step.
SHORT_IN_REQUEST = 2
SHORT_IN_TENANT = 1
OF_USE = 4
"""Tokens of a match from which on it was not found by chance, and the text it was found in is kept for longer."""

AnyTree = SuffixTree | NativeTree
AnyMatch = SuffixMatch | NativeMatch


Question = tuple[AnyTree | None, AnyMatch, list[int], int, int, Sampling, int]
"""One sequence that is to be drafted for: the tree of its own text, None where that does not end where the text does; the match
of its text in what its tenant was served; the text; most nodes; greatest depth; how its tokens are chosen; the position of the
next one in its output. A plain tuple: one is made for each draft."""
