"""A way to the page's own parts behind an app."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from serving.api.service import Service
from serving.dashboard.routes import Dashboard
from tests.serving.harness import House, house


class Behind(Dashboard):
    """Keeps what it was made of."""

    def __init__(self, service: Service) -> None:
        super().__init__(service)
        self.service = service


Served = tuple[House, Behind]


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Served]:
    """A house and the page's parts behind it; takes what `house` takes."""
    made: list[Behind] = []

    def remember(service: Service) -> Behind:
        made.append(Behind(service))
        return made[-1]

    def make(*args: Any, **options: Any) -> Served:
        monkeypatch.setattr("serving.api.app.Dashboard", remember)
        return house(*args, **options), made[-1]

    return make
