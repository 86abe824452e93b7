"""The page in a real browser: it shows what is so, moves, does what its buttons say, and asks nobody else."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from pipelines.errors import RegistryUnavailable
from pipelines.sqlite_registry import SqliteRegistry
from serving.dashboard.history import History
from tests.serving.dashboard.browser import Visit, chromium
from tests.serving.dashboard.conftest import Served
from tests.serving.dashboard.looks import blemishes
from tests.serving.dashboard.story import (
    DRAFT,
    FALLEN,
    FOURTH,
    NEXT,
    SLOT,
    THIRD,
    LearningEngine,
    an_hour,
    announce,
    story_registry,
    try_out,
)
from tests.serving.harness import House, eventually, house, running

pytestmark = pytest.mark.slow

KEY = "sesame"
Open = Callable[..., Visit]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[SqliteRegistry]:
    found = story_registry(tmp_path)
    yield found
    found.close()


@pytest.fixture
def opened(browser: Browser, served: Callable[..., Served]) -> Iterator[Open]:
    """Serves a house and opens its page; past: fills its history. At the end nothing may have gone wrong in it."""
    with ExitStack() as stack:
        visits: list[Visit] = []

        def open_page(
            registry: Any = None,
            engine: LearningEngine | None = None,
            *,
            past: Callable[[History], None] = lambda history: None,
            admin_key: str = KEY,
            charts: bool = False,
            **options: Any,
        ) -> Visit:
            engine = engine or LearningEngine(step_seconds=0.002)
            subject, dashboard = served(engine, registry=registry, admin_key=admin_key)
            past(dashboard.history)
            visit = Visit(browser, stack.enter_context(running(subject, drain_seconds=1)), charts=charts, **options)
            stack.callback(visit.close)
            visits.append(visit)
            return visit

        yield open_page
        assert [problem for visit in visits for problem in visit.problems] == []


@contextmanager
def traffic(subject: House) -> Iterator[None]:
    """Requests one after another while the block runs."""
    over = threading.Event()

    def send() -> None:
        with httpx.Client(base_url=subject.url) as client:
            while not over.is_set():
                client.post("/v1/completions", json={"prompt": "abcdef", "max_tokens": 61, "seed": 1})

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(10)


def row(page: Page, version: str) -> Locator:
    return page.locator(f'[data-version="{version}"]')


def confirm(page: Page, reason: str, label: str, key: str | None = KEY) -> None:
    """Answers the dialog. key: None where it is known already."""
    dialog = page.locator("#ask")
    dialog.get_by_label("Reason").fill(reason)
    if key is not None:
        dialog.get_by_label("Admin key").fill(key)
    dialog.get_by_role("button", name=label).click()


def test_it_shows_the_story_of_the_slot(opened: Open, registry: SqliteRegistry) -> None:
    page = opened(registry, charts=True).page
    expect(page.locator("#headline")).to_contain_text(FOURTH[:12])
    expect(page.locator("#headline")).to_contain_text("a candidate waits")
    expect(page.locator("#headline")).to_contain_text("12 % of steps without a draft")
    for version, stage in ((FOURTH, "champion"), (NEXT, "candidate"), (THIRD, "previous"), (FALLEN, "rolled back")):
        expect(row(page, version).locator(".pill")).to_have_text(stage)
    expect(row(page, NEXT)).to_contain_text("2.55 from 2.41 +0.14 (at least +0.06)")
    expect(row(page, NEXT)).to_contain_text("Gate: published, on 96 conversations")
    expect(row(page, FALLEN)).to_contain_text("math −4 %")
    expect(page.locator("#versions")).to_contain_text("Show 2 more")
    page.get_by_role("button", name="Show 2 more").click()
    expect(page.locator("#versions [data-version]")).to_have_count(8)
    trainer = page.locator("#trainer")
    for words in ("training", "18.2 k", "2.319", "5 of 31", "Last judgement: published: 2.180 -> 2.410"):
        expect(trainer).to_contain_text(words)
    expect(page.locator("#runs li")).to_have_count(2)
    expect(page.locator("#servers .behind")).to_have_text(str(registry.state(SLOT).generation - 1))
    expect(page.locator("#events li").first).to_contain_text("staged")
    assert "rolled back to" in (page.locator("#lane .glyph.down").get_attribute("title") or "")
    expect(page.locator("#lane .glyph.up")).to_have_count(5)


def test_it_moves_while_traffic_flows(opened: Open, registry: SqliteRegistry) -> None:
    visit = opened(registry, charts=True)
    page, subject = visit.page, visit.house
    page.get_by_role("button", name="5 min", exact=True).click()
    speed = page.locator("#headline .tile").nth(2)
    expect(speed).to_contain_text("no traffic yet")
    with traffic(subject):
        # drafts of 4 with 2, 0, 3, 1 accepted, round and round
        expect(page.locator("#headline .tile").first.locator("b")).to_have_text("2.50", timeout=15_000)
        expect(page.locator("#headline")).to_contain_text("adaptive heads +", timeout=15_000)
        expect(page.locator("#story-legend")).to_contain_text("static heads, same text")
        expect(page.locator("#sources")).to_contain_text("scripted")
        shown = [speed.locator("b").inner_text()]
        assert float(shown[0].replace(",", "")) > 0
        assert eventually(lambda: _another(shown, speed.locator("b").inner_text()), 15)
        bars = page.locator("#positions-chart .bartext")
        expect(bars.first).to_have_text("75 %", timeout=10_000)
        # something was drawn, and more of it as time goes on
        assert eventually(lambda: _points(page) >= 3, 30)
    subject.engine.version = NEXT
    subject.engine.swap(NEXT)
    expect(page.locator("#lane .glyph.swap")).to_have_count(1, timeout=10_000)
    expect(page.locator("#headline")).to_contain_text(NEXT[:12])
    announce(registry, "judging")
    expect(page.locator("#trainer .pill")).to_have_text("judging")


def _another(shown: list[str], now: str) -> bool:
    shown.append(now)
    return now != shown[0]


def _points(page: Page) -> int:
    """Of the line of what was served."""
    drawn = "() => document.querySelector('#story-plot .chart').data?.[0].y.filter((value) => value !== null).length ?? 0"
    return int(page.evaluate(drawn))


def test_a_page_opened_later_shows_what_was(opened: Open, registry: SqliteRegistry) -> None:
    first = opened(registry)
    with traffic(first.house):
        expect(first.page.locator("#headline .tile").first.locator("b")).to_have_text("2.50", timeout=15_000)
    again = first.page.context.new_page()
    again.goto(first.page.url)
    expect(again.locator("#headline .tile").first.locator("b")).to_have_text("2.50")


def test_retrain_queues_a_run_as_it_was_asked_for(opened: Open, registry: SqliteRegistry) -> None:
    visit = opened(registry)
    page = visit.page
    page.get_by_role("button", name="Cancel run").click()
    confirm(page, "in the way", "End the run")
    expect(page.locator("#said")).to_have_text("The run is cancelled.")
    assert registry.runs()[0].state == "cancelled"
    page.get_by_role("button", name="Retrain").click()
    page.locator("#ask").get_by_label("Start again from the static heads").check()
    confirm(page, "a new format", "Retrain", key=None)
    expect(page.locator("#said")).to_have_text("A run is queued.")
    run = registry.runs()[0]
    assert (run.state, run.reason, run.plan.mode, run.plan.promote) == ("queued", "a new format", "full", None)
    expect(page.locator("#runs li").first).to_contain_text("a new format")
    page.get_by_role("button", name="Retrain").click()
    confirm(page, "once more", "Retrain", key=None)
    expect(page.locator("#ask .problem")).to_contain_text(run.run_id)  # one at a time
    visit.forgive("409")


def test_pause_and_resume(opened: Open, registry: SqliteRegistry) -> None:
    page = opened(registry).page
    page.get_by_role("button", name="Pause").click()
    confirm(page, "maintenance", "Pause")
    expect(page.locator("#trainer")).to_contain_text("paused")
    assert registry.state(SLOT).training is False
    page.get_by_role("button", name="Resume").click()
    confirm(page, "done", "Resume", key=None)
    expect(page.get_by_role("button", name="Pause")).to_be_visible()
    assert registry.state(SLOT).training is True
    assert [(act.action, act.what, act.reason) for act in registry.acts(2)] == [
        ("switch", "training on", "done"), ("switch", "training off", "maintenance"),
    ]  # fmt: skip


def test_speculation_is_switched_off_and_on_for_every_server(opened: Open, registry: SqliteRegistry) -> None:
    visit = opened(registry)
    page = visit.page
    tile = page.locator("#headline .tile").last
    expect(tile.locator("b")).to_have_text("on")
    tile.get_by_role("button").click()
    confirm(page, "measuring", "Turn off")
    expect(tile).to_contain_text("switching off")
    assert registry.state(SLOT).speculation is False
    visit.house.engine.set_speculation(False)  # as an engine does at its next look at the registry
    expect(tile.locator("b")).to_have_text("off")
    expect(tile).to_contain_text("every step decodes plainly")
    tile.get_by_role("button", name="Turn on").click()
    confirm(page, "measured", "Turn on", key=None)
    expect(tile).to_contain_text("switching on")
    assert registry.state(SLOT).speculation is True
    expect(page.locator("#lane .glyph.off")).to_have_count(1)
    expect(page.locator("#lane .glyph.on")).to_have_count(1)


def test_a_canary_is_started_and_promoted(opened: Open, registry: SqliteRegistry) -> None:
    page = opened(registry).page
    row(page, NEXT).get_by_role("button", name="Canary").click()
    confirm(page, "have a look", "Canary 25 %")
    expect(row(page, NEXT).locator(".pill")).to_have_text("canary 25 %")
    expect(page.locator("#headline")).to_contain_text("on 25 % of requests")
    state = registry.state(SLOT)
    assert (state.candidate, state.share, state.share_of) == (NEXT, 0.25, "requests")
    expect(page.locator("#lane .glyph.dot")).to_have_count(1)
    row(page, NEXT).get_by_role("button", name="Promote").click()
    confirm(page, "as good as it looks", "Promote", key=None)
    expect(row(page, NEXT).locator(".pill")).to_have_text("champion")
    expect(row(page, FOURTH).locator(".pill")).to_have_text("previous")
    assert registry.state(SLOT).champion == NEXT
    assert registry.acts(1)[0].reason == "as good as it looks"


def test_two_versions_in_service_are_shown_side_by_side(opened: Open, registry: SqliteRegistry) -> None:
    try_out(registry)
    trial = opened(registry).page.locator("#trial")
    expect(trial.locator("h2")).to_have_text("Canary")
    expect(trial).to_contain_text("25 % of requests")
    expect(trial.locator("tbody tr").first).to_have_text(f"champion {FOURTH[:12]}1432.40137")
    expect(trial.locator("tbody tr").last).to_have_text(f"canary {NEXT[:12]}482.57145")


def test_a_draft_worker_is_shown_where_there_is_one(opened: Open) -> None:
    visit = opened(engine=LearningEngine(worker=True, step_seconds=0.002), charts=True)
    page, beside = visit.page, visit.page.locator("#beside")
    expect(beside).to_be_visible()
    expect(beside).to_contain_text("tokens a round foreseen–")
    page.get_by_role("button", name="5 min", exact=True).click()
    with traffic(visit.house):
        expect(page.locator("#beside-legend")).to_contain_text("75 %", timeout=15_000)
    for name, value in (
        ("tokens a round foreseen", "4.00"), ("tokens a round not foreseen", "1.00"), ("waited for by the target", "5.0 %"),
        ("busy drafting ahead", "75 %"), ("outcomes prepared", "12"), ("passes that prepare them", "5.0"),
        ("foreseen, as the worker believes", "81 %"),
        ("given up", "1"), ("too late", "2"),
    ):  # fmt: skip
        expect(beside.locator("dl > div", has=page.locator(f"dt:text-is('{name}')")).locator("dd")).to_have_text(value)
    expect(beside.locator(".note")).to_have_text(f"Draft in service: {DRAFT[:12]}")
    drawn = "() => document.querySelector('#beside-chart').data?.[0].y.filter((value) => value !== null)"
    assert eventually(lambda: page.evaluate(drawn) and set(page.evaluate(drawn)) == {0.75}, 20)


def test_where_there_is_no_draft_worker_none_is_shown(opened: Open) -> None:
    page = opened().page
    expect(page.locator("#sources")).to_be_visible()
    expect(page.locator("#beside")).to_be_hidden()


def test_champion_and_candidate_are_rolled_back(opened: Open, registry: SqliteRegistry) -> None:
    page = opened(registry).page
    row(page, NEXT).get_by_role("button", name="Roll back").click()
    confirm(page, "not this one", "Roll back")
    expect(row(page, NEXT).locator(".pill")).to_have_text("rolled back")
    expect(row(page, NEXT).get_by_role("button")).to_have_count(0)
    assert (registry.state(SLOT).champion, registry.state(SLOT).candidate) == (FOURTH, None)
    row(page, FOURTH).get_by_role("button", name="Roll back").click()
    confirm(page, "nor that", "Roll back", key=None)
    expect(row(page, THIRD).locator(".pill")).to_have_text("champion")
    assert registry.state(SLOT).champion == THIRD
    expect(page.locator("#events li").first).to_contain_text("nor that")


def test_nothing_is_done_where_the_slot_moved_meanwhile(opened: Open, registry: SqliteRegistry) -> None:
    visit = opened(registry)
    page = visit.page
    row(page, NEXT).get_by_role("button", name="Promote").click()
    registry.promote(SLOT, THIRD, detail="somebody was faster")
    confirm(page, "too late", "Promote")
    expect(page.locator("#ask .problem")).to_contain_text("the slot has moved")
    assert registry.state(SLOT).champion == THIRD
    page.locator("#ask").get_by_role("button", name="Cancel").click()
    expect(page.locator("#ask")).to_be_hidden()
    visit.forgive("409")


def test_nothing_is_done_without_a_reason_or_after_second_thoughts(opened: Open, registry: SqliteRegistry) -> None:
    page = opened(registry).page
    row(page, FOURTH).get_by_role("button", name="Roll back").click()
    confirm(page, "", "Roll back")
    expect(page.locator("#ask")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#ask")).to_be_hidden()
    assert (registry.acts(), registry.state(SLOT).champion) == ([], FOURTH)


def test_a_wrong_key_is_said_to_be_and_not_kept_and_a_right_one_stays_in_the_tab(opened: Open, registry: SqliteRegistry) -> None:
    visit = opened(registry)
    page = visit.page
    stored = "() => [Object.values(sessionStorage), Object.values(localStorage), document.cookie]"
    page.get_by_role("button", name="Pause").click()
    confirm(page, "lunch", "Pause", key="abracadabra")
    expect(page.locator("#ask .problem")).to_have_text("The admin key is not right.")
    assert page.evaluate(stored) == [[], [], ""]
    assert registry.state(SLOT).training is True
    visit.forgive("401")
    confirm(page, "lunch", "Pause")
    expect(page.get_by_role("button", name="Resume")).to_be_visible()
    assert page.evaluate(stored) == [[KEY], [], ""]
    other = page.context.new_page()
    other.goto(page.url)
    expect(other.get_by_role("button", name="Unlock")).to_be_visible()
    page.get_by_role("button", name="Lock", exact=True).click()
    assert page.evaluate(stored) == [[], [], ""]
    assert not any(KEY in address for address in visit.requested)


def test_a_key_that_is_no_good_any_more_is_asked_for_again(opened: Open, registry: SqliteRegistry) -> None:
    visit = opened(registry)
    page = visit.page
    page.get_by_role("button", name="Unlock").click()
    page.locator("#ask").get_by_label("Admin key").fill(KEY)
    page.locator("#ask").get_by_role("button", name="Unlock").click()
    expect(page.get_by_role("button", name="Lock", exact=True)).to_be_visible()
    page.evaluate("() => sessionStorage.setItem('everdraft-admin-key', 'an older one')")
    page.get_by_role("button", name="Pause").click()
    confirm(page, "lunch", "Pause", key=None)
    confirm(page, "lunch", "Pause", key=KEY)
    expect(page.get_by_role("button", name="Resume")).to_be_visible()
    visit.forgive("401")


def test_without_an_admin_key_the_buttons_are_off_and_say_how_to_set_one(opened: Open, registry: SqliteRegistry) -> None:
    page = opened(registry, admin_key="").page
    expect(page.locator("#trainer")).to_contain_text("EVERDRAFT_ADMIN_KEY_FILE")
    buttons = page.locator("[data-act]")
    expect(buttons).not_to_have_count(0)
    assert all(buttons.nth(place).is_disabled() for place in range(buttons.count()))
    expect(page.locator("#key")).to_be_disabled()


def test_without_a_registry_the_engine_alone_is_shown(opened: Open) -> None:
    page = opened().page
    expect(page.locator("#notices")).to_contain_text("No registry is configured")
    expect(page.locator("#headline")).to_contain_text(FOURTH[:12])
    for part in ("versions", "trainer", "runs", "events", "servers"):
        expect(page.locator(f"#{part}")).to_be_hidden()
    expect(page.locator("button[data-act]")).to_have_count(0)


def test_while_the_registry_is_away_the_page_keeps_what_it_had(opened: Open, tmp_path: Path) -> None:
    registry = Unreachable(story_registry(tmp_path))
    page = opened(registry).page
    expect(row(page, FOURTH)).to_be_visible()
    registry.away = True
    expect(page.locator("#notices")).to_contain_text("Registry away since")
    expect(page.locator("#notices")).to_contain_text("Serving goes on")
    expect(row(page, FOURTH)).to_be_visible()
    expect(page.get_by_role("button", name="Pause")).to_be_disabled()
    registry.away = False
    expect(page.locator("#notices")).to_be_empty()
    expect(page.get_by_role("button", name="Pause")).to_be_enabled()


class Unreachable:
    """A registry that can be taken away."""

    def __init__(self, registry: SqliteRegistry) -> None:
        self._registry = registry
        self.away = False

    def __getattr__(self, name: str) -> Any:
        if self.away:
            raise RegistryUnavailable("no route to host")
        return getattr(self._registry, name)


def test_a_server_that_is_gone_is_said_to_be(browser: Browser, registry: SqliteRegistry) -> None:
    with running(house(LearningEngine(), registry=registry), drain_seconds=0) as served:
        visit = Visit(browser, served)
        expect(row(visit.page, FOURTH)).to_be_visible()
    expect(visit.page.locator("#notices")).to_contain_text("The server does not answer since", timeout=10_000)
    expect(visit.page.locator("#live")).to_have_text("away")
    expect(row(visit.page, FOURTH)).to_be_visible()
    visit.close()


def test_what_people_write_is_never_read_as_html(opened: Open, registry: SqliteRegistry) -> None:
    nasty = '<img src=x onerror="document.title=1"><b id="injected">%{y}</b>'
    registry.update_run(registry.runs()[0].run_id, "training", detail=nasty)
    registry.switch(SLOT, "training", False, detail=nasty)
    engine = LearningEngine(version=nasty)
    page = opened(registry, engine, past=an_hour, charts=True).page
    expect(page.locator("#runs")).to_contain_text(nasty)
    assert eventually(lambda: _points(page) > 70, 20)
    expect(page.locator("#events")).to_contain_text(nasty)
    expect(page.locator("#headline")).to_contain_text(nasty[:12])
    assert page.locator("#injected").count() == 0
    assert page.locator("img[src=x]").count() == 0


@pytest.mark.parametrize("width", [1280, 390])
def test_it_can_be_read_in_any_light_and_on_any_screen(opened: Open, registry: SqliteRegistry, width: int) -> None:
    try_out(registry)
    engine = LearningEngine(worker=True, step_seconds=0.002)
    page = opened(registry, engine, past=an_hour, charts=True, viewport={"width": width, "height": 900}).page
    expect(page.locator("#beside-legend")).to_contain_text("%")
    assert eventually(lambda: _points(page) > 70, 20)
    page.get_by_role("button", name="Show 2 more").click()
    for scheme, range_shown in (("dark", "5 min"), ("light", "1 h")):
        page.get_by_role("button", name=range_shown, exact=True).click()
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        red = int(page.evaluate("() => getComputedStyle(document.body).backgroundColor.match(/[0-9]+/)[0]"))
        assert (red > 200) is (scheme == "light")
        drawn_on = "() => document.querySelector('#story-plot .chart').layout.paper_bgcolor"
        card = "() => getComputedStyle(document.documentElement).getPropertyValue('--card').trim()"
        assert eventually(lambda: page.evaluate(drawn_on) == page.evaluate(card)), scheme  # noqa: B023
        assert blemishes(page) == {}, scheme
        page.get_by_role("button", name="Retrain").click()
        expect(page.locator("#ask")).to_be_visible()
        assert blemishes(page, "#ask") == {}, scheme
        page.keyboard.press("Escape")
