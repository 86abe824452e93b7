"""SuffixSpeculator: drafts what followed before, in the request itself and in what its tenant was served;
learns at once.

(SuffixDecoding, arXiv 2411.04975.) Two trees bear on a sequence: that of its own text, prompt included, and
that of the texts served to its tenant. From the longest match in each, a draft grows best first.
"""

from __future__ import annotations

import logging
import math
import time
from collections import OrderedDict
from collections.abc import Callable

from speculator.batch import Batch, Sequence
from speculator.drafts import Drafts, Tree
from speculator.preparing import Preparing
from speculator.protocol import Budget, Checkpoint
from speculator.suffix_files import SuffixFiles
from speculator.suffix_forest import Forest, forest
from speculator.suffix_question import AnyMatch, AnyTree, Question
from speculator.suffix_tenant import Tenant
from speculator.verify import Verdicts

log = logging.getLogger(__name__)

_NEWEST = 0.3
"""Weight of the newest step in the share of sequences that it is asked to draft for."""
_IDLE = 0.1
"""Such a share below which prompts are not learnt: learning would be the whole cost of what nobody uses."""
_CATCH_UP = 64
"""Tokens of a request beyond the newest that are learnt in a step once it is asked again."""
SAVE_SECONDS = 20.0
"""Between two tenants' trees that are saved while serving: taking a full one costs a step some 6 ms, in plain Python 25."""


class _Request:
    """What is kept for a sequence."""

    def __init__(self, tree: AnyTree, past: AnyMatch) -> None:
        self.tree = tree
        self.past = past
        """Of its text, in what its tenant was served."""
        self.num_learnt = 0


