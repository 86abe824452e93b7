"""Errors of loading and using a model.

ModelError
├── UnsupportedModel    a sound checkpoint of a kind that the decoder does not cover
├── BadModel            files that are missing, damaged or contradict each other
└── InputError          what a caller wants encoded cannot be
    ├── BadText         text that is no valid Unicode
    └── BadMessages     messages that the chat template refuses, or no chat template
"""

from __future__ import annotations


class ModelError(Exception):
    """Base of every error about a model that is reported to its user."""


class UnsupportedModel(ModelError):
    """A sound checkpoint of a kind that the decoder does not cover; says what is covered."""


class BadModel(ModelError):
    """Files that are missing, damaged or contradict each other; names the file, field or tensor."""


class InputError(ModelError):
    """What a caller wants encoded cannot be."""


class BadText(InputError):
    """Text that is no valid Unicode: it holds a lone surrogate."""


class BadMessages(InputError):
    """Messages that the model's chat template refuses, or a model without one."""
