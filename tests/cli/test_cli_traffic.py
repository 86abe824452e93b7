"""The traffic generator: its rate is its own, its timetable is kept, and what came of it adds up."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from itertools import islice, pairwise
from pathlib import Path

import pytest

from cli.demo.prompts import DOMAINS, Message, Prompt
from cli.demo.traffic import Exchange, Speculation
from cli.errors import Exit, UsageError
from cli.load.loops import MOST_UNDER_WAY, arrivals, closed_loop, open_loop
from cli.load.timetable import Stretch, Timetable, parse_timetable
from cli.load.totals import Totals, line
from tests.cli.commands import Commands


def numbered(domain: str, number: int) -> Prompt:
    return Prompt(domain, (Message("user", f"{domain} {number}"),), 8)


def supplying(domain: str, seed: int) -> Iterator[Prompt]:
    """Three prompts of a domain; `empty` has none."""
    return iter([] if domain == "empty" else [numbered(domain, 10 * seed + number) for number in range(3)])


def test_a_timetable_says_what_comes_when() -> None:
    stretches = parse_timetable("stories+dialogue:300,sql:0.5,math", DOMAINS)
    assert stretches == (Stretch(("stories", "dialogue"), 300.0), Stretch(("sql",), 0.5), Stretch(("math",), None))
    timetable = Timetable(stretches, supplying, 0)
    found = [timetable.stretch(seconds) for seconds in (0.0, 299.9, 300.0, 300.4, 300.5, 1e9)]
    assert found == [stretches[0], stretches[0], stretches[1], stretches[1], stretches[2], stretches[2]]
    assert Timetable(stretches[:2], supplying, 0).prompt(300.5) is None, "it is over"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "'' names no domain"),
        ("poems", "'poems' names no domain that is there, expected among stories"),
        ("sql+poems:3", "'sql\\+poems:3' names no domain"),
        ("sql:soon,math", "lasts 'soon', expected seconds"),
        ("sql:0,math", "lasts '0', expected seconds"),
        ("sql:inf,math", "lasts 'inf', expected seconds"),
        ("sql,math:3", "'sql' has no length"),
    ],
)
def test_a_timetable_that_makes_no_sense_is_refused_by_its_part(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        parse_timetable(text, DOMAINS)


def test_prompts_begin_again_in_another_order_when_a_domain_has_no_more() -> None:
    timetable = Timetable((Stretch(("a",), None),), supplying, 4)
    said = [timetable.prompt(0.0) for _ in range(5)]
    assert [prompt.messages[0].content for prompt in said if prompt] == ["a 40", "a 41", "a 42", "a 50", "a 51"]
    with pytest.raises(UsageError, match="domain 'empty' has no prompts"):
        Timetable((Stretch(("empty",), None),), supplying, 0).prompt(0.0)


def test_domains_of_a_stretch_share_its_traffic() -> None:
    timetable = Timetable((Stretch(("a", "b"), None),), supplying, 0)
    counts = Counter(prompt.domain for _ in range(200) if (prompt := timetable.prompt(0.0)))
    assert min(counts["a"], counts["b"]) > 60


@pytest.mark.parametrize("even", [True, False])
def test_a_rate_is_kept_within_two_percent(even: bool) -> None:
    times = list(islice(arrivals(5.0, 1, even=even), 20_000))
    for after in (10.0, 60.0, 3000.0):
        assert sum(time < after for time in times) / after == pytest.approx(5.0, rel=0.02)
    gaps = [later - earlier for earlier, later in pairwise(times)]
    if even:
        assert max(gaps) == pytest.approx(min(gaps))
    else:
        assert sum(gap > 0.2 for gap in gaps) / len(gaps) == pytest.approx(0.3679, abs=0.02), "exponential, as strangers come"


class Clock:
    """Time that passes while somebody sleeps, and whenever it is looked at."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, each: float = 0.0) -> None:
        self.now, self._each, real = 0.0, each, asyncio.sleep

        async def sleep(seconds: float) -> None:
            self.now += seconds
            await real(0)

        monkeypatch.setattr(asyncio, "sleep", sleep)

    def __call__(self) -> float:
        self.now += self._each
        return self.now