class SuffixSpeculator:
    """One tree for each running request, one for each tenant; tenants never see each other's.

    max_depth: tokens of match and continuation that are counted. max_tokens: what a tenant's tree remembers
    (about 100 bytes each, in plain Python 200). max_tenants: beyond it the one idle longest is forgotten. prompt_tail: prompt
    tokens remembered before an answer: they are what the next answer's first tokens are matched by. max_tree:
    most nodes for one sequence. trees: who keeps the trees; the faster there is by default.
    """

    name = "suffix"
    version = "counts"
    needs_hidden = False
    needs_layers: tuple[int, ...] = ()

    def __init__(
        self,
        *,
        max_depth: int = 24,
        max_tokens: int = 1 << 17,
        max_tenants: int = 16,
        prompt_tail: int = 16,
        max_tree: int = 16,
        files: SuffixFiles | None = None,
        clock: Callable[[], float] = time.monotonic,
        trees: Forest | None = None,
    ) -> None:
        self._max_depth = max_depth
        self._max_tokens = max(max_tokens, 2 * max_depth)
        self._max_tenants = max_tenants
        self._prompt_tail = prompt_tail
        self._max_tree = max_tree
        self._forest = trees or forest()
        self._files = files
        self._clock = clock
        self._next_save = clock() + SAVE_SECONDS
        self._saving: Preparing[None] = Preparing("saving a suffix tree")
        self._tenants: OrderedDict[str, Tenant] = OrderedDict()
        self._requests: dict[int, _Request] = {}
        self._seconds_per_sequence = 0.0
        self._asked: set[int] = set()
        """Sequences that it was asked to draft for in this step."""
        self._interest = 1.0
        """Share of the sequences that it was lately asked to draft for."""
        if files is not None:
            self._restore(files)

    def begin(self, sequence: Sequence) -> None:
        """The prompt is learnt along with its prefill."""
        past = self._forest.match(self._tenant(sequence.tenant).tree)
        self._requests[sequence.id] = _Request(self._forest.tree(self._max_depth), past)

    def propose(self, batch: Batch, budget: Budget) -> Drafts:
        if not batch.decoding or not budget.allows(self.name):
            return Drafts.empty([sequence.tokens[-1] for sequence in batch.decoding])
        self._asked.update([sequence.id for sequence in batch.decoding])
        started = time.perf_counter()
        num_nodes = min(budget.share(len(batch.decoding)), self._max_tree)
        trees = self._draft(batch.decoding, num_nodes, budget.max_depth)
        taken = (time.perf_counter() - started) / len(trees)
        self._seconds_per_sequence += 0.1 * (taken - self._seconds_per_sequence)
        return Drafts.pack(trees, (self.name,), {self.name: self.version})

    def verifying(self, batch: Batch, drafts: Drafts) -> None:
        """Nothing to draft ahead: a draft takes microseconds."""

    def observe(self, batch: Batch, drafts: Drafts, verdicts: Verdicts) -> None:
        """Takes in prompt chunks, the emitted tokens of who asked, and some of what finished requests left: the less, the
        fewer ask. Requests catch up when they ask again."""
        if batch.decoding:
            self._interest += _NEWEST * (len(self._asked) / len(batch.decoding) - self._interest)
        if self._interest > _IDLE:
            for chunk in batch.chunks:
                self._learn(chunk.sequence, chunk.num_tokens)
        if self._asked:
            for sequence, said in zip(batch.decoding, verdicts.emitted, strict=False):
                if sequence.id in self._asked:
                    self._learn(sequence, len(said))
            self._asked.clear()
        num_emitted: dict[str, int] = {}
        for sequence, said in zip(batch.choosing, verdicts.emitted, strict=False):
            num_emitted[sequence.tenant] = num_emitted.get(sequence.tenant, 0) + len(said)
        for tenant, emitted in num_emitted.items():
            # a little faster than texts can finish, so that the queue is short and no step pays for a whole text
            self._tenant(tenant).learn(2 * int(emitted * self._interest) + 2)
        if self._files is not None and self._clock() >= self._next_save:
            self._save_one(self._files)

    def end(self, sequence: Sequence) -> None:
        request = self._requests.pop(sequence.id, None)
        if request is not None and sequence.learn and sequence.num_output:
            tail = sequence.tokens[max(0, sequence.num_prompt - self._prompt_tail) :]
            self._tenant(sequence.tenant).remember(tail)

    def load(self, checkpoint: Checkpoint) -> None:
        """There are no weights to load: it learns from what it sees."""

    def cost(self, rows: int) -> float:
        return rows * self._seconds_per_sequence

    def forget(self, tenant: str, before: float = math.inf) -> None:
        """Drops everything remembered of a tenant, its file too, unless all of it is newer than `before` (Unix seconds)."""
        held = self._tenants.get(tenant)
        if held is None or held.since >= before:
            return
        self._drop(tenant)
        for request in self._requests.values():
            if request.past.tree is held.tree:
                request.past = self._forest.match(self._tenant(tenant).tree)

    def close(self) -> None:
        """Saves what has changed."""
        if self._files is None:
            return
        for name, tenant in self._tenants.items():
            if tenant.changed:
                try:
                    self._files.save(tenant.state(name), self._files.ticket(name))
                except OSError as error:
                    log.error("saving a suffix tree: %s", error)
        self._files.close()

    def _restore(self, files: SuffixFiles) -> None:
        """Takes up what was saved last; what there is no room for goes."""
        states = files.load()
        for state in states[: -self._max_tenants]:
            files.drop(state.name)
        for state in states[-self._max_tenants :]:
            try:
                self._tenants[state.name] = Tenant.restored(state, self._max_depth, self._max_tokens, self._forest)
            except ValueError as error:
                log.warning("suffix tree refused, it is learnt anew: tenant %s: %s", state.name, error)

    def _save_one(self, files: SuffixFiles) -> None:
        """Has the tree saved that has waited for it longest."""
        self._saving.taken()
        if self._saving.busy:
            return
        self._next_save = self._clock() + SAVE_SECONDS
        changed = [(tenant.saved_at, name) for name, tenant in self._tenants.items() if tenant.changed]
        if changed:
            _, name = min(changed)
            tenant = self._tenants[name]
            copy, ticket = tenant.copied(), files.ticket(name)
            tenant.saved_at, tenant.changed = time.time(), False
            self._saving.want(lambda: files.save(copy.state(name), ticket))

    def _drop(self, name: str) -> None:
        del self._tenants[name]
        if self._files is not None:
            self._files.drop(name)

    def _tenant(self, name: str) -> Tenant:
        tenant = self._tenants.get(name)
        if tenant is None:
            tenant = self._tenants[name] = Tenant(self._max_depth, self._max_tokens, self._forest)
            if len(self._tenants) > self._max_tenants:
                self._drop(next(iter(self._tenants)))
        self._tenants.move_to_end(name)
        return tenant

    def _learn(self, sequence: Sequence, num_new: int) -> None:
        """Takes in the newest tokens of a request, and some of those that were left out."""
        request = self._requests[sequence.id]
        end = len(sequence.tokens) if sequence.decoding else sequence.num_written
        end = min(end, request.num_learnt + num_new + _CATCH_UP)
        if end > request.num_learnt:  # what had to give up its pages is read once more, not learnt once more
            request.tree.extend(sequence.tokens[request.num_learnt : end])
            request.num_learnt = end

    def _draft(self, sequences: tuple[Sequence, ...], num_nodes: int, max_depth: int) -> list[Tree]:
        """For all of them at once: a call of C costs as much as a small draft."""
        questions: list[Question] = []
        idle: list[int] = []
        for row, sequence in enumerate(sequences):
            text, sampling, position = sequence.tokens, sequence.sampling, sequence.num_output
            depth = min(max_depth, sampling.max_tokens - position - 1)
            if depth <= 0 or not sequence.speculative:
                idle.append(row)
                continue
            request = self._requests[sequence.id]
            if request.num_learnt != len(text):
                self._learn(sequence, 0)
            own = request.tree if request.num_learnt == len(text) else None
            questions.append((own, request.past, text, num_nodes, depth, sampling, position))
        trees = self._forest.draft(questions)
        for row in idle:
            trees.insert(row, Tree.rooted(sequences[row].tokens[-1]))
        return trees
