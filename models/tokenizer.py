"""From text to token ids and back, with the chat template. Needs neither torch nor the weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import tokenizers

from models.chat import ChatTemplate
from models.errors import BadMessages, BadText
from models.token_bytes import token_bytes


class Tokenizer:
    """A checkpoint's tokenizer and chat template. Thread-safe."""

    def __init__(
        self,
        backend: tokenizers.Tokenizer,
        chat_template: ChatTemplate | None,
        eos_ids: frozenset[int],
        fingerprint: str,
    ) -> None:
        backend.no_truncation()
        backend.no_padding()
        self._backend = backend
        self._chat_template = chat_template
        self.eos_ids = eos_ids
        """Tokens that end an answer."""
        self.fingerprint = fingerprint
        """Hash of the vocabulary, its rules and the chat template."""
        self.token_bytes = token_bytes(backend)
        """The bytes of one token id, which may be no whole character."""
        self.vocab_size = max(backend.get_vocab(with_added_tokens=True).values()) + 1
        """One more than the greatest id it knows; the model's own vocabulary may be padded beyond it."""

    @property
    def rules(self) -> str:
        """The vocabulary and its rules, as `tokenizer.json` has them."""
        return str(self._backend.to_str())

    @property
    def has_chat_template(self) -> bool:
        return self._chat_template is not None

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        """Token ids of a text. Names of special tokens within it become these tokens, as usual with
        Hugging Face models.

        add_special_tokens: whether to add those that the checkpoint wants around a text, as a first `<s>`.
        Raises BadText where the text is no valid Unicode.
        """
        _check_unicode(text)
        ids: list[int] = self._backend.encode(text, add_special_tokens=add_special_tokens).ids
        return ids

    def decode(self, ids: Sequence[int], skip_special: bool = True) -> str:
        """Text of token ids, special tokens left out unless asked for.

        Ids that the tokenizer does not know (padding of the model's vocabulary) give nothing; bytes that make
        no character give U+FFFD.
        """
        text: str = self._backend.decode(ids, skip_special_tokens=skip_special)
        return text

    def apply_chat_template(self, messages: Sequence[Mapping[str, str]]) -> list[int]:
        """Token ids of a conversation, up to where the assistant's next message starts.

        Raises BadMessages where there is no template or it refuses them, BadText where they are no valid
        Unicode.
        """
        if self._chat_template is None:
            raise BadMessages("messages: the model has no chat template; expected a plain prompt instead")
        text = self._chat_template.render(messages)
        return self.encode(text, add_special_tokens=False)  # the template has written them already


def _check_unicode(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        surrogate = f"the lone surrogate U+{ord(text[error.start]):04X}"
        raise BadText(f"character {error.start} is {surrogate}; expected valid Unicode") from None
