"""Replay: a text drafted for again takes the steps that serving it took."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from cli.answers import Text
from cli.errors import Exit
from cli.redraft import redrafted
from models.decoder import Decoder
from models.heads import MedusaHeads
from models.loading import bundled_target, load_tokenizer
from pipelines.trace import TYPICAL
from serving.engine import Engine, FixedBudget
from serving.messages import Request
from speculator.batch import Batch, Sampling, Sequence
from speculator.drafts import Drafts, Tree
from speculator.medusa import MedusaSpeculator
from speculator.merged import MergedSpeculator
from speculator.protocol import Budget, Checkpoint, Speculator
from speculator.records import record_of
from speculator.static_heads import heads_of, heads_source, untrained_config
from speculator.suffix import SuffixSpeculator
from speculator.verify import Verdicts
from tests.cli.commands import Commands, trace_of
from tests.models.families import save_model
from tests.serving.rig import VOCAB, tiny_decoder, tiny_scheduler, tiny_target

NODES = 6


def suffix(decoder: Decoder) -> Speculator:
    return SuffixSpeculator(max_tree=NODES)


def heads(decoder: Decoder) -> Speculator:
    """Heads near the identity: they expect the target's choice again, which a small random target often makes."""
    module = MedusaHeads(decoder.config.hidden_size, 3, 1, VOCAB)
    return MedusaSpeculator(module, decoder.logits, name="medusa", version="v", max_tree=NODES)


def hydra(decoder: Decoder) -> Speculator:
    module = heads_of("hydra", untrained_config("hydra", decoder.config, num_heads=3), decoder)
    return heads_source(module, decoder.logits, name="hydra", version="v", max_tree=NODES)


def served(speculator: Speculator, decoder: Decoder) -> Iterator[tuple[Text, int]]:
    """Texts that an engine wrote with one source drafting, one after another, with the steps each took."""
    target = tiny_target(decoder)
    engine = Engine(target, tiny_scheduler(target), MergedSpeculator([speculator], max_tree=NODES), FixedBudget(NODES))
    rng = random.Random(5)
    for number in range(1, 13):
        prompt = tuple(rng.randrange(VOCAB) for _ in range(rng.randrange(2, 12)))
        engine.submit(Request(id=number, prompt_ids=prompt, max_tokens=24, temperature=0.5, seed=number % 4))
        said: list[int] = []
        num_steps = 0
        while engine.has_work:
            for moved in engine.step():
                said += moved.token_ids
                num_steps += moved.nodes >= 0
        sampling = Sampling(temperature=0.5, seed=number % 4)
        yield Text("d", "default", (*prompt, *said), len(prompt), sampling), num_steps


@pytest.mark.parametrize("source", [suffix, heads, hydra])
def test_a_replay_takes_exactly_the_steps_that_serving_took(source: Callable[[Decoder], Speculator]) -> None:
    decoder = tiny_decoder()
    texts, num_steps = zip(*served(source(decoder), decoder), strict=True)
    fresh = MergedSpeculator([source(decoder)], max_tree=NODES)  # merging calibrates, as it did in the engine
    again = [each for _, each in redrafted(fresh, decoder, texts, NODES)]
    assert [each.num_steps for each in again] == list(num_steps)
    assert sum(num_steps) < sum(len(text.output_ids) - 1 for text in texts), "nothing was ever accepted"


@dataclass
class Witness:
    """Drafts the next token that it was told beforehand, and notes what it is shown."""

    answers: dict[int, list[int]]
    shown: list[list[int]] = field(default_factory=list)
    ended: list[list[int]] = field(default_factory=list)

    name = "witness"
    version = "1"
    needs_hidden = False
    needs_layers: tuple[int, ...] = ()

    def begin(self, sequence: Sequence) -> None: ...

    def propose(self, batch: Batch, budget: Budget) -> Drafts:
        (sequence,) = batch.decoding
        self.shown.append(list(sequence.tokens))
        tree = Tree.rooted(sequence.tokens[-1])
        following = self.answers[sequence.id][len(sequence.tokens) :][:1]
        for token in following:
            tree.add(0, token, 1.0, 1)
        return Drafts.pack([tree], (self.name,), {self.name: "1"})

    def verifying(self, batch: Batch, drafts: Drafts) -> None: ...

    def observe(self, batch: Batch, drafts: Drafts, verdicts: Verdicts) -> None: ...

    def end(self, sequence: Sequence) -> None:
        self.ended.append(list(sequence.tokens))

    def load(self, checkpoint: Checkpoint) -> None: ...

    def cost(self, rows: int) -> float:
        return 0.0


