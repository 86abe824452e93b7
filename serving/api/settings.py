"""ApiSettings: what the HTTP side is told at birth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version

from serving.lossy import Lossy


def package_version() -> str:
    """The version of the installed package; `unknown` when run from a bare source tree."""
    try:
        return version("everdraft")
    except PackageNotFoundError:
        return "unknown"


@dataclass(frozen=True, kw_only=True)
class ApiSettings:
    """Raises ValueError, naming the field, for a value that cannot work."""

    model: str
    """The name clients ask for."""
    max_model_len: int
    """Tokens of prompt and answer together."""
    keys: Mapping[str, str] = field(default_factory=dict, repr=False)
    """The name of the tenant behind each API key. Empty: everyone may call, as tenant `default`."""
    admin_key: str = field(default="", repr=False)
    """What opens the admin API; empty: it stays shut."""
    lossy: Lossy = field(default_factory=Lossy)
    """Whether answers may be other than exact."""
    cors_origins: tuple[str, ...] = ()
    """Web origins whose pages may call; `*`: all. Empty: none, and no CORS headers."""
    max_in_flight: int = 512
    """Answers running or waiting at once; more are told to come back (429)."""
    retry_after: int = 1
    """Seconds that those turned away are asked to wait."""
    max_prompts: int = 64
    """Prompts in one completion request."""
    max_body_bytes: int = 4 << 20
    flush_seconds: float = 5.0
    """How long shutdown waits for the traffic log."""
    version: str = field(default_factory=package_version)

    def __post_init__(self) -> None:
        if not self.model:
            raise ValueError("model is empty, expected the name clients ask for")
        if self.max_model_len < 2:
            raise ValueError(f"max_model_len is {self.max_model_len}, expected at least 2")
        for name in ("max_in_flight", "retry_after", "max_prompts", "max_body_bytes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, expected at least 1")
        if not self.flush_seconds > 0:
            raise ValueError(f"flush_seconds is {self.flush_seconds}, expected more than 0")
        for key, tenant in self.keys.items():
            if not key or not tenant:
                raise ValueError(f"keys names tenant {tenant!r}, expected a key and a tenant, neither empty")
