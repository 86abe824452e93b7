"""House: the target, loaded once, and the engines built around it."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from bench.rig import Client
from models.loading import load_target
from models.pages import PagePool
from models.source import locate
from serving.assemble import build_engine, num_threads
from serving.engine import Engine, FixedBudget
from serving.scheduler import Scheduler
from serving.settings import EngineSettings
from serving.target import Target
from speculator import draft_lm
from speculator.merged import MergedSpeculator
from speculator.protocol import Speculator
from speculator.static_heads import KIND


class House:
    """Engines share the target's weights and nothing else.

    settings: as the server would have them, the registry that newer versions come from included.
    """

    def __init__(self, settings: EngineSettings) -> None:
        self.settings = settings
        self.loaded = load_target(settings.target, revision=settings.revision, dtype="float32", device=settings.device)
        self.folder: Path = locate(settings.target, settings.revision)
        """Where the target's files are."""
        self._clients: list[Client] = []

    @property
    def num_threads(self) -> int:
        return num_threads(self.settings)

    @cached_property
    def plain(self) -> Client:
        """Decodes one token a step, and keeps nothing of what it answered."""
        return self._client(replace(self.settings, sources=(), registry=""))

    def unshared(self) -> Client:
        """Decodes plainly, and reads every prompt from its first token."""
        return self._client(replace(self.settings, sources=(), registry="", share_prefixes=False))

    def static(self) -> Client:
        """Drafts with the static heads alone and learns nothing."""
        return self._client(replace(self.settings, sources=(KIND,), registry="", shadow_every=0))

    def drafting(self, *, learns: bool) -> Client:
        """Drafts with the draft model alone; learns: it takes up newer versions from the registry."""
        registry = self.settings.registry if learns else ""
        return self._client(replace(self.settings, sources=(draft_lm.KIND,), registry=registry, shadow_every=0))

    def offline(self) -> Client:
        """Drafts with every source, and knows of no registry."""
        return self._client(replace(self.settings, registry=""))

    def variant(self, **changes: Any) -> Client:
        """As `offline`, with some settings changed."""
        return self._client(replace(self.settings, registry="", **changes))

    def alone(self, source: Speculator, num_nodes: int) -> Client:
        """Drafts with something that is none of the server's sources, so many nodes in every step."""
        settings, decoder = self.settings, self.loaded.decoder
        pool = PagePool(-(-settings.max_cached_tokens // settings.page_size), settings.page_size)
        scheduler = Scheduler(pool, max_tree=num_nodes, share_prefixes=False)
        merged = MergedSpeculator([source], max_tree=num_nodes)
        self._clients.append(Client(Engine(Target(decoder, pool), scheduler, merged, FixedBudget(num_nodes))))
        return self._clients[-1]

    def adapting(self, **changes: Any) -> Client:
        """As it serves: every source, and newer versions from the registry; with some settings changed."""
        return self._client(replace(self.settings, **changes))

    def close(self) -> None:
        """Ends what runs beside the engines: nobody polls a registry that is gone."""
        for client in self._clients:
            client.engine.close()

    def _client(self, settings: EngineSettings) -> Client:
        self._clients.append(Client(build_engine(settings, self.loaded)))
        return self._clients[-1]
