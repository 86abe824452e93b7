"""A tiny random target with real pages, and a speculator that drafts adversarially: what the engine's tests run on."""

from __future__ import annotations

import random
from collections.abc import Sequence as SequenceOf

import torch

from models.config import DecoderConfig
from models.decoder import Decoder
from models.pages import PagePool
from models.rope import RopeConfig
from serving.engine import Engine
from serving.messages import Moved, Request
from serving.scheduler import Scheduler
from serving.target import Target
from speculator.batch import Batch, Sequence
from speculator.drafts import Drafts, Tree
from speculator.merged import MergedSpeculator
from speculator.protocol import Budget, Checkpoint, Speculator
from speculator.verify import Verdicts

VOCAB = 48
MAX_TREE = 12
"""Most nodes of a draft."""


def tiny_config(**changes: object) -> DecoderConfig:
    values: dict[str, object] = {
        "architecture": "LlamaForCausalLM",
        "vocab_size": VOCAB,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_layers": 2,
        "num_heads": 4,
        "num_kv_heads": 2,
        "head_dim": 8,
        "max_positions": 256,
        "norm_eps": 1e-5,
        "rope": RopeConfig(theta=10000.0),
        "tie_embeddings": True,
    }
    return DecoderConfig(**{**values, **changes})  # type: ignore[arg-type]


def tiny_decoder(
    seed: int = 0,
    scale: float = 0.3,
    dtype: torch.dtype = torch.float32,
    vocab_size: int = VOCAB,
    *,
    quantised: bool = False,
) -> Decoder:
    """Random weights, large enough that the logits spread and near-ties are rare. dtype: what their numbers are rounded to."""
    config = tiny_config(vocab_size=vocab_size)
    generator = torch.Generator().manual_seed(seed)

    def random_weight(*shape: int) -> torch.Tensor:
        return (torch.randn(*shape, generator=generator) * scale).to(dtype).float()

    hidden, kv, inner = config.hidden_size, config.num_kv_heads * config.head_dim, config.intermediate_size
    weights = {
        "model.embed_tokens.weight": random_weight(vocab_size, hidden),
        "model.norm.weight": torch.ones(hidden),
    }
    for index in range(config.num_layers):
        prefix = f"model.layers.{index}"
        weights |= {
            f"{prefix}.input_layernorm.weight": torch.ones(hidden),
            f"{prefix}.post_attention_layernorm.weight": torch.ones(hidden),
            f"{prefix}.self_attn.q_proj.weight": random_weight(hidden, hidden),
            f"{prefix}.self_attn.k_proj.weight": random_weight(kv, hidden),
            f"{prefix}.self_attn.v_proj.weight": random_weight(kv, hidden),
            f"{prefix}.self_attn.o_proj.weight": random_weight(hidden, hidden),
            f"{prefix}.mlp.gate_proj.weight": random_weight(inner, hidden),
            f"{prefix}.mlp.up_proj.weight": random_weight(inner, hidden),
            f"{prefix}.mlp.down_proj.weight": random_weight(hidden, inner),
        }
    return Decoder(config, weights, torch.float32, torch.device("cpu"), quantised=quantised)


def tiny_target(decoder: Decoder | None = None, num_pages: int = 64, page_size: int = 4) -> Target:
    return Target(decoder or tiny_decoder(), PagePool(num_pages, page_size))


def tiny_scheduler(target: Target, **limits: int) -> Scheduler:
    return Scheduler(target.pool, **{"max_tree": MAX_TREE, "max_prompt_tokens": 7, **limits})


