"""Builder: drafts ahead for a whole round, pass by pass, so that it can be stopped between any two.

One round (arXiv 2603.03251, section 4; layout as in `speculator.draft_runner`): *glue*, one pass over what was emitted and the
draft that was handed out, gives the drafter's belief behind each of its tokens; *fork* takes the likeliest choices of the target
there that are not the draft's own; *growth* continues each of them, one token a pass, all branches of all sequences together.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from speculator.batch import Sampling
from speculator.belief import Belief, beliefs, chances_drawn, draw
from speculator.draft_runner import Branch, DraftRunner, Track
from speculator.drafts import Law, Tree
from speculator.guesses import Choice, guesses
from speculator.ssd.fanout import MOST_RANKS, FanOut
from speculator.ssd.pace import Pace
from speculator.ssd.prepared import Leaf, Node

MOST_READ = 512
"""Tokens of one text that are read in one pass."""
READ_AGAIN = 128
"""The same, of what is read again with other weights when there is nothing else to do."""


OTHERS = 3
"""Tokens that may be handed out beside each one of a draft, as leaves: they take a place in the verification, but no pass."""

_Next = tuple[int, float, Belief | None, tuple[tuple[int, float], ...]]


@dataclass(slots=True, eq=False)
class Draftee:
    """A sequence as the worker knows it."""

    number: int
    tokens: list[int]
    num_prompt: int
    sampling: Sampling
    track: Track
    room: int
    """Positions that its pages have behind what it may ever hold."""
    next_place: int = 0
    """The next of them that is free in this round."""
    ended: bool = False
    """Its pages are somebody else's: nothing may be written to them any more."""
    root: Node = field(default_factory=Node)
    """What is prepared behind the text."""
    draft: list[int] = field(default_factory=list)
    """What was handed out for the round under way."""
    beliefs: list[Belief | None] = field(default_factory=list)
    """[len(draft)] what each of its tokens was drawn from, if it was."""
    leaves: list[Leaf] = field(default_factory=list)
    """What was handed out beside it."""
    on_the_spot: bool = False
    """Whether it was drafted while the target waited."""
    offered: Tree | None = None
    """All that could have been handed out, if it was not drawn."""
    ranked: list[list[int]] = field(default_factory=list)
    """[len(draft) + 1][MOST_RANKS] the choices that were left to prepare for behind each of its tokens; empty: not known."""

    @property
    def num_output(self) -> int:
        return len(self.tokens) - self.num_prompt

    @property
    def unread(self) -> list[int]:
        return self.tokens[self.track.num_read :]

    def choice(self, ahead: int) -> Choice:
        return self.sampling, self.num_output + ahead

    def take_place(self) -> int:
        self.next_place += 1
        return self.next_place - 1


@dataclass(slots=True)
class _Twig:
    """A branch under growth."""

    draftee: Draftee
    node: Node
    token: int
    place: int
    behind: tuple[int, ...]
    spread: int = 0
    """Of a leaf that is being verified: choices behind it to prepare for, beside the one that it goes on with."""

    @property
    def choice(self) -> Choice:
        """The one behind its token."""
        return self.draftee.choice(len(self.behind) + 1)

    def branch(self) -> Branch:
        return Branch(self.draftee.track, len(self.draftee.tokens), self.token, self.place, self.behind)


