"""Text to token ids, without holding up everybody else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from models.errors import InputError
from serving.api.errors import InvalidRequest
from serving.text import TextTokenizer

A = TypeVar("A")

LONG_TEXT = 10_000
"""Characters from which a thread encodes: about 6 ms, in which the event loop could serve a whole step. The
tokenizer lets go of the interpreter while it works."""


async def encode_text(tokenizer: TextTokenizer, text: str, field: str) -> tuple[int, ...]:
    """Token ids of a prompt. Raises InvalidRequest, naming `field`."""
    return await _encode(tokenizer.encode, text, len(text), field)


async def encode_messages(tokenizer: TextTokenizer, messages: list[dict[str, str]]) -> tuple[int, ...]:
    """Token ids of a conversation. Raises InvalidRequest where the chat template refuses it."""
    size = sum(len(message["content"]) for message in messages)
    return await _encode(tokenizer.apply_chat_template, messages, size, "messages")


async def _encode(encode: Callable[[A], list[int]], argument: A, size: int, field: str) -> tuple[int, ...]:
    try:
        ids = encode(argument) if size < LONG_TEXT else await asyncio.to_thread(encode, argument)
    except InputError as error:
        raise InvalidRequest(f"{field}: {str(error).removeprefix(f'{field}: ')}", field) from error
    return tuple(ids)
