"""LiveStack: what the demo needs of a running server and trainer, and of this process to check on them."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

from cli.answers import Text
from cli.config import Configuration
from cli.demo.claims import Plain
from cli.demo.prompts import Message
from cli.demo.stack import Status, Steps, Version
from cli.demo.traffic import Exchange
from cli.live.metrics import Metrics
from cli.live.pair import Pair
from cli.live.plain import PlainDecoder
from cli.live.versions import all_versions
from cli.redraft import redrafted
from cli.sources import STATIC, heads_named, heads_source
from cli.target import loaded_target
from models.source import target_name
from pipelines.checkpoint import Checkpoint
from pipelines.registry import Slot, open_registry
from speculator.batch import Sampling
from speculator.static_heads import KIND


class LiveStack:
    """Implements `cli.demo.stack.Stack`. Use as a context manager: leaving it stops both processes.

    config: what both run with; its registry and log must be new. command: the command line of a verb. logs:
    folder for what the two say. Raises NotThere where the target has no static heads to compare with.
    """

    def __init__(self, config: Configuration, command: Callable[[str], Sequence[str]], logs: Path) -> None:
        self._config = config
        self._target = loaded_target(config)
        self._slot = Slot(target=self._target.fingerprint, kind=KIND)
        self._static = heads_named(STATIC, config, self._target)
        self._registry = open_registry(config.registry.url)
        self._pair = Pair(command, self._registry, logs)
        self._decoder: PlainDecoder | None = None

    def __enter__(self) -> LiveStack:
        self._pair.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._pair.stop()
        self._registry.close()

    @property
    def base_url(self) -> str:
        return f"{self._pair.url}/v1"

    @property
    def api_key(self) -> str:
        return next(iter(self._config.server.api_keys), "none")

    @property
    def model(self) -> str:
        return self._config.server.served_model_name or target_name(self._config.target.path)

    @property
    def max_length(self) -> int:
        longest = min(self._target.config.max_positions, self._config.engine.max_cached_tokens)
        return self._config.server.max_model_len or longest

    @property
    def about(self) -> dict[str, str]:
        return {
            "Target": f"{self.model}, fingerprint {self._target.fingerprint[:12]}",
            "Static heads": self._static.manifest.version,
            "Machine": f"{platform.machine()}, {os.cpu_count()} cores, target on {self._config.target.device}",
        }

    def status(self) -> Status:
        """Raises CliError when the server or the trainer is gone."""
        self._pair.check()
        metrics, trainer = Metrics.read(self._pair.url), self._pair.presence("trainer")
        return Status(
            version=metrics.versions[KIND],
            num_swaps=int(metrics.count("everdraft_swaps")),
            training_step=int(trainer.figures.get("step", 0)) if trainer else 0,
            training_state=trainer.state if trainer else "starting" if self._pair.trains else "stopped",
            num_tokens=int(metrics.count("vllm:generation_tokens")),
            static=metrics.shadow(f"{KIND}-static"),
            adaptive=metrics.shadow(KIND),
            served=metrics.served(),
        )

    def versions(self) -> list[Version]:
        return all_versions(self._registry, self._slot, self._static.manifest)

    def num_prompt_tokens(self, messages: Sequence[Message]) -> int:
        turns = [{"role": message.role, "content": message.content} for message in messages]
        return len(self._target.tokenizer.apply_chat_template(turns))

    def stop_training(self) -> None:
        self._pair.stop_training(self._slot)

    def plain(self, exchange: Exchange) -> Plain:
        if self._decoder is None:
            self._decoder = PlainDecoder(self._config.engine, self._target)
        return self._decoder.answer(exchange)

    def replay(self, exchanges: Sequence[Exchange]) -> list[Steps]:
        static, adaptive = self._num_steps(self._static, exchanges), self._num_steps(self._adaptive(), exchanges)
        return [Steps(*counts) for counts in zip(static, adaptive, strict=True)]

    def _adaptive(self) -> Checkpoint:
        """The heads in service."""
        version = Metrics.read(self._pair.url).versions[KIND]
        return self._static if version == self._static.manifest.version else heads_named(version, self._config, self._target)

    def _num_steps(self, heads: Checkpoint, exchanges: Sequence[Exchange]) -> list[int]:
        num_nodes = self._config.trainer.budget
        source = heads_source(heads, self._target, KIND, num_nodes)
        texts = [_text(exchange) for exchange in exchanges]
        return [again.num_steps for _, again in redrafted(source, self._target.decoder, texts, num_nodes)]


def _text(exchange: Exchange) -> Text:
    tokens = (*exchange.prompt_ids, *exchange.output_ids)
    sampling = Sampling(temperature=exchange.temperature, seed=exchange.seed)
    return Text(exchange.domain, "default", tokens, len(exchange.prompt_ids), sampling)