class Builder:
    """law: how drafts for sampled answers are made; drawn ones are chains. saguaro: see `Belief.dampened`. adaptive: see `Pace`.
    """

    def __init__(
        self,
        runner: DraftRunner,
        fan_out: FanOut,
        *,
        law: Law = Law.POINT_MASS,
        saguaro: float = 1.0,
        adaptive: bool = True,
    ) -> None:
        self._runner = runner
        self._fan_out = fan_out
        self._law = law
        self._saguaro = saguaro
        self.pace = Pace(fan_out, adaptive=adaptive)

    def fan_out(self, draftee: Draftee) -> FanOut:
        """Of drafts like the one that it was handed last."""
        return self.pace.spot if draftee.on_the_spot else self._fan_out

    def build(self, draftees: Sequence[Draftee], lookahead: int, budget: int) -> Iterator[None]:
        """Prepares for what may come of the drafts handed out; yields after each pass. Long unread texts come last."""
        behind = [each for each in draftees if len(each.unread) > MOST_READ]
        yield from self._round([each for each in draftees if len(each.unread) <= MOST_READ], lookahead, budget)
        for each in behind:
            while len(each.unread) > MOST_READ and not each.ended:
                self._runner.read([(each.track, each.unread[:MOST_READ])])
                yield
        yield from self._round(behind, lookahead, budget)

    def refill(self, draftees: Sequence[Draftee]) -> Iterator[None]:
        """Reads texts again, over what other weights had read of them, a portion a pass; yields after each."""
        for each in draftees:
            again = Track(each.track.pages)
            while not each.ended and again.num_read < each.track.num_read:
                stop = min(again.num_read + READ_AGAIN, each.track.num_read)
                self._runner.read([(again, each.tokens[again.num_read : stop])])
                yield

    def _round(self, draftees: Sequence[Draftee], lookahead: int, budget: int) -> Iterator[None]:
        draftees = [each for each in draftees if not each.ended]
        if not draftees:
            return
        started = time.perf_counter()
        twigs = self._forked(draftees, lookahead, budget)
        self.pace.glue.see(time.perf_counter() - started)
        yield
        for level in range(lookahead):
            twigs = [twig for twig in twigs if not twig.draftee.ended]
            if not twigs:
                return
            started, size = time.perf_counter(), len(twigs)
            twigs = self._grown(twigs, level, lookahead, budget)
            self.pace.level.see(size, time.perf_counter() - started)
            yield

    def _forked(self, draftees: Sequence[Draftee], lookahead: int, budget: int) -> list[_Twig]:
        """Glue and fork: the tokens that may be chosen behind each accepted part of each draft."""
        for each in draftees:  # the newest token at least: the choice behind it is what is to be foreseen
            each.track.num_read = min(each.track.num_read, len(each.tokens) - 1)
        texts = [(each.track, [*each.unread, *each.draft]) for each in draftees]
        states = self._runner.read(texts, scored=[len(each.draft) + 1 for each in draftees])
        vocabulary = self._runner.vocabulary
        choices = [each.choice(ahead) for each in draftees for ahead in range(len(each.draft) + 1)]
        tokens, chances = guesses(vocabulary.scores(states), choices, MOST_RANKS + 1, vocabulary.ids)
        twigs: list[_Twig] = []
        at = 0
        for each in draftees:
            each.track.num_read = len(each.tokens)  # the draft lies behind the text until the target has had its say
            size = len(each.draft) + 1
            twigs += self._branches(each, tokens[at : at + size], chances[at : at + size], lookahead, budget)
            at += size
        return twigs

    def _branches(
        self, draftee: Draftee, tokens: list[list[int]], chances: list[list[float]], lookahead: int, budget: int
    ) -> list[_Twig]:
        draft, text = draftee.draft, len(draftee.tokens)
        draftee.root, draftee.next_place = Node(), text + len(draft)
        left = [
            [each for each in zip(names, shares, strict=True) if k == len(draft) or each[0] != draft[k]][:MOST_RANKS]
            for k, (names, shares) in enumerate(zip(tokens, chances, strict=True))
        ]
        draftee.ranked = [[token for token, _ in each] for each in left]
        ranks = {(at, token): draftee.ranked[at].index(token) for at, token, _ in draftee.leaves if token in draftee.ranked[at]}
        budget = min(budget, (draftee.room - len(draft)) // max(1, lookahead))
        allotted = self.fan_out(draftee).allot(len(draft), budget, [(at, rank) for (at, _), rank in ranks.items()])
        behind_leaf = dict(zip(ranks, allotted[len(draft) + 1 :], strict=True))
        node, twigs = draftee.root, []
        for k, prepared in enumerate(left):
            behind = tuple(range(text, text + k))
            for rank, (token, chance) in enumerate(prepared):
                if rank < allotted[k] or behind_leaf.get((k, token)):
                    branch = node.add(token, chance, main=False)
                    spread = behind_leaf.get((k, token), 0)
                    twigs.append(_Twig(draftee, branch, token, draftee.take_place(), behind, spread))
            if k < len(draft):
                share = dict(zip(tokens[k], chances[k], strict=True)).get(draft[k], 0.0)
                node = node.add(draft[k], share, main=True, belief=draftee.beliefs[k])
        return twigs[: max(0, budget)]

    def _grown(self, twigs: list[_Twig], level: int, lookahead: int, budget: int) -> list[_Twig]:
        """One token more for every branch: number `level` of its draft, from 0."""
        states = self._runner.grow([twig.branch() for twig in twigs])
        count = max(OTHERS, *(twig.spread for twig in twigs))
        found = self._next(states, [twig.choice for twig in twigs], self._prepared(level, lookahead, budget), count)
        grown = []
        for twig, (token, chance, belief, others) in zip(twigs, found, strict=True):
            node = twig.node.add(token, chance, main=True, belief=belief)
            twig.node.others = others[:OTHERS]
            if level < lookahead - 1:
                behind = (*twig.behind, twig.place)
                grown.append(_Twig(twig.draftee, node, token, twig.draftee.take_place(), behind))
                for other, chance in others[: twig.spread]:
                    branch = twig.node.add(other, chance, main=False)
                    grown.append(_Twig(twig.draftee, branch, other, twig.draftee.take_place(), behind))
        return grown

    def draft_now(self, draftees: Sequence[Draftee], lookahead: int, budget: int) -> None:
        """Drafts for texts as they are, with nothing prepared, while the target waits."""
        draftees = [each for each in draftees if len(each.unread) <= MOST_READ]
        for each in draftees:
            each.track.num_read = min(each.track.num_read, len(each.tokens) - 1)
            each.root, each.ranked = Node(), []
        nodes, following = [each.root for each in draftees], [each.unread for each in draftees]
        for level in range(lookahead if draftees else 0):
            states = self._runner.read([(each.track, new) for each, new in zip(draftees, following, strict=True)])
            found = self._next(states, [each.choice(level) for each in draftees], self._prepared(level, lookahead, budget))
            for node, (_, _, _, others) in zip(nodes, found, strict=True):
                node.others = others
            nodes = [
                node.add(token, chance, main=True, belief=belief)
                for node, (token, chance, belief, _) in zip(nodes, found, strict=True)
            ]
            following = [[token] for token, *_ in found]
        for each in draftees:
            each.track.num_read = len(each.tokens)

    def _next(self, states: Tensor, choices: Sequence[Choice], prepared: int, count: int = OTHERS) -> list[_Next]:
        """The token that a draft goes on with behind each state [N, D], its chance, and what it was drawn from, if it was; else
        what may come in its place.

        prepared: choices of the target that will be prepared for in place of it. count: of what may come in its place.
        """
        vocabulary = self._runner.vocabulary
        scores = vocabulary.scores(states)
        drawn = [at for at, (sampling, _) in enumerate(choices) if self._law.draws and not sampling.greedy]
        found: list[_Next] = [(0, 0.0, None, ())] * len(choices)
        if drawn:
            for at, belief in zip(drawn, beliefs(scores[drawn], [choices[at] for at in drawn], vocabulary.ids), strict=True):
                belief = belief.dampened(prepared, self._saguaro)
                found[at] = (draw(belief, 1, choices[at])[0], chances_drawn(1)[0], belief, ())
        if len(drawn) < len(choices):
            guessed = zip(*guesses(scores, choices, 1 + count, vocabulary.ids), strict=True)
            for at, ((token, *tokens), (chance, *chances)) in enumerate(guessed):
                if found[at][2] is None:
                    found[at] = (token, chance, None, tuple(zip(tokens, chances, strict=True)))
        return found

    def _prepared(self, level: int, lookahead: int, budget: int) -> int:
        """Choices that will be prepared for in place of token number `level` of a draft; reckoned only where it matters."""
        return self._fan_out.allot(lookahead, budget)[level] if self._saguaro != 1.0 else 0
