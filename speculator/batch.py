"""What one step works on: sampling parameters, sequences and the batch of a step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from models.pages import PageTable
from pipelines.trace import NO_EDITS, Edits, Typical
from speculator.constraint.guide import Guide
from speculator.processor import Processor
from speculator.scored import Scored


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a choice is drawn from the target's distribution. Validated at the door (`serving/api`), not here."""

    temperature: float = 1.0
    """0: greedy."""
    top_p: float = 1.0
    top_k: int = 0
    """0: off."""
    min_p: float = 0.0
    seed: int = 0
    choice: int = 0
    """Index of the choice within its request: part of the key of the noise."""
    max_tokens: int = 16
    stop_ids: frozenset[int] = frozenset()
    ignore_eos: bool = False
    edits: Edits = NO_EDITS
    """Applied to the raw scores by the sequence's `processors`: drafters need not know of them."""
    lossy: Typical | None = None
    """What else than the target's own choices is accepted of a draft; None: nothing, the text is exact. Not for greedy ones."""
    logprobs: int | None = None
    """How many of the likeliest tokens are told at each position of the output, beside its own; None: no log-probabilities."""
    prompt_logprobs: int | None = None
    """The same of the prompt, which must then be read in full: each position but the first."""

    @property
    def greedy(self) -> bool:
        return self.temperature == 0.0

    @property
    def filtered(self) -> bool:
        """Whether tokens are excluded before the choice."""
        return not self.greedy and (self.top_p < 1.0 or self.top_k > 0 or self.min_p > 0.0)


@dataclass(slots=True, eq=False)
class Sequence:
    """The progress of one choice.

    While it decodes, the newest token is known but its keys and values are not written yet: it is the root of the next
    draft tree. Hence `num_written == len(tokens) - 1` between two decoding steps.
    """

    id: int
    tenant: str
    tokens: list[int]
    """The prompt, then what was emitted."""
    num_prompt: int
    sampling: Sampling
    learn: bool = True
    """Whether sources may learn from this sequence beyond its own lifetime (opt-out is decided before it gets here)."""
    speculative: bool = True
    """False: the caller asked for plain decoding."""
    domain: str = ""
    """What its caller says it is about; empty: nothing."""
    lot: float | None = None
    """A number from 0 to 1 that decides which of two versions drafts for it; None: it takes no part in trials."""
    probe: bool = False
    """Served without drafts to measure what these gain."""
    rank: tuple[int, int] = (0, 0)
    """Who goes first where not all can: the least. Its priority, and a number that grows with every arrival."""
    pages: PageTable = field(default_factory=lambda: PageTable(page_size=1))
    """Those it holds; another table when it comes back after it had to give them up."""
    prompt_scored: list[Scored] = field(default_factory=list)
    """Of the prompt's tokens from the second on, as far as they were read, where that is wanted."""
    processors: tuple[Processor, ...] = ()
    """What edits the target's scores before each choice, in this order. They have accepted every token emitted so far."""
    guide: Guide | None = None
    """Its way through the grammar that it is constrained by: one of the processors."""
    num_written: int = 0
    """Tokens whose keys and values are in the pages."""
    num_cached: int = 0
    """Of the prompt's, those that it found there when it was first read."""
    hidden: Tensor | None = None
    """[H] the target's final hidden state (after the last norm) at position `num_written - 1`: the state that chose the
    newest token. None before the prompt is through, or when no source asked for it."""
    layers: Mapping[int, Tensor] = field(default_factory=dict)
    """[n, H] the target's states behind the layers that sources asked for, at the last n of `num_written` positions: those that
    the last step of this sequence wrote."""

    @property
    def num_output(self) -> int:
        return len(self.tokens) - self.num_prompt

    @property
    def num_unwritten(self) -> int:
        """Tokens still to be fed: more than one only while text is being read."""
        return len(self.tokens) - self.num_written

    @property
    def num_to_read(self) -> int:
        """Tokens to be fed before it decodes: its prompt's, or, where it had to give up its pages, all but the newest."""
        return self.num_unwritten - (self.num_output > 0)

    @property
    def exact(self) -> bool:
        """Whether its text is the same whoever drafts, and so tells what drafts are worth; a lossy answer's speaks for whoever
        drafted it."""
        return self.sampling.lossy is None

    @property
    def telling(self) -> bool:
        """Whether tokens of its prompt are still to be scored, for which they have to be read."""
        return self.sampling.prompt_logprobs is not None and len(self.prompt_scored) < self.num_prompt - 1

    @property
    def decoding(self) -> bool:
        return self.num_output > 0 and self.num_unwritten == 1

    @property
    def num_left(self) -> int:
        """Tokens it may still emit."""
        return self.sampling.max_tokens - self.num_output


@dataclass(frozen=True, slots=True)
class Chunk:
    """A stretch of text that is read in one step, most often of a prompt."""

    sequence: Sequence
    num_tokens: int

    @property
    def completes(self) -> bool:
        """Whether the prompt is through after this chunk, so that the step emits the first token."""
        return self.sequence.num_output == 0 and self.num_tokens == self.sequence.num_to_read

    @property
    def told(self) -> range:
        """Those of its tokens whose successors in the prompt are to be scored, by number within the chunk. What was told
        before is left out, should a prompt be read again."""
        sequence = self.sequence
        if sequence.sampling.prompt_logprobs is None:
            return range(0)
        start = max(0, len(sequence.prompt_scored) - sequence.num_written)
        return range(start, min(self.num_tokens, sequence.num_prompt - 1 - sequence.num_written))


@dataclass(frozen=True, slots=True)
class PageCopy:
    """The first slots of a page, to be copied to another before anything of the step is written: the page may be somebody else's
    by then."""

    source: int
    destination: int
    num_slots: int


@dataclass(frozen=True, slots=True)
class Batch:
    """One step: `decoding` sequences, each with a (possibly empty) draft tree, then chunks of prompts."""

    decoding: tuple[Sequence, ...]
    chunks: tuple[Chunk, ...] = ()
    copies: tuple[PageCopy, ...] = ()
    choosing: tuple[Sequence, ...] = field(init=False)
    """The sequences that emit in this step, in the order of the verdicts: those decoding, then those whose prompt is through."""

    def __post_init__(self) -> None:
        # computed once: progress made by the step would change the answer
        completed = tuple(chunk.sequence for chunk in self.chunks if chunk.completes)
        object.__setattr__(self, "choosing", self.decoding + completed)

    @property
    def sampling(self) -> tuple[Sampling, ...]:
        return tuple(sequence.sampling for sequence in self.choosing)

    @property
    def processors(self) -> tuple[tuple[Processor, ...], ...]:
        return tuple(sequence.processors for sequence in self.choosing)

    @property
    def positions(self) -> tuple[int, ...]:
        """Of the next token in each output."""
        return tuple(sequence.num_output for sequence in self.choosing)

    @property
    def num_prompt_tokens(self) -> int:
        return sum(chunk.num_tokens for chunk in self.chunks)
