"""The verbs of the command line: what each is for, how it is used, and where it is done."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cli import calls, flags, slot_flags
from cli.calls import Call
from cli.errors import Exit
from cli.flags import Parser

_EVERY_SECTION = ("", "target", "server", "engine", "rollout", "traffic", "registry", "trainer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Verb:
    """One story of the command line."""

    name: str
    summary: str
    story: str
    examples: tuple[str, ...]
    run: Callable[[Call], Exit | None]
    """None: it went well."""
    usage: str = "[flags]"
    arguments: Callable[[Parser], None] = flags.no_flags
    sections: tuple[str, ...] = ("", "registry")
    """Those of the configuration that matter to it: their options are shown as its flags."""


VERBS = (
    Verb(
        name="up",
        summary="server and trainer together; Ctrl-C stops both",
        story="""
Runs `serve` and `train` as two processes and shows what both say. One that crashes is started again; Ctrl-C
or SIGTERM stops both cleanly: answers finish, the traffic log is flushed, the trainer saves where it is.
""",
        examples=("everdraft up", "everdraft up --target ./my-model --port 9000 --data /srv/everdraft"),
        run=calls.up,
        sections=_EVERY_SECTION,
    ),
    Verb(
        name="serve",
        summary="the OpenAI-compatible server",
        story="""
Serves the target with speculative decoding. What it answers goes into the traffic log, if the request and its
tenant allow; newer speculator weights are swapped in as they are published. Ctrl-C or SIGTERM lets answers
finish; a second one does not.
""",
        examples=(
            "everdraft serve",
            "everdraft serve --target Qwen/Qwen3-0.6B --revision COMMIT --device cuda --dtype bfloat16",
            "EVERDRAFT_API_KEYS_FILE=keys everdraft serve --host 0.0.0.0   # lines of key=tenant",
        ),
        run=calls.serve,
        sections=("", "target", "server", "engine", "rollout", "traffic", "registry"),
    ),
    Verb(
        name="train",
        summary="learns from the traffic, publishes what passes the gate",
        story="""
Follows the traffic log, distils the heads against the target, judges each candidate against the champion on
conversations that neither learnt from, and publishes those that are better. Beside a server on one machine it
works in short slices, in idle time first. Ctrl-C or SIGTERM saves where it is; killed, it goes on from the last
saving, and no trace counts twice. With --trainer-kind draft-lm it does the same for the draft language model; a
trainer of each kind may run at the same time.
""",
        examples=(
            "everdraft train",
            "everdraft train --trainer-device cuda:1 --data /srv/everdraft",
            "everdraft train --trainer-kind draft-lm   # beside the other",
        ),
        run=calls.train,
        sections=("", "target", "traffic", "registry", "trainer"),
    ),
    Verb(
        name="draft-worker",
        summary="drafts for a server of another host",
        story="""
Dials the server that waits for it (`engine.ssd_listen` there), is told its draft model and drafts on this host's
cores or device while the server verifies. When the server is gone it dials again, until it is ended itself. What the
two say is not encrypted, and gloo opens further ports between them: both belong in a network of your own.
""",
        examples=(
            "everdraft draft-worker --connect 10.0.0.5:7000",
            "everdraft draft-worker --connect 10.0.0.5:7000 --on cuda:0",
        ),
        usage="--connect HOST:PORT [flags]",
        run=calls.draft_worker,
        arguments=flags.draft_worker_flags,
        sections=(),
    ),
    Verb(
        name="demo",
        summary="the whole loop on this machine, with a report",
        story="""
Starts a server and a trainer on a folder of their own, sends them traffic that shifts from one pair of domains
to another, and watches the speculator catch up: at most eight minutes on two cores. Ends with an HTML page and
a JSON of the figures, and with exit code 1 unless all of its four claims hold.
""",
        examples=("everdraft demo", "everdraft demo --prompts stories.jsonl.gz dialogue.jsonl.gz sql.jsonl.gz math.jsonl.gz"),
        run=calls.demo,
        arguments=flags.demo_flags,
        sections=("target", "engine", "trainer"),
    ),
    Verb(
        name="status",
        summary="what is in service, who runs, what is being learnt",
        story="""
Shows for each slot the champion and its generation, the processes that reported lately with their figures,
the end of the traffic log, open retrainings and the latest events.
""",
        examples=("everdraft status", "everdraft status --json"),
        run=calls.status,
        arguments=flags.json_flag,
        sections=("", "traffic", "registry"),
    ),
    Verb(
        name="versions",
        summary="what was published, and what it gained",
        story="""
