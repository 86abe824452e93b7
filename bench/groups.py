"""Task groups in the sense of Spec-Bench (arXiv 2401.07851), made of the prompts that there are.

    group         of the corpus                                                    of other prompts, ours included
    multi-turn    dialogues as recorded, from their second turn on, and talks of   dialogues that are under way
                  two turns of chat, code and sql: a question, its answer as
                  recorded, the next question
    translation   `multilingual`: questions and answers in seven languages         "Translate to French:" and a text
    summary       "Summarize:" and a story                                         the same
    qa            questions of shell and chat                                      of sql
    math          math                                                             math
    retrieval     three pages of shell, and a question that one of them answers    three stories, and which begins so

Spec-Bench's own prompts are not used: some of its texts may not be handed on. Its `translation` is German to English; the
bundled target has learnt no translating, so that group is only about text that is not English.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import msgspec

from bench.supply import SEED, Source, Supply, split_files
from cli.demo.prompt_files import MAX_TOKENS, PromptFileError, json_lines, read_prompts
from cli.demo.prompts import DOMAINS, Message, Prompt, Split, prompts
from models.tokenizer import Tokenizer

GROUPS = ("multi-turn", "translation", "summary", "qa", "math", "retrieval")

FIRST = 1_000_000
"""Number of the first request: those of the plain domains have others, and so other seeds."""
_COPYING_TOKENS = 128
"""Of an answer that has something to copy from; elsewhere as everywhere."""
_TEXT = (500, 1200)
"""Characters of a text to be summarized or translated, at least (texts are joined) and at most."""
_PASSAGES, _PASSAGE = 3, 500
"""How many passages, and characters of one at most."""
_TURN = 600
"""Characters of a recorded answer within a talk, at most."""


class Text(NamedTuple):
    """Something to build a prompt from."""

    question: str
    text: str
    """The answer as recorded; of a prompt without one, the prompt itself."""


class Material(NamedTuple):
    """Of one split. prompts, texts: by domain."""

    domains: Sequence[str]
    prompts: Source
    texts: Callable[[str], Iterator[Text]]
    answered: bool
    """Whether texts are recorded answers."""


def task_groups(folder: Path | None, tokenizer: Tokenizer, context: int) -> Supply:
    """Requests by task group, from the files in `folder` (see `from_folder`) or, if None, from the project's own prompts."""
    about = "the project's own prompts" if folder is None else f"files in {folder.name}/"
    fresh = _own("evaluation") if folder is None else _files(folder, "dev")
    training = _own("traffic") if folder is None else _files(folder, "train")

    def source(material: Material) -> Source:
        return lambda group: (msgspec.structs.replace(prompt, domain=group) for prompt in _MAKERS[group](material))

    return Supply(f"task groups of {about}", GROUPS, source(fresh), source(training), tokenizer, context, first=FIRST)


def _multi_turn(material: Material) -> Iterator[Prompt]:
    talks: list[Iterator[Prompt]] = [(prompt for prompt in _prompts(material, "dialogue") if len(prompt.messages) > 2)]
    if material.answered:
        talks += [_two_turns(material.texts(domain)) for domain in ("chat", "code", "sql") if domain in material.domains]
    return _in_turns(talks)


def _two_turns(texts: Iterator[Text]) -> Iterator[Prompt]:
    for first, second in zip(texts, texts, strict=False):  # two at a time
        talk = (Message("user", first.question), Message("assistant", first.text[:_TURN]), Message("user", second.question))
        yield Prompt("", talk, MAX_TOKENS)


def _translation(material: Material) -> Iterator[Prompt]:
    if "multilingual" in material.domains:
        return material.prompts("multilingual")
    return (_asked(f"Translate to French: {text}", _COPYING_TOKENS) for text in _long_texts(material))


def _summary(material: Material) -> Iterator[Prompt]:
    return (_asked(f"Summarize: {text}", _COPYING_TOKENS) for text in _long_texts(material))


def _qa(material: Material) -> Iterator[Prompt]:
    answering = [domain for domain in ("shell", "chat") if domain in material.domains] or ["sql"]
    return _in_turns([_prompts(material, domain) for domain in answering])


def _math(material: Material) -> Iterator[Prompt]:
    return _prompts(material, "math")


def _retrieval(material: Material) -> Iterator[Prompt]:
    domain = "shell" if material.answered and "shell" in material.domains else "stories"
    texts = material.texts(domain) if domain in material.domains else iter(())
    for number, found in enumerate(zip(*[texts] * _PASSAGES, strict=False)):
        passages = "\n\n".join(f"[{at}] {each.text[:_PASSAGE]}" for at, each in enumerate(found, start=1))
        asked = found[number % _PASSAGES]
        question = asked.question if material.answered else f"Which passage begins so: {asked.text[:40]}"
        yield _asked(f"Passages:\n\n{passages}\n\nAnswer from the passages: {question}", _COPYING_TOKENS)


_MAKERS: dict[str, Callable[[Material], Iterator[Prompt]]] = dict(
    zip(GROUPS, (_multi_turn, _translation, _summary, _qa, _math, _retrieval), strict=True)
)


def _asked(text: str, max_tokens: int) -> Prompt:
    return Prompt("", (Message("user", text),), max_tokens)


def _prompts(material: Material, domain: str) -> Iterator[Prompt]:
    return material.prompts(domain) if domain in material.domains else iter(())


def _long_texts(material: Material) -> Iterator[str]:
    """Of stories: as many joined as it takes."""
    least, most = _TEXT
    joined = ""
    for each in material.texts("stories") if "stories" in material.domains else ():
        joined = f"{joined} {each.text}".strip()
        if len(joined) >= least:
            yield joined[:most]
            joined = ""


def _in_turns(sources: Sequence[Iterator[Prompt]]) -> Iterator[Prompt]:
    """One of each in turns, as long as they last."""
    left = list(sources)
    while left:
        for source in list(left):
            prompt = next(source, None)
            if prompt is None:
                left.remove(source)
            else:
                yield prompt


def _own(use: Split) -> Material:
    def texts(domain: str) -> Iterator[Text]:
        written = (prompt.messages[-1].content.removeprefix("Continue this story: ") for prompt in prompts(domain, SEED, use))
        return (Text(text, text) for text in written)

    return Material(DOMAINS, lambda domain: prompts(domain, SEED, use), texts, answered=False)


class _Row(msgspec.Struct):
    messages: list[Message] = msgspec.field(default_factory=list)


def _files(folder: Path, split: str) -> Material:
    files = split_files(folder, split)
    return Material(
        tuple(files),
        lambda domain: read_prompts([files[domain]]),
        lambda domain: chain.from_iterable(_recorded(line, files[domain]) for line in json_lines(files[domain])),
        answered=True,
    )


def _recorded(line: bytes, file: Path) -> Iterator[Text]:
    """The exchange of a row that is one question and its answer. Raises PromptFileError."""
    try:
        messages = msgspec.json.decode(line, type=_Row).messages
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise PromptFileError(f"{file}: {error}; expected rows with `messages`") from error
    if [message.role for message in messages] == ["user", "assistant"]:
        yield Text(messages[0].content, messages[1].content)
