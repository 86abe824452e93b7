"""Constrained answers: what a request wants (`Constraint`), what that is compiled to (`Grammars`), a sequence's way through
it (`Guide`).

The grammars are llguidance's: byte by byte over the tokenizer's vocabulary, an Earley parser above lazily built lexers.
"""
