"""Verbs that run something: server, trainer, draft worker, the demo."""

from __future__ import annotations

from cli import calls, flags
from cli.verbs.verb import EVERY_SECTION, Verb

RUNNING = (
    Verb(
        name="up",
        summary="server and trainer together; Ctrl-C stops both",
        story="""
Runs `serve` and `train` as two processes and shows what both say. One that crashes is started again; Ctrl-C
or SIGTERM stops both cleanly: answers finish, the traffic log is flushed, the trainer saves where it is.
""",
        examples=("everdraft up", "everdraft up --target ./my-model --port 9000 --data /srv/everdraft"),
        run=calls.up,
        sections=EVERY_SECTION,
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
)
