"""The sides that SSD is measured between: engines on one target, their cores, and a draft model that knows the traffic."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Literal

import safetensors.torch
import torch
from torch import Tensor

from bench.errors import BenchError
from bench.rig import AfterStep, Answer, Ask, Client
from models.config import DecoderConfig
from models.decoder import Decoder
from models.draft import DraftModel
from models.fields import Fields
from models.pages import PagePool
from models.source import locate
from models.weights import read_weights
from serving.engine import Engine, FixedBudget
from serving.scheduler import Scheduler
from serving.target import Target
from speculator.draft_lm import DraftModelSpeculator
from speculator.draft_runner import DraftRunner
from speculator.merged import MergedSpeculator
from speculator.protocol import Speculator
from speculator.ssd.fanout import Policy
from speculator.ssd.messages import Birth
from speculator.ssd.process import WorkerProcess
from speculator.ssd.speculator import SsdSpeculator

Kind = Literal["plain", "sync", "tree", "ssd"]
"""sync, tree: the draft before the target, as a chain and as the trees that it is served with."""

_PAGE_SIZE, _NUM_PAGES = 32, 256
_STARTING_SECONDS = 60.0
_SILENT = ("self_attn.o_proj", "mlp.down_proj")
"""Products whose result is added to the text's states: zero, a layer adds nothing but its cost."""


def cost_true(path: str, revision: str | None, config: DecoderConfig, times: int) -> Decoder:
    """The target with so many times its layers; the further ones, whose output products are zero, change no score."""
    weights = _with_silent_layers(dict(read_weights(locate(path, revision), config)), config.num_layers, times)
    return Decoder(replace(config, num_layers=times * config.num_layers), weights, torch.float32, torch.device("cpu"))


def cost_true_draft(draft: DraftModel, times: int) -> DraftModel:
    """The same of a draft model."""
    num_layers = draft.shape.num_layers
    made = DraftModel({**draft.config, "num_hidden_layers": times * num_layers})
    weights = {name: tensor.detach() for name, tensor in draft.tensors.items()}
    made.copy_weights(_with_silent_layers(weights, num_layers, times))
    return made


def _with_silent_layers(weights: dict[str, Tensor], num_layers: int, times: int) -> dict[str, Tensor]:
    for index in range(num_layers, times * num_layers):
        prefix = f"model.layers.{index % num_layers}."
        for name in [each for each in weights if each.startswith(prefix)]:
            tensor = weights[name]
            silent = any(part in name for part in _SILENT)
            weights[name.replace(prefix, f"model.layers.{index}.")] = torch.zeros_like(tensor) if silent else tensor
    return weights


def config_of(path: str, revision: str | None) -> DecoderConfig:
    return DecoderConfig.from_hf(Fields.read(locate(path, revision) / "config.json").values)


class Side:
    """One engine. cores: of this process while it runs, as many threads as cores. worker: those of the drafting worker.
    adaptive: lookahead and fan-out are what it may choose at most.
    """

    def __init__(
        self,
        decoder: Decoder,
        draft: DraftModel,
        kind: Kind,
        *,
        cores: Sequence[int],
        worker: Sequence[int] = (),
        lookahead: int = 4,
        fan_out: int = 24,
        policy: Policy = "measured",
        adaptive: bool = False,
    ) -> None:
        self._cores = tuple(cores)
        self.ssd: SsdSpeculator | None = None
        pool = PagePool(_NUM_PAGES, _PAGE_SIZE)
        source: Speculator
        if kind == "ssd":
            birth = Birth(
                config=draft.config,
                version="bench",
                weights=safetensors.torch.save({name: each.detach().contiguous() for name, each in draft.tensors.items()}),
                page_size=_PAGE_SIZE,
                num_pages=_NUM_PAGES,
                room=lookahead * (fan_out + 1) + _PAGE_SIZE,
                cores=tuple(worker),
                threads=max(1, len(worker)),
                policy=policy,
                adaptive=adaptive,
            )
            source = self.ssd = SsdSpeculator(
                lambda: WorkerProcess(birth),
                version="bench",
                shape=draft.shape,
                vocab_size=decoder.config.vocab_size,
                lookahead=lookahead,
                fan_out=fan_out,
                patience=0.1,
            )
        else:
            runner = DraftRunner(draft, page_size=_PAGE_SIZE, num_pages=_NUM_PAGES, device=decoder.device, dtype=decoder.dtype)
            shape = {"depth": 5} if kind == "tree" else {"depth": lookahead, "width": 1, "siblings": 1}
            source = DraftModelSpeculator(runner, version="bench", **shape)  # type: ignore[arg-type]
        budget = FixedBudget(0 if kind == "plain" else lookahead)
        self.client = Client(Engine(Target(decoder, pool), Scheduler(pool, max_tree=32), MergedSpeculator([source]), budget))

    def run(self, asks: Iterable[Ask], at_once: int = 1, after_step: AfterStep | None = None) -> list[Answer]:
        """One answer after another, or several at once, on its cores."""
        with on_cores(self._cores):
            return self.client.run(asks, at_once, after_step=after_step)

    def await_worker(self, asks: Sequence[Ask]) -> None:
        """Answers these until the worker is there. Raises BenchError if it does not come."""
        until = time.monotonic() + _STARTING_SECONDS
        while self.ssd is not None and not self.ssd.up:
            if time.monotonic() > until:
                raise BenchError("the drafting worker does not start")
            self.run(asks)

    def close(self) -> None:
        if self.ssd is not None:
            self.ssd.close()


@contextmanager
def on_cores(cores: Sequence[int]) -> Iterator[None]:
    """This process on these cores, with a thread for each."""
    before, threads = os.sched_getaffinity(0), torch.get_num_threads()
    os.sched_setaffinity(0, cores)
    torch.set_num_threads(len(cores))
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
        torch.set_num_threads(threads)
