"""A house for each test, closed behind it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import pytest

from pipelines.registry import Kind
from tests.trainer.scripted import House


@pytest.fixture
def build_house(tmp_path: Path) -> Iterator[Callable[..., House]]:
    built: list[House] = []

    def build(**changes: Any) -> House:
        built.append(House(tmp_path, **changes))
        return built[-1]

    yield build
    for house in built:
        house.close()


@pytest.fixture
def house(build_house: Callable[..., House]) -> House:
    return build_house()


@pytest.fixture(params=get_args(Kind))
def any_house(request: pytest.FixtureRequest, build_house: Callable[..., House]) -> House:
    """One for a trainer of each kind."""
    return build_house(kind=request.param)
