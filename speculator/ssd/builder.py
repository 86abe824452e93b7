"""Builder: drafts ahead for a whole round, pass by pass, so that it can be stopped between any two.

One round (arXiv 2603.03251, section 4; layout as in `speculator.draft_runner`): *glue*, one pass over what was emitted and the
draft that was handed out, gives the drafter's belief behind each of its tokens; *fork* takes the likeliest choices of the target
there that are not the draft's own; *growth* reads all of these in one pass, which gives to each the tokens that may follow, and
then, pass by pass, whatever the text is likeliest to go through, among all branches of all sequences.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from speculator.batch import Sampling
from speculator.belief import Belief, beliefs, chances_drawn, draw
from speculator.calibration import Calibration
from speculator.draft_runner import Branch, DraftRunner, Track
from speculator.drafts import Law, Tree
from speculator.guesses import Choice, guesses
from speculator.ssd.fanout import MOST_RANKS, FanOut
from speculator.ssd.pace import Limits, Pace
from speculator.ssd.prepared import Node

MOST_READ = 512
"""Tokens of one text that are read in one pass."""
READ_AGAIN = 128
"""The same, of what is read again with other weights when there is nothing else to do."""


OTHERS = 3
"""Tokens that may come in place of each one of a draft: to hand them out takes a place in the verification, but no pass."""

_KEPT = 4
"""Times as many tokens as a pass may read at most are kept in view for the next."""

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
    """The way down what was handed out for the round under way."""
    handed: Tree = field(default_factory=lambda: Tree.rooted(-1))
    """All that was handed out, `draft` its first nodes."""
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

    @property
    def has_place(self) -> bool:
        return self.next_place < len(self.tokens) + self.room

    def take_place(self) -> int:
        self.next_place += 1
        return self.next_place - 1


@dataclass(slots=True)
class _Bud:
    """A token that may be read."""

    draftee: Draftee
    parent: Node
    token: int
    chance: float
    """Given that the text goes through its parent."""
    reach: float
    """The chance that the text goes through it."""
    behind: tuple[int, ...]
    """Places of its ancestors behind the text."""
    drafted: int
    """Which token of a draft it is, from 1; 0: the outcome before it."""

    @property
    def open(self) -> bool:
        """Whether it still may be read."""
        return self.draftee.has_place and not self.draftee.ended

    def twig(self) -> _Twig | None:
        """To be read now; None where there is no place left."""
        if not self.draftee.has_place:
            return None
        return _Twig(self, self.parent.add(self.token, self.chance), self.draftee.take_place())


@dataclass(slots=True)
class _Twig:
    """A token about to be read."""

    bud: _Bud
    node: Node
    place: int

    @property
    def choice(self) -> Choice:
        """The one behind it."""
        return self.bud.draftee.choice(len(self.bud.behind) + 1)

    def branch(self) -> Branch:
        draftee = self.bud.draftee
        return Branch(draftee.track, len(draftee.tokens), self.bud.token, self.place, self.bud.behind)


class Builder:
    """law: how drafts for sampled answers are made; drawn ones are chains. saguaro: see `Belief.dampened`. adaptive: see
    `Pace`."""

    def __init__(
        self,
        runner: DraftRunner,
        fan_out: FanOut,
        calibration: Calibration,
        *,
        law: Law = Law.POINT_MASS,
        saguaro: float = 1.0,
        adaptive: bool = True,
    ) -> None:
        self._runner = runner
        self._fan_out = fan_out
        self._calibration = calibration
        self._law = law
        self._saguaro = saguaro
        self.pace = Pace(fan_out, adaptive=adaptive)

    def fan_out(self, draftee: Draftee) -> FanOut:
        """Of drafts like the one that it was handed last."""
        return self.pace.spot if draftee.on_the_spot else self._fan_out

    def build(self, draftees: Sequence[Draftee], limits: Limits, since: float) -> Iterator[None]:
        """Prepares for what may come of the drafts handed out; yields after each pass. Long unread texts come last.

        since: when they were handed out, by `time.perf_counter`.
        """
        behind = [each for each in draftees if len(each.unread) > MOST_READ]
        yield from self._round([each for each in draftees if len(each.unread) <= MOST_READ], limits, since)
        for each in behind:
            while len(each.unread) > MOST_READ and not each.ended:
                self._runner.read([(each.track, each.unread[:MOST_READ])])
                yield
        yield from self._round(behind, limits, since)

    def refill(self, draftees: Sequence[Draftee]) -> Iterator[None]:
        """Reads texts again, over what other weights had read of them, a portion a pass; yields after each."""
        for each in draftees:
            again = Track(each.track.pages)
            while not each.ended and again.num_read < each.track.num_read:
                stop = min(again.num_read + READ_AGAIN, each.track.num_read)
                self._runner.read([(again, each.tokens[again.num_read : stop])])
                yield

    def _round(self, draftees: Sequence[Draftee], limits: Limits, since: float) -> Iterator[None]:
        draftees = [each for each in draftees if not each.ended]
        if not draftees:
            return
        started = time.perf_counter()
        buds = self._forked(draftees, limits)
        self.pace.glue.see(time.perf_counter() - started)
        made: list[list[_Twig]] = []
        most = limits.fan_out * len(draftees)
        try:
            yield
            while True:
                started = time.perf_counter()
                buds = sorted((bud for bud in buds if bud.open), key=lambda bud: -bud.reach)[: _KEPT * most]
                reaches = [bud.reach for bud in buds]
                count = self.pace.width(reaches, limits, len(draftees), made=len(made), passed=started - since)
                twigs = [twig for twig in (bud.twig() for bud in buds[:count]) if twig is not None]
                del buds[:count]
                if not twigs:
                    return
                buds += self._grown(twigs, limits)
                self.pace.see_pass(len(made), len(twigs), time.perf_counter() - started)
                made.append(twigs)
                yield
        finally:
            outcomes = [twig.bud.reach for twigs in made for twig in twigs if not twig.bud.drafted]
            self.pace.see_round(len(made), len(outcomes) / len(draftees), sum(outcomes) / len(draftees))

    def _forked(self, draftees: Sequence[Draftee], limits: Limits) -> list[_Bud]:
        """Glue and fork: the tokens that may be chosen behind each accepted part of each draft."""
        for each in draftees:  # the newest token at least: the choice behind it is what is to be foreseen
            each.track.num_read = min(each.track.num_read, len(each.tokens) - 1)
        texts = [(each.track, [*each.unread, *each.draft]) for each in draftees]
        states = self._runner.read(texts, scored=[len(each.draft) + 1 for each in draftees])
        vocabulary = self._runner.vocabulary
        choices = [each.choice(ahead) for each in draftees for ahead in range(len(each.draft) + 1)]
        tokens, chances = guesses(vocabulary.scores(states), choices, MOST_RANKS + 1, vocabulary.ids)
        buds: list[_Bud] = []
        at = 0
        for each in draftees:
            each.track.num_read = len(each.tokens)  # the draft lies behind the text until the target has had its say
            size = len(each.draft) + 1
            buds += self._outcomes(each, tokens[at : at + size], chances[at : at + size], limits)
            at += size
        return buds

    def _outcomes(
        self, draftee: Draftee, tokens: list[list[int]], chances: list[list[float]], limits: Limits
    ) -> list[_Bud]:
        """What may come of the draft handed out, as far as it is worth preparing for."""
        draft, text = draftee.draft, len(draftee.tokens)
        draftee.root, draftee.next_place = Node(), text + len(draft)
        left = [
            [each for each in zip(names, shares, strict=True) if k == len(draft) or each[0] != draft[k]][:MOST_RANKS]
            for k, (names, shares) in enumerate(zip(tokens, chances, strict=True))
        ]
        draftee.ranked = [[token for token, _ in each] for each in left]
        fan_out, drawn = self.fan_out(draftee), self._law.draws(draftee.sampling)
        allotted, ends = fan_out.allot(len(draft), limits.fan_out), fan_out.outcomes(len(draft))
        node, reach, buds = draftee.root, 1.0, []
        for k, (prepared, count) in enumerate(zip(left, allotted, strict=True)):
            behind, ranks = tuple(range(text, text + k)), fan_out.hit_chances(ended=k == len(draft))
            for (token, chance), rank in zip(prepared[:count], ranks, strict=False):
                # By the drafter's own word, which knows the text, and by what was measured, which knows the drafter. Not by its
                # word where it draws: what is prepared must not depend on what was drawn, or the law of the next draft would.
                expected = ends[k] * rank
                expected = expected if drawn else (reach * chance + expected) / 2
                buds.append(_Bud(draftee, node, token, chance, expected, behind, 0))
            if k < len(draft):
                share = draftee.handed.confidence[k + 1]
                share = share if drawn else dict(zip(tokens[k], chances[k], strict=True)).get(draft[k], share)
                node = node.add(draft[k], share, main=True, belief=draftee.handed.beliefs.get(k))
                reach *= share
        return buds

    def _grown(self, twigs: list[_Twig], limits: Limits) -> list[_Bud]:
        """Reads them; what may follow."""
        states = self._runner.grow([twig.branch() for twig in twigs])
        counts = self._prepared(limits.lookahead, limits.fan_out)
        prepared = [counts[twig.bud.drafted] for twig in twigs]
        found = self._next(states, [twig.choice for twig in twigs], prepared)
        buds: list[_Bud] = []
        for twig, (token, chance, belief, others) in zip(twigs, found, strict=True):
            bud, node = twig.bud, twig.node
            node.add(token, chance, main=True, belief=belief)
            node.others = others if self.pace.adaptive else ()
            depth, sampled, behind = bud.drafted + 1, not bud.draftee.sampling.greedy, (*bud.behind, twig.place)
            if depth < limits.lookahead:
                for each, share in ((token, chance), *node.others):
                    believed = self._calibration.chance(0, depth, share, sampled)
                    buds.append(_Bud(bud.draftee, node, each, share, bud.reach * believed, behind, depth))
        return buds

    def draft_now(self, draftees: Sequence[Draftee], lookahead: int, budget: int) -> None:
        """Drafts for texts as they are, with nothing prepared, while the target waits."""
        draftees = [each for each in draftees if len(each.unread) <= MOST_READ]
        for each in draftees:
            each.track.num_read = min(each.track.num_read, len(each.tokens) - 1)
            each.root, each.ranked = Node(), []
        nodes, following = [each.root for each in draftees], [each.unread for each in draftees]
        for level in range(lookahead if draftees else 0):
            states = self._runner.read([(each.track, new) for each, new in zip(draftees, following, strict=True)])
            prepared = [self._prepared(lookahead, budget)[level]] * len(draftees)
            found = self._next(states, [each.choice(level) for each in draftees], prepared)
            for node, (_, _, _, others) in zip(nodes, found, strict=True):
                node.others = others
            nodes = [
                node.add(token, chance, main=True, belief=belief)
                for node, (token, chance, belief, _) in zip(nodes, found, strict=True)
            ]
            following = [[token] for token, *_ in found]
        for each in draftees:
            each.track.num_read = len(each.tokens)

    def _next(self, states: Tensor, choices: Sequence[Choice], prepared: Sequence[int]) -> list[_Next]:
        """The token that a draft goes on with behind each state [N, D], its chance, and what it was drawn from, if it was; else
        what may come in its place.

        prepared: [N] choices of the target that will be prepared for in place of it.
        """
        vocabulary = self._runner.vocabulary
        scores = vocabulary.scores(states)
        drawn = [at for at, (sampling, _) in enumerate(choices) if self._law.draws(sampling)]
        found: list[_Next] = [(0, 0.0, None, ())] * len(choices)
        if drawn:
            for at, belief in zip(drawn, beliefs(scores[drawn], [choices[at] for at in drawn], vocabulary.ids), strict=True):
                belief = belief.dampened(prepared[at], self._saguaro)
                found[at] = (draw(belief, 1, choices[at])[0], chances_drawn(1)[0], belief, ())
        if len(drawn) < len(choices):
            guessed = zip(*guesses(scores, choices, 1 + OTHERS, vocabulary.ids), strict=True)
            for at, ((token, *tokens), (chance, *chances)) in enumerate(guessed):
                if found[at][2] is None:
                    found[at] = (token, chance, None, tuple(zip(tokens, chances, strict=True)))
        return found

    def _prepared(self, lookahead: int, budget: int) -> list[int]:
        """By number of token of a draft, from 0, the choices that will be prepared for in its place; reckoned only where it
        matters."""
        return self._fan_out.allot(lookahead, budget) if self._saguaro != 1.0 else [0] * (lookahead + 1)