def test_an_open_loop_sends_on_time_whatever_delays_it(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch, each=0.03)  # every look at the clock takes time: a loop that added up its sleeps would drift
    sent: list[float] = []

    async def send(prompt: Prompt) -> None:
        sent.append(clock.now)

    times = iter(number / 10 for number in range(400))
    asyncio.run(open_loop(send, lambda at: numbered("a", 0), times, clock))
    assert len(sent) == 400
    assert (len(sent) - 1) / (sent[-1] - sent[0]) == pytest.approx(10.0, rel=0.02)


def test_an_open_loop_does_not_bury_a_server_that_answers_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, answered = Clock(monkeypatch), asyncio.Event()
    num_sent = 0

    async def send(prompt: Prompt) -> None:
        nonlocal num_sent
        num_sent += 1
        await answered.wait()

    def prompt(at: float) -> Prompt | None:
        if at > 1500:
            answered.set()
            return None
        return numbered("a", 0)

    skipped = asyncio.run(open_loop(send, prompt, iter(map(float, range(2000))), clock))
    assert num_sent == MOST_UNDER_WAY
    assert skipped == 1501 - MOST_UNDER_WAY


def test_a_closed_loop_keeps_so_many_under_way() -> None:
    under_way = most = 0
    left = iter(range(20))

    async def send(prompt: Prompt) -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0)
        under_way -= 1

    def prompt(at: float) -> Prompt | None:
        number = next(left, None)
        return None if number is None else numbered("a", number)

    asyncio.run(closed_loop(send, prompt, 4))
    assert most == 4
    assert next(left, None) is None


def exchange(latency: float, error: str | None = None) -> Exchange:
    spoken = () if error else tuple(range(7))
    steps = Speculation(num_spec_steps=2, num_plain_steps=1)
    asked = {"index": 0, "domain": "sql", "temperature": 0.0, "seed": 0, "max_tokens": 8}
    return Exchange(**asked, latency=latency, output_ids=spoken, speculation=steps, error=error)  # type: ignore[arg-type]


def test_totals_add_up() -> None:
    totals = Totals()
    assert "nothing yet" in line(totals.summary())
    for at in range(5):
        totals.sent(at / 2)
        totals.take(exchange(1.0 + at, None if at else "refused"), at + 3.0)
    summary = totals.summary(num_skipped=2)
    assert (summary.num_sent, summary.num_failed, summary.num_skipped) == (5, 1, 2)
    assert summary.requests_per_second == pytest.approx(2.0)
    assert summary.tokens_per_second == pytest.approx(28 / 7.0)
    assert summary.tokens_per_step == pytest.approx(24 / 12)
    assert (summary.latency_median, summary.latency_95) == (4.0, 5.0)
    assert summary.by_domain == {"sql": 5}


def test_nothing_is_sent_without_a_rate_or_a_concurrency(everdraft_command: Commands) -> None:
    for words in ((), ("--rate", "1", "--concurrency", "1")):
        outcome = everdraft_command("traffic", *words)
        assert outcome.code == Exit.USAGE
        assert "exactly one of --rate and --concurrency" in outcome.err


def test_where_nobody_listens_it_says_so(everdraft_command: Commands) -> None:
    outcome = everdraft_command("traffic", "--rate", "1", "--url", "http://127.0.0.1:9/v1")
    assert outcome.code == Exit.FAILED
    assert "does not say what it serves" in outcome.err


def test_prompts_come_from_files_by_domain(tmp_path: Path) -> None:
    from cli.traffic import _supply

    file = tmp_path / "poems.jsonl"
    file.write_text("".join(json.dumps({"prompt": f"poem {number}"}) + "\n" for number in range(5)))
    source, known = _supply((file,))
    assert known == ("poems",)
    first, again, other = ([prompt.messages[0].content for prompt in source("poems", seed)] for seed in (1, 1, 2))
    assert first == again
    assert sorted(first) == sorted(other)
    assert first != other
