"""From the parsed command line to a verb's own code, which is imported only now: some of it takes seconds."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cli.config import Configuration
from cli.config_flags import as_words
from cli.errors import Exit
from cli.flags import DAYZERO, JOINT
from cli.slots import Wanted

if TYPE_CHECKING:
    from cli.lesson import Lesson


@dataclass(frozen=True, slots=True)
class Call:
    """A verb as it was called."""

    config: Configuration
    args: argparse.Namespace
    """The verb's own flags."""
    file: Path | None
    """The TOML file, if one was given."""
    flags: Mapping[str, str]
    """The flags of the configuration that were given, by `Option.name`."""
    program: tuple[str, ...]
    """The command line of another process that is to run a verb, up to the verb."""


def serve(call: Call) -> Exit | None:
    from cli.serve import serve

    serve(call.config)
    return None


def train(call: Call) -> Exit | None:
    from cli.train import train

    train(call.config)
    return None


def draft_worker(call: Call) -> Exit | None:
    from cli.draft_worker import draft_worker

    draft_worker(call.args.connect, device=call.args.on, threads=call.args.threads)
    return None


def up(call: Call) -> Exit | None:
    from cli.up import up

    return up(call.config, call.program, as_words(call.file, call.flags))


def demo(call: Call) -> Exit | None:
    from cli.demo.options import DemoOptions
    from cli.demo_verb import demo

    args = call.args
    options = DemoOptions(folder=args.out, files=tuple(args.prompts), seed=args.seed)
    return demo(options, program=call.program, flags=call.flags, file=call.file)


def status(call: Call) -> Exit | None:
    from cli.status import status

    status(call.config, as_data=call.args.json)
    return None


def retrain(call: Call) -> Exit | None:
    from cli.retrain import retrain
    from pipelines.registry import RunPlan

    args = call.args
    plan = RunPlan(
        mode="full" if args.full else "incremental",
        since=args.since,
        from_position=args.from_offsets,
        max_steps=args.max_steps or 0,
        promote=args.promote,
    )
    how = {"slot": _wanted(args), "reason": args.reason, "key": args.key, "wait": args.wait, "timeout": args.timeout}
    return retrain(call.config, plan=plan, **how)


def runs(call: Call) -> Exit | None:
    from cli.errors import UsageError
    from cli.runs import runs

    args = call.args
    if args.cancel and args.run is None:
        raise UsageError("--cancel ends one run: which?")
    runs(call.config, args.run, cancel=args.cancel, reason=args.reason, limit=args.limit, as_data=args.json)
    return None


def versions(call: Call) -> Exit | None:
    from cli.versions import versions

    versions(call.config, slot=_wanted(call.args), as_data=call.args.json)
    return None


def promote(call: Call) -> Exit | None:
    from cli.operate import promote

    promote(call.config, call.args.version, **_moving(call.args))
    return None


def canary(call: Call) -> Exit | None:
    from cli.operate import canary

    args = call.args
    canary(call.config, args.version, share=args.share, share_of=args.share_of, **_moving(args))
    return None


def rollback(call: Call) -> Exit | None:
    from cli.operate import rollback

    rollback(call.config, call.args.version, **_moving(call.args))
    return None


def _wanted(args: argparse.Namespace) -> Wanted:
    return Wanted(args.slot, args.kind)


def _moving(args: argparse.Namespace) -> dict[str, Any]:
    return {"slot": _wanted(args), "expected": args.expected_generation, "reason": args.reason, "as_data": args.json}


def pause(call: Call) -> Exit | None:
    return _switched(call, "training", False)


def resume(call: Call) -> Exit | None:
    return _switched(call, "training", True)


def speculation(call: Call) -> Exit | None:
    return _switched(call, "speculation", call.args.on == "on")


def _switched(call: Call, which: Literal["training", "speculation"], on: bool) -> Exit | None:
    from cli.operate import switch

    switch(call.config, which, on, slot=_wanted(call.args), reason=call.args.reason, as_data=call.args.json)
    return None


def audit(call: Call) -> Exit | None:
    from cli.audit import audit

    audit(call.config, limit=call.args.limit, as_data=call.args.json)
    return None


def replay(call: Call) -> Exit | None:
    from cli.replay import Texts, replay

    args = call.args
    texts = Texts(files=tuple(args.files), tenant=args.tenant, limit=args.limit, temperature=args.temperature)
    replay(call.config, names=args.sources, texts=texts, num_nodes=args.nodes, as_data=args.json)
    return None


def answers(call: Call) -> Exit | None:
    from cli.answers_verb import answers

    args = call.args
    lesson = replace(_lesson(args), max_tokens=args.max_tokens, every_turn=args.every_turn)
    answers(call.config, lesson, args.out)
    return None


def dayzero(call: Call) -> Exit | None:
    from cli.dayzero import dayzero

    args = call.args
    dayzero(call.config, _lesson(args), kind=args.kind, out=args.out, given=_given(args, DAYZERO))
    return None


def joint(call: Call) -> Exit | None:
    from cli.joint import joint

    args = call.args
    joint(call.config, _lesson(args), out=args.out, given=_given(args, JOINT))
    return None


def _lesson(args: argparse.Namespace) -> Lesson:
    from cli.lesson import Lesson

    return Lesson(files=tuple(args.files), limit=args.limit, temperature=args.temperature, seed=args.seed)


def _given(args: argparse.Namespace, names: Collection[str]) -> dict[str, Any]:
    """Of these flags those that were given."""
    return {name: value for name, value in vars(args).items() if name in names and value is not None}


def export(call: Call) -> Exit | None:
    from cli.export import export

    export(call.config, call.args.version, call.args.out)
    return None


def tenant(call: Call) -> Exit | None:
    from cli.tenant import export, purge

    args = call.args
    if args.action == "export":
        export(call.config, args.name, args.out)
    else:
        purge(call.config, args.name, sure=args.yes)
    return None


def datastore(call: Call) -> Exit | None:
    from cli.datastore import build_datastore

    build_datastore(call.config, call.args.sources, call.args.out, max_tokens=call.args.max_tokens)
    return None


def traffic(call: Call) -> Exit | None:
    from cli.traffic import Load, traffic

    args = call.args
    load = Load(
        url=args.url,
        api_key=args.api_key_file.read_text().strip() if args.api_key_file else "",
        model=args.model,
        files=tuple(args.files),
        timetable=args.timetable,
        rate=args.rate,
        even=args.even,
        concurrency=args.concurrency,
        seconds=args.seconds,
        requests=args.requests,
        temperature=args.temperature,
        seed=args.seed,
    )
    traffic(load, as_data=args.json)
    return None


def topics(call: Call) -> Exit | None:
    from cli.topics import topics
    from pipelines.kafka_log.topics import TopicPlan

    args = call.args
    plan = TopicPlan(
        partitions=args.partitions,
        replication=args.replication,
        retention_hours=args.retention_hours,
        retention_bytes=args.retention_bytes,
    )
    topics(call.config, plan)
    return None


def registry(call: Call) -> Exit | None:
    from cli.registry import rebuild

    rebuild(call.config)
    return None


def config(call: Call) -> Exit | None:
    from cli.show_config import show_config

    show_config(call.config, as_data=call.args.json)
    return None
