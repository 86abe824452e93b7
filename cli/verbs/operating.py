"""Verbs that show what is in service and change it."""

from __future__ import annotations

from cli import calls, flags, slot_flags
from cli.verbs.verb import Verb

OPERATING = (
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
)
