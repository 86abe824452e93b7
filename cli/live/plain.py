"""Plain decoding in this process: what a served answer must equal, token for token."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

import torch

from cli.demo.claims import Plain
from cli.demo.traffic import Exchange
from models.loading import Target
from serving.assemble import build_engine
from serving.messages import Request
from serving.settings import EngineSettings
from speculator.batch import Sampling
from speculator.law import noisy_scores


class PlainDecoder:
    """An engine of its own with nobody to draft: one token a forward pass, one answer at a time."""

    def __init__(self, settings: EngineSettings, target: Target) -> None:
        self._target = target
        self._engine = build_engine(
            replace(settings, sources=(), registry="", max_cached_tokens=target.config.max_positions), target
        )
        self._ids = itertools.count(1)

    def answer(self, exchange: Exchange) -> Plain:
        """The answer again. The gaps are computed only where it differs from the one that was served."""
        request = Request(
            id=next(self._ids),
            prompt_ids=exchange.prompt_ids,
            max_tokens=exchange.max_tokens,
            temperature=exchange.temperature,
            seed=exchange.seed,
            stop_ids=tuple(self._target.eos_ids),
        )
        refused = self._engine.submit(request)
        assert refused is None, refused
        said: list[int] = []
        while self._engine.has_work:
            for moved in self._engine.step():
                said += moved.token_ids
        ids = tuple(said)
        return Plain(ids, () if ids == exchange.output_ids else self._gaps(request, ids))

    @torch.inference_mode()
    def _gaps(self, request: Request, ids: Sequence[int]) -> tuple[float, ...]:
        """By position: how far apart the two best scores are that the choice was made from."""
        sampling = Sampling(temperature=request.temperature, seed=request.seed)
        tokens = torch.tensor([*request.prompt_ids, *ids[:-1]])
        hidden = self._target.decoder.hidden_states(tokens)[len(request.prompt_ids) - 1 :]
        gaps = []
        for position, state in enumerate(hidden):
            best = noisy_scores(self._target.decoder.logits(state), sampling, position).topk(2).values
            gaps.append(float(best[0] - best[1]))
        return tuple(gaps)
