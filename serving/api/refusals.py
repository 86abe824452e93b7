"""Fields that would change the output and are not supported yet: refused by name, unless neutral.

Ignoring one of them would answer a different question from the one that was asked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from serving.api.errors import InvalidRequest, shown

Neutral = Callable[[Any], bool]


def _only(*values: object) -> Neutral:
    # 1 == True in Python, but not in JSON
    return lambda value: any(value == each and isinstance(value, bool) is isinstance(each, bool) for each in values)


def _empty(value: Any) -> bool:
    return value in ("", [], {})


_NEVER = _only()

_SHARED: Mapping[str, Neutral] = {
    "use_beam_search": _only(False),
    "length_penalty": _only(1),
    "logits_processors": _empty,
    "truncate_prompt_tokens": _NEVER,
    "guided_json_object": _only(False),
    "guided_decoding_backend": _NEVER,
    "guided_whitespace_pattern": _NEVER,
    "structural_tag": _NEVER,
}

COMPLETION: Mapping[str, Neutral] = {
    **_SHARED,
    "suffix": _empty,
    "add_special_tokens": _only(True),
    "prompt_embeds": _NEVER,
}

CHAT: Mapping[str, Neutral] = {
    **_SHARED,
    "echo": _only(False),
    "tools": _empty,
    "tool_choice": _only("none"),
    "functions": _empty,
    "function_call": _only("none"),
    "modalities": _only(["text"]),
    "audio": _NEVER,
    "reasoning_effort": _only("none"),
    "web_search_options": _NEVER,
    "documents": _empty,
    "chat_template": _NEVER,
    "chat_template_kwargs": _empty,
    "add_generation_prompt": _only(True),
    "continue_final_message": _only(False),
    "add_special_tokens": _only(False),
}


def refuse_unsupported(raw: Mapping[str, Any], fields: Mapping[str, Neutral]) -> None:
    """Raises InvalidRequest for the first of `fields` that asks for something."""
    for name, neutral in fields.items():
        value = raw.get(name)
        if value is not None and not neutral(value):
            raise InvalidRequest(f"{name} is not supported yet, got {shown(value)}; leave it out", name)
