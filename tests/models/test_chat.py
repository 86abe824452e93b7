"""Chat templates render what transformers renders, inside a sandbox, and their refusals name the messages."""

from __future__ import annotations

from pathlib import Path

import pytest
import transformers

from models.chat import ChatTemplate
from models.errors import BadMessages, BadModel
from models.loading import load_tokenizer
from tests.models.families import edit_json, save_tokenizer

USER = {"role": "user", "content": "Hi <b> & 'you' é"}
MESSAGES = [
    {"role": "system", "content": "Be brief."},
    USER,
    {"role": "assistant", "content": " Yes. "},
    USER,
]


def test_a_template_may_use_everything_that_transformers_offers(tmp_path: Path) -> None:
    source = """
    {%- set state = namespace(turn=0) %}
    {{- bos_token }}{{ strftime_now('%Y') }}{% if tools %}tools{% endif %}
    {% for message in messages %}
        {%- if message['role'] == 'system' %}{% continue %}{% endif %}
        {%- set state.turn = state.turn + 1 %}
{{ state.turn }}{{ message | tojson }}{{ message.content | trim }}{{ pad_token }}
        {%- if message.role == 'assistant' %}{% generation %}!{{ loop.index }}{% endgeneration %}{% endif %}
        {%- if loop.index > 3 %}{% break %}{% endif %}
    {% endfor %}
    {%- if add_generation_prompt %}<assistant>{% endif %}"""
    save_tokenizer(tmp_path)
    edit_json(tmp_path / "tokenizer_config.json", chat_template=source)
    reference = transformers.AutoTokenizer.from_pretrained(tmp_path)
    expected = reference.apply_chat_template(MESSAGES, add_generation_prompt=True, tokenize=False)
    assert ChatTemplate(source, {"bos_token": "<s>", "eos_token": "</s>"}).render(MESSAGES) == expected
    assert expected.count("Hi <b>") == 4


def test_the_template_file_goes_before_the_one_in_the_settings(tmp_path: Path) -> None:
    save_tokenizer(tmp_path)
    tokenizer = load_tokenizer(str(tmp_path))
    text = tokenizer.decode(tokenizer.apply_chat_template([USER]), skip_special=False)
    assert text == f"user: {USER['content']}</s>"
    (tmp_path / "chat_template.jinja").write_text("{{ messages | length }}")
    tokenizer = load_tokenizer(str(tmp_path))
    assert tokenizer.decode(tokenizer.apply_chat_template(MESSAGES)) == "4"


def test_of_several_named_templates_the_default_is_used(tmp_path: Path) -> None:
    save_tokenizer(tmp_path)
    named = [{"name": "tool_use", "template": "tools"}, {"name": "default", "template": "plain"}]
    edit_json(tmp_path / "tokenizer_config.json", chat_template=named)
    tokenizer = load_tokenizer(str(tmp_path))
    assert tokenizer.decode(tokenizer.apply_chat_template([USER])) == "plain"


@pytest.mark.parametrize(
    "source",
    [
        "{{ raise_exception('roles must alternate') }}",
        "{{ messages[7].content + 'x' }}",
        "{{ 1 // 0 }}",
        "{{ ''.__class__.__mro__ }}",
        "{{ messages.append(1) }}",
        "{% for i in range(10 ** 9) %}{% endfor %}",
    ],
)
def test_whatever_goes_wrong_inside_a_template_names_messages(source: str) -> None:
    with pytest.raises(BadMessages, match=r"^messages: the model's chat template refuses them: "):
        ChatTemplate(source, {}).render([USER])


def test_the_template_s_own_words_reach_the_client() -> None:
    with pytest.raises(BadMessages, match="roles must alternate"):
        ChatTemplate("{{ raise_exception('roles must alternate') }}", {}).render([USER])


def test_no_messages_at_all_are_refused() -> None:
    with pytest.raises(BadMessages, match="messages is empty"):
        ChatTemplate("x", {}).render([])


def test_a_template_file_that_is_no_text_is_refused_at_loading(tmp_path: Path) -> None:
    save_tokenizer(tmp_path)
    (tmp_path / "chat_template.jinja").write_bytes(b"\xff\xfe")
    with pytest.raises(BadModel, match=r"chat_template\.jinja: not UTF-8"):
        load_tokenizer(str(tmp_path))


def test_a_template_that_is_no_jinja_is_refused_at_loading() -> None:
    with pytest.raises(BadModel, match="chat template: "):
        ChatTemplate("{% for %}", {})