Lists the versions of the speculator, oldest first: parent, traces learnt from, and what the gate found when
it judged them against the champion of the time.
""",
        examples=("everdraft versions", "everdraft versions --kind draft-lm --json"),
        run=calls.versions,
        arguments=slot_flags.versions_flags,
    ),
    Verb(
        name="retrain",
        summary="ask the trainer for a run now",
        story="""
Queues a retraining; if one is open already, that one. With --wait it shows each state and ends with 0 for a version
that passed the gate, 3 for turned away by it, 1 for failed, 5 for timed out. Traces that --since and --from-offsets ask
for are studied as far as the trainer still keeps them.
""",
        examples=(
            "everdraft retrain --reason 'new prompt format'",
            "everdraft retrain --full --since 2026-01-31 --promote canary",
            "everdraft retrain --wait --timeout 600",
        ),
        run=calls.retrain,
        arguments=slot_flags.retrain_flags,
        sections=("", "target", "registry"),
    ),
    Verb(
        name="runs",
        summary="the retrainings that were asked for, and what became of them",
        story="""
Lists runs, newest first: queued, collecting, training, judging; then candidate, canary and champion for one whose
version passed the gate, or rejected, rolled_back, failed, cancelled.
""",
        examples=("everdraft runs", "everdraft runs run-1f2e3d4c5b6a --cancel"),
        usage="[RUN] [flags]",
        run=calls.runs,
        arguments=slot_flags.runs_flags,
    ),
    Verb(
        name="promote",
        summary="make a version champion by hand",
        story="""
Makes a recorded version champion, whether it passed the gate or not; the champion before becomes previous. What was
rolled back stays out.
""",
        examples=("everdraft promote 5b7eb7fa", "everdraft promote 5b7eb7fa --expected-generation 7"),
        usage="VERSION [flags]",
        run=calls.promote,
        arguments=slot_flags.promote_flags,
    ),
    Verb(
        name="canary",
        summary="let a version serve a share of the requests",
        story="""
Makes a recorded version the candidate, and lets it draft for a share of the requests, or on a share of the replicas,
both chosen by hash. The servers promote it when it is not worse than the champion on the requests of the same time,
and throw it out when it is.
""",
        examples=("everdraft canary 5b7eb7fa", "everdraft canary 5b7eb7fa --share 0.5 --of replicas"),
        usage="VERSION [flags]",
        run=calls.canary,
        arguments=slot_flags.canary_flags,
    ),
    Verb(
        name="rollback",
        summary="take the champion, or a canary, out of service",
        story="""
Makes the version before the champion champion again; or, with the candidate's name, takes that out of service. It
and everything trained from it are quarantined: they are never published again, and the trainer starts from the
champion.
""",
        examples=(
            "everdraft rollback",
            "everdraft rollback --expected-generation 7 --reason 'slower on code'",
            "everdraft rollback --kind draft-lm",
        ),
        usage="[VERSION] [flags]",
        run=calls.rollback,
        arguments=slot_flags.rollback_flags,
    ),
    Verb(
        name="pause",
        summary="let the trainer rest until `resume`",
        story="""
The trainer goes on reading along and keeps what it has learnt, but neither trains nor judges.
""",
        examples=("everdraft pause --reason 'the accelerator is needed'",),
        run=calls.pause,
        arguments=slot_flags.switch_flags,
    ),
    Verb(
        name="resume",
        summary="let a paused trainer go on",
        story="""
The opposite of `pause`.
""",
        examples=("everdraft resume",),
        run=calls.resume,
        arguments=slot_flags.switch_flags,
    ),
    Verb(
        name="speculation",
        summary="switch drafting off, or on again, on every replica",
        story="""
The kill switch: off, every server decodes plainly from its next poll on. The text is the same either way.
""",
        examples=("everdraft speculation off --reason 'to compare'", "everdraft speculation on"),
        usage="{on,off} [flags]",
        run=calls.speculation,
        arguments=slot_flags.speculation_flags,
    ),
    Verb(
        name="audit",
        summary="what was done by hand, and by whom",
        story="""
Lists what was done or refused through the command line and the admin API, newest first, and what servers decided by
themselves about a canary.
""",
        examples=("everdraft audit", "everdraft audit --json --limit 100"),
        run=calls.audit,
        arguments=slot_flags.audit_flags,
    ),
    Verb(
        name="replay",
        summary="what drafts would have been worth, without a server",
        story="""
