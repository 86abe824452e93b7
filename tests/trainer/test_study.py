"""What is drawn to be taught."""

from __future__ import annotations

from typing import cast

from tests.trainer.scripted import trace
from trainer.kept import Kept
from trainer.mixture import Mixture, Wanted
from trainer.study import Draws

FIRST, SECOND = (Kept.of(number, trace(number)) for number in range(2))


class Always:
    """A mixture of which one and the same trace is drawn."""

    def sample(self, count: int, wanted: Wanted) -> list[Kept]:
        return [FIRST] * count


def test_what_was_put_back_comes_next_and_once() -> None:
    draws = Draws(cast(Mixture, Always()), lambda trace: True)
    draws.put_back(SECOND)
    assert draws(3) == [SECOND, FIRST, FIRST]
    assert draws(1) == [FIRST]


def test_what_is_not_wanted_any_more_when_its_turn_comes_is_let_go() -> None:
    wanted = [FIRST, SECOND]
    draws = Draws(cast(Mixture, Always()), lambda trace: trace in wanted)
    draws.put_back(SECOND)
    wanted.remove(SECOND)  # purged, or a run was claimed that studies other traces
    assert draws(1) == [FIRST]
    wanted.append(SECOND)
    assert draws(1) == [FIRST], "nor later"
