"""EngineSettings: everything the engine process is told at birth."""

from __future__ import annotations

from dataclasses import dataclass, field

from serving.rollout import RolloutSettings
from speculator.drafts import Law
from speculator.kinds import EAGLE, HEADS
from speculator.ssd.address import Address

SOURCES = (*HEADS, EAGLE, "suffix", "recycling", "rest", "draft-lm", "ssd", "self")


@dataclass(frozen=True, kw_only=True)
class EngineSettings:
    """Raises ValueError, naming the field, for a value that cannot work."""

    target: str
    """Directory or hub id of the target."""
    revision: str | None = None
    dtype: str = "float32"
    """`float32`, `bfloat16`, or `int8` on a CPU."""
    device: str = "cpu"
    threads: int = 0
    """Threads for torch; 0: one for each core but one, which is left to the HTTP side and the trainer."""
    page_size: int = 16
    """Tokens in one page of keys and values."""
    max_cached_tokens: int = 32768
    """Tokens whose keys and values the page pool holds."""
    max_running: int = 32
    """Answers generated at once."""
    max_waiting: int = 256
    """Requests that may wait for their turn; more are refused."""
    max_prompt_tokens: int = 256
    """Prompt tokens per step."""
    max_prompt_tokens_beside: int = 64
    """Prompt tokens per step while answers are being generated, for each token that one of these gets in a step: what it has to
    wait for."""
    share_prefixes: bool = True
    """Whether the keys and values of a text are kept for requests of the same tenant that begin alike."""
    max_tree: int = 32
    """Most drafted nodes of one sequence."""
    sources: tuple[str, ...] = ("hydra", "suffix", "recycling")
    """What may draft: `medusa`, `hydra`, `eagle`, `suffix`, `recycling`, `rest`, `draft-lm`, `ssd`, `self`. Empty: plain
    decoding."""
    heads: str = ""
    """Directory with the static heads, or EAGLE layer; empty: the bundled ones, where they fit the target."""
    draft: str = ""
    """Directory with the draft language model; empty: the bundled one, where it fits the target."""
    ssd_device: str = "cpu"
    """Where the draft model of `ssd` works, in a process of its own: cpu, or a device that the target does not use."""
    ssd_threads: int = 1
    """Of that process, on a CPU: cores that the target has to do without."""
    ssd_lookahead: int = 8
    """Tokens of a draft that is made beside the target, at most: as many as there is time for."""
    ssd_fan_out: int = 48
    """Outcomes of a verification that are prepared for, for each answer, at most."""
    ssd_listen: str = ""
    """HOST:PORT where a draft worker of another host is waited for, in a network of your own; empty: a process on this host."""
    law: str = "point-mass"
    """How the draft model drafts for sampled answers: `point-mass` (the text is plain decoding's, seed for seed),
    `chain-rejection` or `without-replacement` (the text has the target's distribution; more is accepted)."""
    saguaro: float = 1.0
    """With `ssd` and a law that draws: weight of the tokens that are prepared for, where a draft is drawn. Below 1 more outcomes
    are foreseen and fewer drafts are accepted."""
    suffix_tokens: int = 200_000
    """Tokens each tenant's suffix tree remembers."""
    suffix_folder: str = ""
    """Folder of this server's own in which tenants' suffix trees outlive it; empty: it learns them anew."""
    rest: str = ""
    """Folder of the datastore that `rest` drafts from (`everdraft datastore build`)."""
    registry: str = ""
    """URL; empty: no swaps."""
    checkpoints: str = ""
    """Directory of the checkpoint store."""
    poll_seconds: float = 0.25
    """How often to look for a newer version in the registry."""
    shadow_every: int = 16
    """Every how many steps adaptive and static heads are both scored on the text to come; 0: never."""
    probe_share: float = 0.0
    """Of the requests, served without drafts to measure what drafting gains; 0: none."""
    name: str = "engine"
    rollout: RolloutSettings = field(default_factory=RolloutSettings)

    def __post_init__(self) -> None:
        counts = ("page_size", "max_cached_tokens", "max_running", "max_waiting", "max_prompt_tokens", "max_prompt_tokens_beside")
        for each in (*counts, "ssd_threads", "ssd_lookahead"):
            if getattr(self, each) < 1:
                raise ValueError(f"{each} is {getattr(self, each)}, expected at least 1")
        for each in ("threads", "max_tree", "suffix_tokens", "shadow_every", "ssd_fan_out"):
            if getattr(self, each) < 0:
                raise ValueError(f"{each} is {getattr(self, each)}, expected 0 or more")
        if self.law not in [each.value for each in Law]:
            raise ValueError(f"law is {self.law!r}, expected {', '.join(each.value for each in Law)}")
        if not 0 <= self.saguaro <= 1:
            raise ValueError(f"saguaro is {self.saguaro}, expected 0 to 1")
        if self.poll_seconds <= 0:
            raise ValueError(f"poll_seconds is {self.poll_seconds}, expected more than 0")
        if not 0 <= self.probe_share <= 0.5:
            raise ValueError(f"probe_share is {self.probe_share}, expected 0 to 0.5")
        if self.dtype not in ("float32", "bfloat16", "int8"):
            raise ValueError(f"dtype is {self.dtype!r}, expected float32, bfloat16 or int8")
        if self.ssd_listen:
            try:
                Address.parse(self.ssd_listen)
            except ValueError as error:
                raise ValueError(f"ssd_listen is {self.ssd_listen!r}, expected {error}") from None
        unknown = sorted(set(self.sources) - set(SOURCES))
        if unknown:
            raise ValueError(f"sources has {', '.join(unknown)}, expected only {', '.join(SOURCES)}")
        if "rest" in self.sources and not self.rest:
            raise ValueError("sources has rest, expected a folder for it in rest")
        if self.registry and not self.checkpoints:
            raise ValueError("checkpoints is empty, expected a directory since a registry is set")
