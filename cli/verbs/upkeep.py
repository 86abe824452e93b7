"""Verbs for what is kept, what a server is sent, and how it is configured."""

from __future__ import annotations

from cli import calls, flags
from cli.verbs.verb import EVERY_SECTION, Verb

UPKEEP = (
    Verb(
        name="tenant",
        summary="hand out or delete what is kept of a tenant",
        story="""
`export` writes a tenant's traces, one JSON object a line; `purge` deletes them for good, and with them its texts in the
datastore (`engine.rest`), and tells running servers to forget what their sources remember of it.
""",
        examples=("everdraft tenant export acme --out acme.jsonl", "everdraft tenant purge acme --yes"),
        run=calls.tenant,
        usage="{export,purge} TENANT [flags]",
        arguments=flags.tenant_flags,
        sections=("", "engine", "traffic", "registry"),
    ),
    Verb(
        name="traffic",
        summary="send a server traffic, at a rate or a concurrency",
        story="""
Sends prompts of the project's own domains, or of files, with the official client: at a rate that the server does
not decide (--rate), or so many at once (--concurrency). A timetable says when traffic shifts. Shows every five
seconds what came of it, and in the end requests, failures, rate, latency and tokens a step.
""",
        examples=(
            "everdraft traffic --rate 2 --timetable stories+dialogue:300,sql+math",
            "everdraft traffic sql.jsonl.gz math.jsonl.gz --concurrency 8 --timetable sql:120,math:120 --json",
        ),
        usage="[FILE …] (--rate R | --concurrency N) [flags]",
        run=calls.traffic,
        arguments=flags.traffic_flags,
        sections=(),
    ),
    Verb(
        name="registry",
        summary="make a lost registry anew",
        story="""
`rebuild` records every version whose manifest lies in the checkpoint store, and makes the newest that passed the
gate champion where a slot has none. What the registry knows already stays as it is. Manifests do not tell of
rollbacks: a version that was rolled back has to be rolled back again.
""",
        examples=("everdraft registry rebuild", "everdraft registry rebuild --registry redis://redis:6379/0"),
        usage="rebuild [flags]",
        run=calls.registry,
        arguments=flags.registry_flags,
    ),
    Verb(
        name="topics",
        summary="make the topics of a traffic log on Kafka",
        story="""
Makes the topic of the traffic, and beside it `<topic>.dead` for records that nobody can read and `<topic>.purges`
for deleted tenants. What exists is left as it is. To be run once, before the first server and trainer.
""",
        examples=("everdraft topics --traffic kafka://broker:9092/traffic", "everdraft topics --partitions 12 --replication 3"),
        run=calls.topics,
        arguments=flags.topics_flags,
        sections=("", "traffic"),
    ),
    Verb(
        name="config",
        summary="the configuration in effect, and where each value came from",
        story="""
Shows every option under the name it has in the TOML file, its value, what set it, and the environment
variable that would.
""",
        examples=("everdraft config", "everdraft config --config everdraft.toml --port 9000"),
        run=calls.config,
        arguments=flags.json_flag,
        sections=EVERY_SECTION,
    ),
)
