"""The demo from the first request to the report, against a stack without a model."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from cli.demo.options import DemoOptions
from cli.demo.run import run_demo
from cli.demo.schedule import MAX_FAILED
from cli.demo.supply import supply_of
from tests.cli.fake_stack import MAX_LENGTH, FakeStack, StackGoneError


def options(folder: Path, **changes: Any) -> DemoOptions:
    few = {"phase_seconds": (60.0,), "phase_requests": 40, "patience": 0.0, "num_evaluated": 6, "num_checked": 60}
    return DemoOptions(folder=folder, **{**few, **changes})


def run(stack: FakeStack, folder: Path, **changes: Any) -> tuple[int, dict[str, Any], str]:
    """Exit status, figures and what was shown."""
    shown = io.StringIO()
    chosen = options(folder, **changes)
    status = run_demo(stack, supply_of(chosen.files, chosen.seed), chosen, shown)
    return status, json.loads((folder / "report.json").read_text()), shown.getvalue()


def failed_claims(figures: dict[str, Any]) -> list[str]:
    return [claim["name"] for claim in figures["claims"] if not claim["held"]]


def test_a_run_in_which_every_claim_holds_succeeds_and_says_where_its_report_is(tmp_path: Path) -> None:
    with FakeStack() as stack:
        status, figures, shown = run(stack, tmp_path)
    assert status == 0
    assert failed_claims(figures) == []
    assert str(tmp_path / "report.html") in shown
    assert str(tmp_path / "report.json") in shown
    assert figures["num_requests"] == 80
    assert [row["domain"] for row in figures["traffic"]] == ["stories", "dialogue", "sql", "math"]
    assert sum(row["num_requests"] for row in figures["traffic"]) == 80
    assert {(row["domain"], row["temperature"], row["num_answers"]) for row in figures["heads"]} == {
        (domain, temperature, 6) for domain in ("stories", "dialogue", "sql", "math") for temperature in (0.8, 0.0)
    }
    assert figures["gain"]["ratio"] == pytest.approx(1.5, abs=0.1)


def test_no_prompt_is_sent_twice_and_the_fresh_ones_are_not_to_be_learnt_from(tmp_path: Path) -> None:
    with FakeStack() as stack:
        run(stack, tmp_path)
        asked = stack.asked
    assert len({json.dumps(body["messages"]) for body in asked}) == len(asked) == 80 + 4 * 6 * 2
    assert [body["store"] for body in asked] == [True] * 80 + [False] * 48
    assert {body["temperature"] for body in asked[:80]} == {0.8}
    assert [body["temperature"] for body in asked[80:]] == [0.8] * 24 + [0.0] * 24
    assert len({body["seed"] for body in asked}) == len(asked)


def test_the_traffic_shifts_from_the_first_domains_to_the_others(tmp_path: Path) -> None:
    with FakeStack() as stack:
        _, figures, _ = run(stack, tmp_path)
        domains = [body["metadata"]["domain"] for body in stack.asked]
    assert set(domains[:40]) == {"stories", "dialogue"}
    assert set(domains[40:80]) == {"sql", "math"}
    phases = [mark for mark in figures["marks"] if mark["kind"] == "phase"]
    assert [(mark["num_requests"], mark["label"]) for mark in phases] == [(0, "stories + dialogue"), (40, "sql + math")]


def test_one_answer_that_is_not_plain_decodings_fails_the_run(tmp_path: Path) -> None:
    with FakeStack() as stack:
        stack.wrong_plain = True
        status, figures, _ = run(stack, tmp_path)
    assert status == 1
    assert failed_claims(figures) == ["Output identical to plain decoding"]


def test_too_few_answers_to_check_fail_the_run(tmp_path: Path) -> None:
    with FakeStack() as stack:
        status, figures, _ = run(stack, tmp_path, num_checked=49)
    assert status == 1
    assert failed_claims(figures) == ["Output identical to plain decoding"]


def test_one_failed_request_fails_the_run(tmp_path: Path) -> None:
    with FakeStack(fail=frozenset({11})) as stack:
        status, figures, shown = run(stack, tmp_path)
    assert status == 1
    assert failed_claims(figures) == ["No failed request"]
    assert "broken" in shown


def test_a_run_without_a_swap_fails(tmp_path: Path) -> None:
    with FakeStack(swap_after=10_000) as stack:
        status, figures, _ = run(stack, tmp_path)
    assert status == 1
    assert failed_claims(figures) == ["New weights swapped in after passing the gate"]


def test_heads_that_gained_nothing_fail_the_run(tmp_path: Path) -> None:
    with FakeStack(gain=0.95) as stack:
        status, figures, _ = run(stack, tmp_path)
    assert status == 1
    assert failed_claims(figures) == ["The heads alone draft better than at the start"]


def test_the_last_phase_waits_for_a_swap_as_long_as_patience_lasts(tmp_path: Path) -> None:
    with FakeStack(swap_after=120) as stack:
        changes = {"phase_seconds": (0.05, 0.05), "phase_requests": 5000, "patience": 60.0, "num_evaluated": 1}
        _, figures, _ = run(stack, tmp_path, **changes)
    assert figures["num_requests"] >= 120
    assert any(mark["kind"] == "swap" for mark in figures["marks"])


def test_a_server_that_fails_every_request_ends_the_run_soon(tmp_path: Path) -> None:
    with FakeStack(fail=frozenset(range(10_000))) as stack:
        status, figures, _ = run(stack, tmp_path, phase_requests=5000)
    assert status == 1
    assert figures["num_requests"] <= 2 * (MAX_FAILED + 4)


def test_a_stack_that_is_gone_ends_the_run_with_its_own_error(tmp_path: Path) -> None:
    with FakeStack() as stack:
        supply = supply_of((), 0)
        stack.status()
        later = options(tmp_path)
        original = stack.num_prompt_tokens

        def dies(messages: Any) -> int:
            stack.gone = True
            return original(messages)

        stack.num_prompt_tokens = dies  # type: ignore[method-assign]
        with pytest.raises(StackGoneError):
            run_demo(stack, supply, later, io.StringIO())


def test_prompts_from_files_run_in_the_order_of_their_domains_and_the_too_long_are_left_out(tmp_path: Path) -> None:
    lines = [{"domain": name, "prompt": f"{name} {n}"} for name in ("mail", "chess", "tax") for n in range(60)]
    lines += [{"domain": "mail", "prompt": "x" * (MAX_LENGTH + n)} for n in range(20)]
    file = tmp_path / "mine.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with FakeStack() as stack:
        _, figures, _ = run(stack, tmp_path, files=(file,), phase_requests=1000)
        domains = [body["metadata"]["domain"] for body in stack.asked if body["store"]]
    assert set(domains[: domains.index("tax")]) == {"mail", "chess"}
    assert set(domains[domains.index("tax") :]) == {"tax"}
    assert max(len(body["messages"][0]["content"]) for body in stack.asked) < MAX_LENGTH
    assert figures["settings"]["prompts"].startswith("from mine.jsonl; ")
    assert {row["domain"] for row in figures["heads"]} == {"mail", "chess", "tax"}


@pytest.mark.parametrize(
    ("field", "value"),
    [("concurrency", 0), ("num_checked", 0), ("temperature", float("nan")), ("patience", -1.0), ("phase_seconds", ())],
)
def test_an_option_out_of_range_is_refused_by_name(tmp_path: Path, field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=field):
        options(tmp_path, **{field: value})
