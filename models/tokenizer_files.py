"""Reading a tokenizer and its chat template from a checkpoint's files."""

from __future__ import annotations

import hashlib
from pathlib import Path

import tokenizers

from models.chat import ChatTemplate
from models.errors import BadModel
from models.fields import Fields
from models.source import locate
from models.tokenizer import Tokenizer

_ROLES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")


def load_tokenizer(path_or_id: str, *, revision: str | None = None) -> Tokenizer:
    """The tokenizer of a local folder or a hub id (`revision`: see `models.source.locate`).

    Cheap: no weights are read or downloaded. Raises BadModel where files are missing or damaged.
    """
    folder = locate(path_or_id, revision, weights=False)
    settings = _optional(folder / "tokenizer_config.json")
    rules = _rules(folder)
    try:
        backend = tokenizers.Tokenizer.from_str(rules)
    except Exception as error:  # the library raises no narrower type
        raise BadModel(f"{folder / 'tokenizer.json'}: not a tokenizer: {error}") from error
    special = _special_tokens(settings, _optional(folder / "special_tokens_map.json"))
    template = _template(folder, settings)
    chat = None if template is None else ChatTemplate(template, special)
    eos_ids = _generation_eos(folder) | _known(backend, special.get("eos_token"))
    return Tokenizer(backend, chat, eos_ids, _fingerprint(rules, template))


def _fingerprint(rules: str, template: str | None) -> str:
    digest = hashlib.sha256(rules.encode())
    digest.update(b"\0" if template is None else b"\1" + template.encode())
    return digest.hexdigest()


def _rules(folder: Path) -> str:
    """`tokenizer.json`, or where there is none what transformers makes of older files."""
    path = folder / "tokenizer.json"
    return _text(path) if path.exists() else _converted_rules(folder)


def _converted_rules(folder: Path) -> str:
    from transformers import AutoTokenizer  # takes seconds to import

    try:
        converted = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # whatever the conversion meets
        raise BadModel(f"{folder}: no tokenizer.json, and no older tokenizer that loads: {error}") from error
    if not converted.is_fast:
        kind = type(converted).__name__
        raise BadModel(f"{folder}: no tokenizer.json, and a {kind} cannot be converted to one")
    return str(converted.backend_tokenizer.to_str())


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except ValueError as error:
        raise BadModel(f"{path}: not UTF-8: {error}") from error


def _optional(path: Path) -> Fields:
    return Fields.read(path) if path.exists() else Fields({}, path.name)


def _special_tokens(*sources: Fields) -> dict[str, str]:
    """Text of each special token by role, from the first file that names it: a string or an object."""
    found: dict[str, str] = {}
    for fields in sources:
        for role in _ROLES:
            value = fields.raw(role)
            text = value.get("content") if isinstance(value, dict) else value
            if isinstance(text, str):
                found.setdefault(role, text)
    return found


def _template(folder: Path, settings: Fields) -> str | None:
    """`chat_template.jinja`, else what `tokenizer_config.json` has: one template, or several by name."""
    path = folder / "chat_template.jinja"
    if path.exists():
        return _text(path)
    value = settings.raw("chat_template")
    if isinstance(value, list):
        named = {entry.get("name"): entry.get("template") for entry in value if isinstance(entry, dict)}
        value = named.get("default")
    if value is not None and not isinstance(value, str):
        raise settings.wrong("chat_template", "a string, or a list of objects with name and template")
    return value


def _generation_eos(folder: Path) -> frozenset[int]:
    """What generation stops at: `generation_config.json`, else `config.json`; an id or a list of them."""
    for name in ("generation_config.json", "config.json"):
        fields = _optional(folder / name)
        if fields.given("eos_token_id"):
            value = fields.raw("eos_token_id")
            ids = value if isinstance(value, list) else [value]
            if not all(isinstance(token, int) and token >= 0 for token in ids):
                raise fields.wrong("eos_token_id", "a token id or a list of them")
            return frozenset(ids)
    return frozenset()


def _known(backend: tokenizers.Tokenizer, token: str | None) -> frozenset[int]:
    index = None if token is None else backend.token_to_id(token)
    return frozenset() if index is None else frozenset({index})