def test_a_source_sees_no_token_before_its_step_and_the_whole_text_in_the_end() -> None:
    text = Text("d", "default", (1, 2, 3, 4, 5, 6, 7), 2)
    witness = Witness({1: list(text.tokens)})
    ((_, again),) = redrafted(witness, tiny_decoder(), [text], 4)
    assert witness.shown == [[1, 2, 3], [1, 2, 3, 4, 5]]
    assert witness.ended == [list(text.tokens)]
    assert (again.num_tokens, again.num_steps) == (4, 2)
    assert again.accepted == (2,)


def test_an_answer_of_one_token_took_no_step() -> None:
    text = Text("d", "default", (1, 2), 1)
    ((_, again),) = redrafted(Witness({}), tiny_decoder(), [text], 4)
    assert again.num_steps == 0


@pytest.mark.slow
def test_recorded_traffic_is_replayed_by_domain_and_source(everdraft_command: Commands) -> None:
    import msgspec

    from models.loading import load_target

    target = load_target(str(bundled_target()))
    tokenizer = load_tokenizer(str(bundled_target()))
    repeated = tuple(tokenizer.encode("one two three four. " * 6))
    traces = [
        msgspec.structs.replace(trace_of(f"{domain}{n}", tenant), target=target.fingerprint, domain=domain, output_ids=ids)
        for domain, tenant, ids in (("loop", "a", repeated), ("talk", "b", repeated[:8]))
        for n in range(2)
    ]
    lossy = msgspec.structs.replace(traces[0], trace_id="lossy", sampling=record_of(Sampling(lossy=TYPICAL)))
    everdraft_command.log([*traces, trace_of("another target's"), lossy])
    outcome = everdraft_command("replay", "--with", "suffix", "--json")
    assert outcome.code == Exit.OK, outcome.err
    rows = {row["domain"]: row for row in json.loads(outcome.out)}
    assert set(rows) == {"loop", "talk", "everything", "no loops"}
    assert rows["everything"]["num_texts"] == 4
    assert rows["no loops"]["num_texts"] == 2
    assert rows["loop"]["tokens_per_step"] > 2, "the second round of a loop is known from the first"
    one = json.loads(everdraft_command("replay", "--with", "suffix", "--json", "--tenant", "b").out)
    assert [row["domain"] for row in one] == ["everything"]
    table = everdraft_command("replay", "--with", "suffix").out
    assert "tokens/step" in table
    assert everdraft_command("replay", "--with", "champion").code == Exit.NOT_THERE
    assert everdraft_command("replay", "--with", "suffix", "--tenant", "nobody").code == Exit.NOT_THERE


@pytest.mark.slow
def test_the_champion_that_is_replayed_is_of_the_kind_that_is_served(everdraft_command: Commands, tmp_path: Path) -> None:
    save_model("llama-tied", tmp_path / "target")
    prompts = tmp_path / "some.jsonl"
    prompts.write_text("\n".join(json.dumps({"prompt": f"say {n}"}) for n in range(6)))
    of_target = (str(prompts), "--target", str(tmp_path / "target"))
    champion = {}
    for kind in ("medusa", "eagle"):
        made = everdraft_command("dayzero", *of_target, "--kind", kind, "--publish", "--steps", "1")
        assert made.code == Exit.OK, made.err
        champion[kind] = made.out.split()[1].strip(":")
    for sources, kind in (("eagle,suffix", "eagle"), ("suffix", "medusa"), ("medusa,eagle", "medusa")):
        outcome = everdraft_command("replay", *of_target, "--engine-sources", sources, "--limit", "1", "--json")
        assert outcome.code == Exit.OK, outcome.err
        versions = {row["source"]: row["version"] for row in json.loads(outcome.out)}
        assert versions["champion"] == champion[kind], sources
