"""A real Chromium without a screen, and what every page in it must leave undone."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Browser, ConsoleMessage, Page, Request, Response, Route, sync_playwright

from tests.servers.process import missing
from tests.serving.harness import House


@contextmanager
def chromium() -> Iterator[Browser]:
    """Skips where it is not installed, or fails where servers are required."""
    program = shutil.which("chromium")
    if program is None:
        missing("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield browser
        browser.close()


class Visit:
    """One page on one server. problems: what it said on its console, what failed, and what it wanted of other hosts.

    charts: False gives it an empty file for the library that draws, which a browser needs a second or two of a core to read.
    """

    def __init__(self, browser: Browser, served: House, *, charts: bool = True, **options: Any) -> None:
        self._charts = charts
        self.house = served
        self.problems: list[str] = []
        self.requested: list[str] = []
        self._url = served.url
        self._context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        self._context.route("**/*", self._route)
        self.page: Page = self._context.new_page()
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda error: self.problems.append(f"error: {error}"))
        self.page.on("requestfailed", self._failed)
        self.page.on("response", self._answered)
        self.page.goto(f"{served.url}/dashboard")

    def close(self) -> None:
        self._context.close()

    def forgive(self, words: str) -> None:
        """Takes back a problem that the test made on purpose, which must be there."""
        assert any(words in problem for problem in self.problems), self.problems
        self.problems = [problem for problem in self.problems if words not in problem]

    def _route(self, route: Route) -> None:
        address = route.request.url
        self.requested.append(address)
        if not self._charts and "plotly" in address:
            route.fulfill(content_type="text/javascript", body="")
        elif address.startswith((f"{self._url}/", "data:")):
            route.continue_()
        else:
            self.problems.append(f"asked another host: {address}")
            route.abort()

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning", "assert", "trace"):
            self.problems.append(f"console {message.type}: {message.text}")

    def _failed(self, request: Request) -> None:
        self.problems.append(f"failed: {request.url} {request.failure}")

    def _answered(self, response: Response) -> None:
        if response.status >= 400:
            self.problems.append(f"status {response.status}: {response.url}")