Serves texts again with one source of drafts after another: the newest of the traffic log, or prompts that the
target answers first. Shows tokens per step and how deep drafts were accepted, by domain and source.
""",
        examples=(
            "everdraft replay",
            "everdraft replay sql.jsonl math.jsonl --with static --with static+suffix --limit 100",
        ),
        usage="[FILE …] [flags]",
        run=calls.replay,
        arguments=flags.replay_flags,
        sections=("", "target", "engine", "traffic", "registry"),
    ),
    Verb(
        name="answers",
        summary="a target's own answers to prompts, kept in a file",
        story="""
Lets the target answer prompts, and writes one trace a line: the data set of self-distillation, made once and learnt from by
every kind of speculator (`dayzero`, `joint`), replayed (`replay`), or sorted for drafting (`datastore`).
""",
        examples=(
            "everdraft answers prompts.jsonl --target ./my-model --out answers.jsonl.gz",
            "everdraft answers chats.jsonl --every-turn --temperature 0.3 --max-tokens 512 --out answers.jsonl",
        ),
        usage="[FILE …] --out FILE [flags]",
        run=calls.answers,
        arguments=flags.answers_flags,
        sections=("", "target", "engine"),
    ),
    Verb(
        name="dayzero",
        summary="first heads, EAGLE layer or draft model, from prompts alone",
        story="""
Lets the target answer prompts and trains heads, an EAGLE layer or a draft language model on what it says, so that a new
target has drafts before it has traffic. They go into a folder, to be served as static weights, or to the registry. Files may
hold the target's answers already, as `answers` writes them; of other traces those that everybody may learn from.
""",
        examples=(
            "everdraft dayzero answers.jsonl.gz --target ./my-model --out ./my-heads",
            "everdraft dayzero prompts.jsonl --target ./my-model --out ./my-heads",
            "everdraft dayzero prompts.jsonl --publish --seconds 600",
            "everdraft dayzero prompts.jsonl --kind hydra --target ./my-model --out ./my-heads",
            "everdraft dayzero prompts.jsonl --kind eagle --target ./my-model --out ./my-heads",
            "everdraft dayzero prompts.jsonl --kind draft-lm --from-layers 0,1,11 --target ./my-model --out ./my-draft",
            "everdraft dayzero prompts.jsonl --kind draft-lm --hidden-size 256 --num-layers 4 --out ./my-draft",
        ),
        usage="[FILE …] (--out DIR | --publish) [flags]",
        run=calls.dayzero,
        arguments=flags.dayzero_flags,
        sections=("", "target", "engine", "registry"),
    ),
    Verb(
        name="joint",
        summary="a new target and its heads, trained together",
        story="""
Trains a copy of the target together with Medusa heads (Medusa-2), so that the heads foresee more, and holds it to what it was
by its divergence from the original. What comes of it is another target, with other answers and a fingerprint of its own:
text is exact against the new one, and everything learnt for the old one starts afresh. How far the two are apart is measured
and told. The folder is an ordinary checkpoint, its heads beside it in `heads`.
""",
        examples=(
            "everdraft joint prompts.jsonl --target ./my-model --out ./my-model-joint",
            "everdraft joint answers.jsonl.gz --target ./my-model --heads-weight 0.05 --out ./my-model-nearer",
        ),
        usage="[FILE …] --out DIR [flags]",
        run=calls.joint,
        arguments=flags.joint_flags,
        sections=("", "target", "engine"),
    ),
    Verb(
        name="export",
        summary="a draft model as an ordinary Hugging Face folder",
        story="""
Writes a draft language model as a causal language model with the target's tokenizer, for transformers (as `assistant_model`),
vLLM, SGLang and whatever else reads such folders.
""",
        examples=(
            "everdraft export static --out ./draft",
            "everdraft export champion --kind draft-lm --target ./my-model --out ./my-draft",
        ),
        usage="VERSION --out DIR [flags]",
        run=calls.export,
        arguments=flags.export_flags,
        sections=("", "target", "engine", "registry"),
    ),
    Verb(
        name="datastore",
        summary="texts to draft from, sorted once",
        story="""
Sorts texts into a datastore, from which a server with `rest` among `engine.sources` drafts what followed before. Texts of
files are everyone's, and so are `answers`; traces of a log, exported ones too, are their tenant's alone. A running server
takes a newer version up by itself, so a timer that runs this keeps it fresh; all but the newest two are deleted.
""",
        examples=(
            "everdraft datastore build --from sqlite:///everdraft-data/traffic.db --out ./datastore",
            "everdraft datastore build --from handbook.jsonl answers.jsonl.gz --out ./datastore",
        ),
        run=calls.datastore,
        usage="build --from URL|FILE … --out DIR [flags]",
        arguments=flags.datastore_flags,
        sections=("", "target"),
    ),
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
        sections=_EVERY_SECTION,
    ),
)