class GuessingSpeculator:
    """Random trees, salted with what plain decoding is known to emit, so that drafts are accepted at every depth and also not.

    answers: sequence id -> the tokens plain decoding emits; may be empty.
    """

    name = "guessing"
    version = "guess-1"
    needs_hidden = False
    needs_layers: tuple[int, ...] = ()

    def __init__(
        self, answers: dict[int, tuple[int, ...]], seed: int, max_nodes: int = 12, hit_rate: float = 0.6
    ) -> None:
        self._answers = answers
        self._random = random.Random(seed)
        self._max_nodes = max_nodes
        self._hit_rate = hit_rate
        self.num_accepted = 0

    def begin(self, sequence: Sequence) -> None: ...

    def propose(self, batch: Batch, budget: Budget) -> Drafts:
        return Drafts.pack(
            [self._tree(sequence) for sequence in batch.decoding], (self.name,), {self.name: self.version}
        )

    def verifying(self, batch: Batch, drafts: Drafts) -> None: ...

    def observe(self, batch: Batch, drafts: Drafts, verdicts: Verdicts) -> None:
        self.num_accepted += sum(len(path) for path in verdicts.accepted)

    def end(self, sequence: Sequence) -> None: ...

    def load(self, checkpoint: Checkpoint) -> None:
        self.version = checkpoint.manifest.version

    def cost(self, rows: int) -> float:
        return 0.0

    def _tree(self, sequence: Sequence) -> Tree:
        tree = Tree.rooted(sequence.tokens[-1])
        if not sequence.speculative or sequence.num_left <= 1:
            return tree
        answer = self._answers.get(sequence.id, ())
        true_path = [0]
        for _ in range(self._random.randint(0, self._max_nodes)):
            on_path = self._random.random() < self._hit_rate
            parent = true_path[-1] if on_path else self._random.randrange(len(tree))
            if tree.depth[parent] + 1 >= sequence.num_left:
                continue
            index = sequence.num_output + tree.depth[parent]
            hit = on_path and parent == true_path[-1] and index < len(answer)
            token = answer[index] if hit else self._random.randrange(VOCAB)
            if any(tree.parent[n] == parent and tree.tokens[n] == token for n in range(1, len(tree))):
                continue
            node = tree.add(parent, token, 0.5, 1)
            if hit:
                true_path.append(node)
        return tree


class NoSpeculator(GuessingSpeculator):
    """Plain decoding."""

    def __init__(self) -> None:
        super().__init__({}, 0, max_nodes=0)


def plain_engine(target: Target, speculator: GuessingSpeculator | None = None) -> Engine:
    """An engine around `target` that drafts nothing, or what `speculator` guesses."""
    return engine_with(target, speculator or NoSpeculator())


def engine_with(target: Target, *sources: Speculator, **limits: int) -> Engine:
    """An engine around `target` in which `sources` draft; limits: of its scheduler."""
    return Engine(target, tiny_scheduler(target, **limits), MergedSpeculator(sources, max_tree=MAX_TREE))


def served(engine: Engine, asked: SequenceOf[Request], chance: random.Random | None = None) -> dict[int, tuple[int, ...]]:
    """Answers by id. chance: they come in at random moments."""
    said: dict[int, tuple[int, ...]] = {}
    waiting = list(asked)
    while waiting or engine.has_work:
        while waiting and (chance is None or not engine.has_work or chance.random() < 0.3):
            assert engine.submit(waiting.pop(0)) is None
        for moved in engine.step():
            said[moved.id] = said.get(moved.id, ()) + moved.token_ids
    engine.audit()
    return said


def generate(engine: Engine, requests: SequenceOf[Request], joins: SequenceOf[int]) -> dict[int, tuple[int, ...]]:
    """Request i is submitted before step joins[i]; returns what each emitted."""
    emitted: dict[int, tuple[int, ...]] = {each.id: () for each in requests}
    step = 0
    while engine.has_work or any(join >= step for join in joins):
        for each, join in zip(requests, joins, strict=True):
            if join == step:
                assert engine.submit(each) is None
        if engine.has_work:
            for moved in engine.step():
                emitted[moved.id] += moved.token_ids
        step += 1
    engine.audit()
    assert engine.take_refused() == []
    return emitted


def moves_of(engine: Engine, asks: SequenceOf[Request]) -> dict[int, list[Moved]]:
    """All at once; what the engine said of each."""
    for each in asks:
        assert engine.submit(each) is None
    moves: dict[int, list[Moved]] = {each.id: [] for each in asks}
    while engine.has_work:
        for moved in engine.step():
            moves[moved.id].append(moved)
    engine.audit()
    assert engine.take_refused() == []
    return moves
