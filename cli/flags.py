"""Flags of single verbs; those that concern a slot are in `cli.slot_flags`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import get_args

from cli.argument_types import address, count, layers, quantity, rate
from pipelines.registry import Kind

Parser = argparse.ArgumentParser


def no_flags(parser: Parser) -> None:
    """For verbs that the configuration alone tells what to do."""


def json_flag(parser: Parser) -> None:
    parser.add_argument("--json", action="store_true", help="JSON for programs, not a table for people")


def draft_worker_flags(parser: Parser) -> None:
    parser.add_argument(
        "--connect", type=address, required=True, metavar="HOST:PORT", help="where the server waits (engine.ssd_listen there)"
    )
    parser.add_argument(
        "--on", default="", metavar="DEVICE", help="cpu, cuda or cuda:<number> of this host (default: engine.ssd_device there)"
    )
    parser.add_argument(
        "--threads", type=count, default=0, metavar="N", help="on a CPU (default: engine.ssd_threads there)"
    )


def demo_flags(parser: Parser) -> None:
    parser.add_argument(
        "--out", type=Path, default=Path("demo-out"), metavar="DIR", help="where the report goes (default: demo-out)"
    )
    parser.add_argument(
        "--prompts",
        type=Path,
        nargs="+",
        default=[],
        metavar="FILE",
        help="JSON lines of prompts, plain or gzipped, instead of the project's own: first half of the domains, then the others",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of prompts and answers (default: 0)")


def replay_flags(parser: Parser) -> None:
    parser.add_argument(
        "files",
        type=Path,
        nargs="*",
        metavar="FILE",
        help="JSON lines of prompts for the target to answer, or of its `answers`; none: the traffic log is replayed",
    )
    parser.add_argument(
        "--with",
        dest="sources",
        action="append",
        metavar="SOURCE",
        help="suffix, recycling, rest, static, champion, eagle, draft-lm, a version, a folder of weights, or several joined by "
        "+; may be repeated (default: suffix, static and champion, eagle and draft-lm where served, as far as they are there)",
    )
    parser.add_argument("--limit", type=count, default=200, metavar="N", help="texts (default: 200)")
    parser.add_argument("--nodes", type=count, metavar="N", help="drafted a step (default: trainer.budget)")
    parser.add_argument("--tenant", metavar="NAME", help="of the traffic log, only this tenant's: not with files")
    parser.add_argument("--temperature", type=quantity, default=0.0, metavar="T", help="of the answers to prompts (default: 0)")
    json_flag(parser)


def answers_flags(parser: Parser) -> None:
    _lesson_flags(parser, "1500", "JSON lines of prompts")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="a new file; gzipped if named .gz")
    parser.add_argument("--max-tokens", type=count, default=96, metavar="N", help="of answers to prompts of files (default: 96)")
    parser.add_argument(
        "--every-turn",
        action="store_true",
        help="play recorded conversations again: each turn of the user's is answered, behind the target's own answers to those "
        "before (default: one answer of each, behind those recorded)",
    )


def _lesson_flags(parser: Parser, limit: str, files: str = "JSON lines of prompts, or of the target's `answers`") -> None:
    """What is learnt from. limit: the default, in words. files: what they hold."""
    parser.add_argument(
        "files",
        type=Path,
        nargs="*",
        metavar="FILE",
        help=f"{files}; none: the project's own stories and dialogues",
    )
    parser.add_argument("--limit", type=count, metavar="N", help=f"answers (default: {limit})")
    parser.add_argument(
        "--temperature", type=quantity, default=0.8, metavar="T", help="of the answers (default: 0.8; greedy ones may loop)"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of prompts, answers and training (default: 0)")


DAYZERO = (
    *("steps", "seconds", "num_heads", "num_blocks", "parallel"),
    *("from_layers", "hidden_size", "intermediate_size", "num_layers", "num_attention_heads", "num_kv_heads"),
)
"""Flags of `dayzero` that set what is learnt, and how long."""


def dayzero_flags(parser: Parser) -> None:
    _lesson_flags(parser, "1500, for a draft model 4000")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--out", type=Path, metavar="DIR", help="write them here, for --engine-heads or --engine-draft")
    where.add_argument("--publish", action="store_true", help="make them champion at the registry")
    parser.add_argument(
        "--kind", choices=get_args(Kind), default="hydra", help="heads, an eagle layer or a draft model (default: hydra)"
    )
    parser.add_argument("--steps", type=count, metavar="N", help="of training, at most (default: 2000, for a draft model 6000)")
    parser.add_argument("--seconds", type=quantity, metavar="S", help="of training, at most (default: 3600)")
    of_heads = parser.add_argument_group("with --kind medusa or hydra")
    of_heads.add_argument("--num-heads", type=count, metavar="N", help="tokens guessed ahead (default: 4)")
    of_heads.add_argument("--num-blocks", type=count, metavar="N", help="medusa: residual blocks of each head (default: 1)")
    of_eagle = parser.add_argument_group("with --kind eagle")
    of_eagle.add_argument(
        "--parallel",
        action="store_const",
        const=True,
        help="a layer that drafts all its tokens in one pass: cheaper, and it finds less (default: token after token)",
    )
    of_draft = parser.add_argument_group("with --kind draft-lm", "The defaults suit a target of some ten million weights.")
    of_draft.add_argument(
        "--from-layers",
        type=layers,
        metavar="N,…",
        help="start from these layers of the target, from 0 (two or three, first and last among them), in place of a shape",
    )
    of_draft.add_argument("--hidden-size", type=count, metavar="N", help="(default: 128)")
    of_draft.add_argument("--intermediate-size", type=count, metavar="N", help="(default: 384)")
    of_draft.add_argument("--num-layers", type=count, metavar="N", help="(default: 2)")
    of_draft.add_argument("--num-attention-heads", type=count, metavar="N", help="(default: 4)")
    of_draft.add_argument("--num-kv-heads", type=count, metavar="N", help="key-value heads (default: 2)")


JOINT = ("steps", "heads_first", "seconds", "num_heads", "num_blocks", "learning_rate", "heads_rate", "heads_weight")
"""Flags of `joint` that set what is learnt, and how long."""


def joint_flags(parser: Parser) -> None:
    _lesson_flags(parser, "1500")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="a folder that is not there yet")
    parser.add_argument("--steps", type=count, metavar="N", help="of training together, at most (default: 500)")
    parser.add_argument("--heads-first", type=count, metavar="N", help="steps of the heads alone before (default: 1000)")
    parser.add_argument("--seconds", type=quantity, metavar="S", help="of training, at most (default: 3600)")
    parser.add_argument("--num-heads", type=count, metavar="N", help="tokens guessed ahead (default: 4)")
    parser.add_argument("--num-blocks", type=count, metavar="N", help="residual blocks of each head (default: 1)")
    parser.add_argument("--learning-rate", type=quantity, metavar="R", help="of the target (default: 0.0001)")
    parser.add_argument("--heads-rate", type=quantity, metavar="X", help="theirs, in multiples of the target's (default: 20)")
    parser.add_argument(
        "--heads-weight",
        type=quantity,
        metavar="W",
        help="of what heads foresee, against what the target was: the more, the further it moves (default: 0.2)",
    )


def export_flags(parser: Parser) -> None:
    parser.add_argument("version", metavar="VERSION", help="or champion, static (the one that a server starts with), a folder")
    parser.add_argument("--kind", choices=("draft-lm",), default="draft-lm", help="of weights (default: draft-lm)")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="a folder that is not there yet")


def tenant_flags(parser: Parser) -> None:
    parser.add_argument("action", choices=("export", "purge"), help="hand out, or delete for good")
    parser.add_argument("name", metavar="TENANT", help="as the API key's tenant is called")
    parser.add_argument("--out", type=Path, metavar="FILE", help="export to this file, not to standard output")
    parser.add_argument("--yes", action="store_true", help="with purge: yes, for good")


def datastore_flags(parser: Parser) -> None:
    parser.add_argument("action", choices=("build",), help="a new version, beside the one before")
    parser.add_argument(
        "--from",
        dest="sources",
        nargs="+",
        required=True,
        metavar="URL|FILE",
        help="traffic logs by URL, files of JSON lines (texts, conversations, exported traces), plain or gzipped",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of its versions, the server's engine.rest")
    parser.add_argument(
        "--max-tokens", type=count, default=16_000_000, metavar="N", help="of each scope, the newest (default: 16000000)"
    )


def topics_flags(parser: Parser) -> None:
    parser.add_argument("--partitions", type=count, default=4, metavar="N", help="of the traffic (default: 4)")
    parser.add_argument("--replication", type=count, default=1, metavar="N", help="copies of every topic (default: 1)")
    parser.add_argument(
        "--retention-hours", type=count, default=720, metavar="H", help="for which traces are kept (default: 720, thirty days)"
    )
    parser.add_argument(
        "--retention-bytes", type=int, default=-1, metavar="N", help="kept of each partition (default: -1, as many as age allows)"
    )


def registry_flags(parser: Parser) -> None:
    parser.add_argument("action", choices=("rebuild",), help="make it anew from the manifests beside the weights")


def traffic_flags(parser: Parser) -> None:
    parser.add_argument(
        "files", type=Path, nargs="*", metavar="FILE", help="JSON lines of prompts, plain or gzipped; none: the project's own"
    )
    parser.add_argument(
        "--url", default="http://127.0.0.1:8000/v1", metavar="URL", help="of the API (default: http://127.0.0.1:8000/v1)"
    )
    parser.add_argument("--api-key-file", type=Path, metavar="FILE", help="file that holds the API key")
    parser.add_argument("--model", default="", metavar="NAME", help="to ask for (default: the one that is served)")
    parser.add_argument("--rate", type=rate, metavar="R", help="requests a second, however long answers take")
    parser.add_argument("--even", action="store_true", help="with --rate: at even distances, not as strangers come")
    parser.add_argument("--concurrency", type=count, metavar="N", help="requests under way at once, a new one for each that ends")
    parser.add_argument(
        "--timetable",
        default="",
        metavar="DOMAINS:SECONDS,…",
        help="which domains, for how long: stories+dialogue:300,sql:600,math (default: all, without end)",
    )
    parser.add_argument("--seconds", type=quantity, metavar="S", help="stop after this long")
    parser.add_argument("--requests", type=count, metavar="N", help="stop after so many")
    parser.add_argument("--temperature", type=quantity, default=0.8, metavar="T", help="of the answers (default: 0.8)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of prompts, order and answers (default: 0)")
    json_flag(parser)
