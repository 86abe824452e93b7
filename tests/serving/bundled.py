"""Questions to the bundled target, as its chat template puts them."""

from __future__ import annotations

from collections.abc import Sequence

from models.loading import Target
from serving.messages import Request


def asked_of(loaded: Target, questions: Sequence[str], temperature: float, max_tokens: int) -> list[Request]:
    """Requests numbered from 0, which is their seed too."""
    return [
        Request(
            id=number,
            prompt_ids=tuple(loaded.tokenizer.apply_chat_template([{"role": "user", "content": question}])),
            max_tokens=max_tokens,
            temperature=temperature,
            seed=number,
            stop_ids=tuple(loaded.eos_ids),
        )
        for number, question in enumerate(questions)
    ]
