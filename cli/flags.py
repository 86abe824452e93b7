"""Flags: those of single verbs, and those that every option of the configuration has."""

from __future__ import annotations

import argparse
import math
from collections.abc import Collection, Mapping
from datetime import datetime
from pathlib import Path
from typing import get_args

from cli.options import NO_FLAG, SECTIONS, Option, options
from cli.values import to_text
from pipelines.registry import Kind
from speculator.ssd.address import Address

Parser = argparse.ArgumentParser


def add_config_flags(parser: Parser, sections: Collection[str]) -> None:
    """`--config FILE` and a flag for every option; help shows those of `sections`.

    The others are taken too, so that one set of flags does for all verbs, as one file and one environment do.
    """
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="TOML file with a section for each group below (EVERDRAFT_CONFIG)",
    )
    for section in SECTIONS:
        group = parser.add_argument_group(f"[{section}]" if section else "where everything is kept")
        for option in options():
            if option.section == section:
                _add_option(group, option, shown=section in sections)


def _add_option(group: argparse._ArgumentGroup, option: Option, *, shown: bool) -> None:
    default = to_text(option.default)
    text = f"{option.help} (default: {default})" if default else option.help
    text = text.replace("%", "%%") if shown else argparse.SUPPRESS
    metavar = option.field.upper()
    if option.key not in NO_FLAG:
        group.add_argument(option.flag, dest=_dest(option.name), metavar=metavar, help=text)
        text = f"file that holds {option.flag}" if shown else text
    if option.secret:
        group.add_argument(f"{option.flag}-file", dest=_dest(f"{option.name}_file"), metavar="FILE", help=text)


def given_config_flags(args: argparse.Namespace) -> dict[str, str]:
    """What of the configuration was given as flags, by `Option.name`."""
    found = {name.removeprefix(_DEST): text for name, text in vars(args).items() if name.startswith(_DEST)}
    return {name: text for name, text in found.items() if text is not None}


_DEST = "option "


def _dest(name: str) -> str:
    """Where argparse keeps an option's text: apart from the verbs' own flags, whatever these are called."""
    return _DEST + name


def as_words(file: Path | None, flags: Mapping[str, str]) -> tuple[str, ...]:
    """The same flags as words of a command line."""
    words = ["--config", str(file)] if file is not None else []
    return (*words, *(f"--{name.replace('_', '-')}={text}" for name, text in flags.items()))


def count(text: str) -> int:
    """A number of things, of which there is at least one."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} given, expected at least 1")
    return number


def layers(text: str) -> tuple[int, ...]:
    """Layers of a model, counted from 0."""
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} given, expected numbers such as 0,5") from None


def quantity(text: str) -> float:
    """A temperature, or a number of seconds."""
    number = float(text)
    if not (math.isfinite(number) and number >= 0):
        raise argparse.ArgumentTypeError(f"{text} given, expected 0 or more")
    return number


def rate(text: str) -> float:
    """A number of things a second."""
    number = float(text)
    if not (math.isfinite(number) and number > 0):
        raise argparse.ArgumentTypeError(f"{text} given, expected more than 0")
    return number


def share(text: str) -> float:
    """A part of the whole."""
    number = float(text)
    if not 0 < number < 1:
        raise argparse.ArgumentTypeError(f"{text} given, expected more than 0 and less than 1")
    return number


def moment(text: str) -> float:
    """A date, a time of a date, or Unix seconds; as Unix seconds."""
    try:
        return quantity(text)
    except ValueError:
        pass
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text} given, expected a time such as 2026-01-31T18:00, or Unix seconds") from None


def offsets(text: str) -> dict[int, int]:
    """Offsets by partition: `7`, of the only one, or `0:7,1:9`."""
    try:
        pairs = [part.split(":") for part in text.split(",")]
        found = {int(pair[0]) if len(pair) == 2 else 0: int(pair[-1]) for pair in pairs}
    except ValueError:
        found = {}
    if not found or len(found) < len(pairs) or min(min(found), *found.values()) < 0:
        raise argparse.ArgumentTypeError(f"{text} given, expected an offset, or partition:offset,…")
    return found


def address(text: str) -> Address:
    """An argument that is an address of a server of ours."""
    try:
        return Address.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r}, expected {error}") from None


def no_flags(parser: Parser) -> None:
    """For verbs that the configuration alone tells what to do."""


def json_flag(parser: Parser) -> None:
    parser.add_argument("--json", action="store_true", help="JSON for programs, not a table for people")


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
        "+; may be repeated (default: the first three, as far as they are there)",
    )
    parser.add_argument("--limit", type=count, default=200, metavar="N", help="texts (default: 200)")
    parser.add_argument("--nodes", type=count, metavar="N", help="drafted a step (default: trainer.budget)")
    parser.add_argument("--tenant", metavar="NAME", help="of the traffic log, only this tenant's")
    parser.add_argument("--temperature", type=quantity, default=0.0, metavar="T", help="of the answers to prompts (default: 0)")
    json_flag(parser)


def answers_flags(parser: Parser) -> None:
    _lesson_flags(parser, "1500")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="a new file; gzipped if named .gz")
    parser.add_argument("--max-tokens", type=count, default=96, metavar="N", help="of answers to prompts of files (default: 96)")
    parser.add_argument(
        "--every-turn",
        action="store_true",
        help="play recorded conversations again: each turn of the user's is answered, behind the target's own answers to those "
        "before (default: one answer of each, behind those recorded)",
    )


def _lesson_flags(parser: Parser, limit: str) -> None:
    """What is learnt from. limit: the default, in words."""
    parser.add_argument(
        "files",
        type=Path,
        nargs="*",
        metavar="FILE",
        help="JSON lines of prompts, or of the target's `answers`; none: the project's own stories and dialogues",
    )
    parser.add_argument("--limit", type=count, metavar="N", help=f"answers (default: {limit})")
    parser.add_argument(
        "--temperature", type=quantity, default=0.8, metavar="T", help="of the answers (default: 0.8; greedy ones may loop)"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of prompts, answers and training (default: 0)")


DAYZERO = (
    *("steps", "seconds", "num_heads", "num_blocks"),
    *("from_layers", "hidden_size", "intermediate_size", "num_layers", "num_attention_heads", "num_kv_heads"),
)
"""Flags of `dayzero` that set what is learnt, and how long."""


def dayzero_flags(parser: Parser) -> None:
    _lesson_flags(parser, "1500, for a draft model 4000")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--out", type=Path, metavar="DIR", help="write them here, for --engine-heads or --engine-draft")
    where.add_argument("--publish", action="store_true", help="make them champion at the registry")
    parser.add_argument(
        "--kind", choices=get_args(Kind), default="medusa", help="heads, an eagle layer or a draft model (default: medusa)"
    )
    parser.add_argument("--steps", type=count, metavar="N", help="of training, at most (default: 2000, for a draft model 6000)")
    parser.add_argument("--seconds", type=quantity, metavar="S", help="of training, at most (default: 3600)")
    of_heads = parser.add_argument_group("with --kind medusa or hydra")
    of_heads.add_argument("--num-heads", type=count, metavar="N", help="tokens guessed ahead (default: 4)")
    of_heads.add_argument("--num-blocks", type=count, metavar="N", help="medusa: residual blocks of each head (default: 1)")
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
