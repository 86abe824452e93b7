"""Slot flags: those of the verbs that look at a slot, move its versions or switch it."""

from __future__ import annotations

from typing import get_args

from cli.argument_types import count, moment, offsets, quantity, share
from cli.flags import Parser, json_flag
from pipelines.registry import Kind


def slot_flag(parser: Parser) -> None:
    parser.add_argument("--slot", metavar="NAME", help="part of a slot's name as `status` shows it, where there are several")
    parser.add_argument("--kind", choices=get_args(Kind), help="slot of heads, of an eagle layer or of a draft model")


def versions_flags(parser: Parser) -> None:
    slot_flag(parser)
    json_flag(parser)


def retrain_flags(parser: Parser) -> None:
    slot_flag(parser)
    _reason(parser, "asked for by hand")
    parser.add_argument("--full", action="store_true", help="start from the static weights, not from those in training")
    parser.add_argument(
        "--since", type=moment, default=0.0, metavar="TIME", help="study only what finished since, as 2026-01-31T18:00"
    )
    parser.add_argument(
        "--from-offsets",
        type=offsets,
        default={},
        metavar="N|P:N,…",
        help="study only what comes after this offset of the log, or after these of its partitions",
    )
    parser.add_argument("--max-steps", type=count, metavar="N", help="steps before it is judged (default: trainer.min_steps)")
    parser.add_argument(
        "--promote",
        choices=("auto", "canary", "manual", "never"),
        help="what happens to a version that passes the gate (default: trainer.promote)",
    )
    parser.add_argument("--key", metavar="TEXT", help="asked again with the same key, it is the same run")
    parser.add_argument("--wait", action="store_true", help="wait for the outcome; the exit code tells it")
    parser.add_argument("--timeout", type=quantity, metavar="SECONDS", help="with --wait: stop waiting after this long")


def runs_flags(parser: Parser) -> None:
    parser.add_argument("run", nargs="?", metavar="RUN", help="only this one")
    parser.add_argument("--cancel", action="store_true", help="end it first")
    _reason(parser, "cancelled by hand")
    parser.add_argument("--limit", type=count, default=20, metavar="N", help="the newest (default: 20)")
    json_flag(parser)


def audit_flags(parser: Parser) -> None:
    parser.add_argument("--limit", type=count, default=20, metavar="N", help="the newest (default: 20)")
    json_flag(parser)


def promote_flags(parser: Parser) -> None:
    parser.add_argument("version", metavar="VERSION", help="or the start of its name")
    _moving_flags(parser, "promoted by hand")


def canary_flags(parser: Parser) -> None:
    parser.add_argument("version", metavar="VERSION", help="or the start of its name")
    parser.add_argument("--share", type=share, default=0.1, metavar="X", help="more than 0, less than 1 (default: 0.1)")
    parser.add_argument(
        "--of",
        dest="share_of",
        choices=("requests", "replicas"),
        default="requests",
        help="what the share is of, chosen by hash (default: requests)",
    )
    _moving_flags(parser, "canary by hand")


def rollback_flags(parser: Parser) -> None:
    parser.add_argument("version", nargs="?", metavar="VERSION", help="the champion, or the candidate (default: the champion)")
    _moving_flags(parser, "rolled back by hand")


def switch_flags(parser: Parser) -> None:
    slot_flag(parser)
    _reason(parser, "by hand")
    json_flag(parser)


def speculation_flags(parser: Parser) -> None:
    parser.add_argument("on", choices=("on", "off"), help="off: every replica decodes plainly")
    switch_flags(parser)


def _moving_flags(parser: Parser, reason: str) -> None:
    slot_flag(parser)
    parser.add_argument(
        "--expected-generation",
        type=int,
        metavar="N",
        help="do nothing if the slot has moved on from this generation",
    )
    _reason(parser, reason)
    json_flag(parser)


def _reason(parser: Parser, default: str) -> None:
    parser.add_argument("--reason", default=default, metavar="TEXT", help="why, for the record")
