"""Supply: prompts as requests to come, none of them twice in a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain, count, cycle, islice
from pathlib import Path

from bench.errors import NotEnough
from bench.rig import Ask
from cli.demo.prompt_files import read_prompts
from cli.demo.prompts import DOMAINS, Prompt, prompts
from models.tokenizer import Tokenizer

SEED = 20
"""Of the prompts that the project writes itself."""

Source = Callable[[str], Iterator[Prompt]]


class Supply:
    """Hands out requests by domain.

    fresh, training: a domain's prompts to measure on and to learn from; what is measured on falls back to training prompts that
    were never handed out. context: tokens that a prompt and its answer may have together. first: number of the first request.
    """

    def __init__(
        self,
        about: str,
        domains: Sequence[str],
        fresh: Source,
        training: Source,
        tokenizer: Tokenizer,
        context: int,
        first: int = 0,
    ) -> None:
        self.about = about
        """Where the prompts come from, in words."""
        self.domains = tuple(domains)
        self._tokenizer = tokenizer
        self._context = context
        self._numbers = count(first)
        self._seen: set[bytes] = set()
        self._training = {domain: self._new(training(domain)) for domain in domains}
        self._fresh = {domain: self._new(fresh(domain)) for domain in domains}

    def fresh(self, domain: str, num: int) -> list[Ask]:
        """Greedy requests to measure on. Raises NotEnough."""
        return self._take(domain, chain(self._of(self._fresh, domain), self._of(self._training, domain)), num)

    def training(self, domain: str, num: int) -> list[Ask]:
        """Greedy requests for the speculators to learn from. Raises NotEnough."""
        return self._take(domain, self._of(self._training, domain), num)

    def mixed(self, num: int, domains: Sequence[str]) -> list[Ask]:
        """Fresh requests, the domains taking turns. Raises NotEnough."""
        whole, left = divmod(num, len(domains))
        taken = {domain: iter(self.fresh(domain, whole + (at < left))) for at, domain in enumerate(domains)}
        return [next(taken[domain]) for domain in islice(cycle(domains), num)]

    def batches(self, num: int, num_each: int, domains: Sequence[str], temperature: float) -> list[list[Ask]]:
        """Fresh requests in `num` batches, the domains mixed in each. Raises NotEnough."""
        return [[ask.at(temperature) for ask in self.mixed(num_each, domains)] for _ in range(num)]

    def everywhere(self, num: int) -> list[Ask]:
        """Fresh requests, no training prompts among them, of all domains as evenly as they last. Raises NotEnough."""
        left = {domain: self._fresh[domain] for domain in self.domains}
        asks: list[Ask] = []
        while len(asks) < num:
            if not left:
                raise NotEnough(f"{self.about}: {num} prompts wanted over all domains, {len(asks)} are left")
            for domain, source in list(left.items()):
                ask = next(source, None) if len(asks) < num else None
                if ask is not None:
                    asks.append(ask)
                elif len(asks) < num:
                    del left[domain]
        return asks

    def _of(self, sources: dict[str, Iterator[Ask]], domain: str) -> Iterator[Ask]:
        if domain not in sources:
            raise NotEnough(f"{self.about}: no domain {domain!r}, expected among {', '.join(self.domains)}")
        return sources[domain]

    def _take(self, domain: str, source: Iterator[Ask], num: int) -> list[Ask]:
        asks = list(islice(source, num))
        if len(asks) < num:
            raise NotEnough(f"{self.about}: {num} more prompts of {domain} wanted, {len(asks)} are left")
        return asks

    def _new(self, source: Iterator[Prompt]) -> Iterator[Ask]:
        """Those not handed out before, as requests; too long ones left out."""
        for prompt in source:
            if prompt.digest in self._seen:
                continue
            self._seen.add(prompt.digest)
            messages = [{"role": message.role, "content": message.content} for message in prompt.messages]
            ids = tuple(self._tokenizer.apply_chat_template(messages))
            if len(ids) + prompt.max_tokens <= self._context:
                yield Ask(next(self._numbers), prompt.domain, ids, prompt.max_tokens, tuple(sorted(self._tokenizer.eos_ids)))


def from_folder(folder: Path, tokenizer: Tokenizer, context: int) -> Supply:
    """Prompts in `<domain>.dev.jsonl[.gz]`, to measure on, and `<domain>.train.jsonl[.gz]`. Raises NotEnough."""
    files = {split: split_files(folder, split) for split in ("dev", "train")}
    domains = sorted(files["dev"])
    if not domains:
        raise NotEnough(f"{folder} holds no prompts, expected files <domain>.dev.jsonl.gz and <domain>.train.jsonl.gz")

    def source(split: str) -> Source:
        return lambda domain: read_prompts([files[split][domain]]) if domain in files[split] else iter(())

    return Supply(f"files in {folder.name}/", domains, source("dev"), source("train"), tokenizer, context)


def written_here(tokenizer: Tokenizer, context: int) -> Supply:
    """The project's own prompts."""
    return Supply(
        "the project's own prompts",
        DOMAINS,
        lambda domain: prompts(domain, SEED, "evaluation"),
        lambda domain: prompts(domain, SEED, "traffic"),
        tokenizer,
        context,
    )


def split_files(folder: Path, split: str) -> dict[str, Path]:
    """By domain."""
    return {path.name.split(".")[0]: path for pattern in ("jsonl", "jsonl.gz") for path in folder.glob(f"*.{split}.{pattern}")}
