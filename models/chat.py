"""Chat templates: from messages to the text that the model was trained on."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, NoReturn

from jinja2 import TemplateError, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from models.errors import BadMessages, BadModel


class ChatTemplate:
    """A checkpoint's Jinja template. It comes with the weights, hence runs in a sandbox.

    It sees what transformers shows it: `messages`, `add_generation_prompt`, the special tokens, `tools` and
    `documents` (none), and the functions `raise_exception`, `strftime_now` and `tojson`.
    """

    def __init__(self, source: str, special_tokens: Mapping[str, str]) -> None:
        self.source = source
        self._special_tokens = dict(special_tokens)
        try:
            self._template = _environment().from_string(source)
        except TemplateError as error:
            raise BadModel(f"chat template: {error}") from error

    def render(self, messages: Sequence[Mapping[str, str]]) -> str:
        """The conversation as text, up to where the assistant's next message starts.

        Raises BadMessages, with the template's own words, where it refuses them.
        """
        if not messages:
            raise BadMessages("messages is empty; expected at least one")
        absent = {"tools": None, "documents": None}
        try:
            return self._template.render(
                **self._special_tokens, **absent, messages=list(messages), add_generation_prompt=True
            )
        except Exception as error:  # a foreign program: it may raise anything
            raise BadMessages(f"messages: the model's chat template refuses them: {error}") from error


class _Generation(Extension):
    """`{% generation %}` marks, for training, what the assistant wrote; rendering ignores the mark."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _environment() -> ImmutableSandboxedEnvironment:
    """As transformers sets it up, so that a template renders the same text here."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, "jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = _to_json
    functions: dict[str, Callable[..., Any]] = {"raise_exception": _raise, "strftime_now": _strftime_now}
    environment.globals.update(functions)
    return environment


def _raise(message: str) -> NoReturn:
    raise TemplateError(message)


def _strftime_now(pattern: str) -> str:
    return datetime.now().strftime(pattern)


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Plain JSON: Jinja's own filter would escape it for HTML."""
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )
