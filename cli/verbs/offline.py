"""Verbs that need no server: what drafts are worth, and what is made of a target's answers."""

from __future__ import annotations

from cli import calls, flags
from cli.verbs.verb import Verb

OFFLINE = (
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
)
