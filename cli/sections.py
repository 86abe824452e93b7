"""Sections of the configuration that belong to no single room: their fields, defaults and checks.

A field's docstring is its line in `--help`. Each class raises ValueError, naming the field, for a value that
cannot work.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pipelines.trace import TYPICAL, Typical
from serving.api.settings import ApiSettings
from serving.lossy import Allowance, Lossy
from serving.settings import EngineSettings
from serving.traffic import Policy


@dataclass(frozen=True, kw_only=True)
class DataSection:
    """Where everything is kept that no other option places elsewhere."""

    data: Path = Path("everdraft-data")
    """Folder of the traffic log, the registry, the checkpoints and the trainer's state."""


@dataclass(frozen=True, kw_only=True)
class TargetSection:
    """The model that is served."""

    path: str = ""
    """Folder or hub id (owner/name) of the model to serve; empty: the small one that is bundled."""
    revision: str | None = None
    """Full commit hash, for a hub id."""
    dtype: Literal["float32", "bfloat16", "int8"] = "float32"
    """Number format of the weights in use; int8, on a CPU: rounded to 8 bits, which is faster, and another model by as much."""
    device: str = EngineSettings.device
    """cpu, cuda or cuda:<number>."""

    def __post_init__(self) -> None:
        if self.dtype == "int8" and self.device != "cpu":
            raise ValueError(f"dtype is 'int8', expected float32 or bfloat16 on {self.device}: int8 runs on a CPU only")


@dataclass(frozen=True, kw_only=True)
class ServerSection:
    """The HTTP side."""

    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0: every interface."""
    port: int = 8000
    """Port to listen on; 0: any that is free."""
    served_model_name: str = ""
    """The name clients ask for; empty: the hub id, or the name of the folder."""
    max_model_len: int = 0
    """Tokens of prompt and answer together; 0: as many as the model and the page pool hold."""
    api_keys: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Tenant behind each API key, as key=tenant; empty: everyone may call, as tenant `default`."""
    admin_key: str = field(default="", repr=False)
    """What opens the admin API and the dashboard's buttons; empty: a key that the first start leaves in the data folder."""
    lossy_acceptance: Allowance = "off"
    """LOSSY: who gets sampled answers for which more of the drafts is accepted than the target would say (typical acceptance):
    off (nobody), on-request (requests with lossy_acceptance: true), or default (all but those with lossy_acceptance: false)."""
    lossy_epsilon: float = TYPICAL.epsilon
    """With lossy acceptance: a drafted token likelier than this is always accepted."""
    lossy_delta: float = TYPICAL.delta
    """With lossy acceptance: so is one likelier than this times exp(-H), H being the target's entropy there, in nats."""
    cors_origins: tuple[str, ...] = ApiSettings.cors_origins
    """Web origins whose pages may call; *: all."""
    max_in_flight: int = ApiSettings.max_in_flight
    """Answers running or waiting at once; more are told to come back (429)."""
    max_body_bytes: int = ApiSettings.max_body_bytes
    """Size of the largest request body that is read."""
    drain_seconds: int = 30
    """Seconds for which a server that was told to stop lets answers finish."""

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise ValueError(f"port is {self.port}, expected 0 to 65535")
        if self.max_model_len < 0 or self.max_model_len == 1:
            raise ValueError(f"max_model_len is {self.max_model_len}, expected 0 or at least 2")
        for name in ("max_in_flight", "max_body_bytes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, expected at least 1")
        _ = self.lossy
        if self.drain_seconds < 0:
            raise ValueError(f"drain_seconds is {self.drain_seconds}, expected 0 or more")
        if not all(key and tenant for key, tenant in self.api_keys.items()):
            raise ValueError("api_keys has an empty key or tenant, expected key=tenant")

    @property
    def lossy(self) -> Lossy:
        typical = Typical(epsilon=self.lossy_epsilon, delta=self.lossy_delta)
        return Lossy(lossy_acceptance=self.lossy_acceptance, typical=typical)


@dataclass(frozen=True, kw_only=True)
class TrafficSection:
    """The traffic log, and who may learn from it."""

    url: str = ""
    """URL of the traffic log (sqlite:///…, kafka://…); off: none is kept, nothing is learnt; empty: SQLite in the data folder."""
    spool: str = ""
    """Folder in which traces wait for a broker; empty: in the data folder."""
    policy: Policy = "shared"
    """Who may learn from an answer: off (nobody), tenant (its tenant's speculators only) or shared."""
    tenants: Mapping[str, Policy] = field(default_factory=dict)
    """Policy of single tenants, as name=policy."""
    max_bytes: int = 1 << 30
    """Size that the log may reach (with a broker: the spool); the oldest goes first."""
    max_age: float = 30 * 86400.0
    """Seconds that a trace is kept (with a broker: in the spool)."""
    max_queue: int = 4096
    """Traces that may wait to be written; more are dropped and counted."""

    def __post_init__(self) -> None:
        for name in ("max_bytes", "max_queue"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, expected at least 1")
        if self.max_age <= 0:
            raise ValueError(f"max_age is {self.max_age}, expected more than 0")


@dataclass(frozen=True, kw_only=True)
class RegistrySection:
    """Which versions exist, and where their weights are."""

    url: str = ""
    """URL of the registry (sqlite:///… or redis://…); empty: SQLite in the data folder."""
    checkpoints: str = ""
    """Folder of the weights, or URL (s3://bucket/prefix), shared by server and trainer; empty: in the data folder."""
