"""Newer weights on their way to the worker: in pieces between which questions pass, whole or not at all, the newest at last."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
import safetensors.torch
import torch

from models.draft import DraftModel, DraftShape
from models.pages import PageTable
from pipelines.errors import ForeignCheckpoint
from serving.engine import Engine
from serving.messages import Request
from speculator.ssd.messages import Ready, ToWorker, Weights
from speculator.ssd.speculator import SsdSpeculator
from tests.serving.rig import VOCAB, plain_engine, tiny_config
from tests.speculator.draft_models import draft_model, runner_of, target_of
from tests.speculator.ssd.beside import Beside, engine_beside, source_of
from tests.speculator.test_draft_lm import checkpoint, served
from tests.wait import wait_until

TARGET = draft_model(seed=0)
OTHER = draft_model(seed=5)
ASKED = [Request(id=1, prompt_ids=(3, 1, 4), max_tokens=120, temperature=0.8, seed=7)]


class Overheard(Beside):
    """A link that keeps what was sent to the worker."""

    def __init__(self, draft: DraftModel) -> None:
        super().__init__(draft)
        self.sent: list[ToWorker] = []

    def send(self, message: ToWorker) -> None:
        self.sent.append(message)
        super().send(message)

    @property
    def pieces(self) -> list[Weights]:
        return [each for each in self.sent if isinstance(each, Weights)]


def serving(link: Overheard) -> tuple[Engine, SsdSpeculator, Callable[[Callable[[], bool]], None]]:
    """An engine beside that link, its source, and what serves the same answers again until something holds."""
    engine, expected = engine_beside(TARGET, link), served(plain_engine(target_of(TARGET)), ASKED)

    def serve_until(holds: Callable[[], bool]) -> None:
        def so() -> bool:
            assert served(engine, ASKED) == expected
            return holds()

        wait_until(so)

    serve_until(lambda: source_of(engine).counters["ssd_rounds:hit"] > 5)
    return engine, source_of(engine), serve_until


def embeddings(link: Beside) -> torch.Tensor:
    return link.worker._runner._decoder.output_embeddings()


def test_between_two_pieces_the_worker_is_asked_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    link, newer = Overheard(OTHER), checkpoint(draft_model(seed=9))
    _, source, serve_until = serving(link)
    size = len(safetensors.torch.save({name: each.contiguous() for name, each in newer.weights.items()}))
    monkeypatch.setattr("speculator.ssd.speculator.PIECE", size // 10 + 1)
    link.sent.clear()
    source.load(newer)
    serve_until(lambda: source.version == newer.manifest.version)
    assert len(link.pieces) == 10
    assert not any(isinstance(one, Weights) and isinstance(next_, Weights) for one, next_ in pairwise(link.sent))
    assert torch.equal(embeddings(link), newer.weights["model.embed_tokens.weight"])
    assert source.counters["ssd_late"] == source.counters["ssd_failures"] == 0


def test_of_versions_that_overtake_each_other_the_newest_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("speculator.ssd.speculator.PIECE", 5000)
    link, newer = Overheard(OTHER), [checkpoint(draft_model(seed=seed)) for seed in (7, 8, 9)]
    _, source, serve_until = serving(link)
    source.load(newer[0])
    serve_until(lambda: len(link.pieces) > 3)
    source.load(newer[1])
    source.load(newer[2])
    serve_until(lambda: source.version == newer[2].manifest.version)
    assert torch.equal(embeddings(link), newer[2].weights["model.embed_tokens.weight"])


def test_a_worker_that_comes_half_way_gets_them_from_the_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    link, newer = Overheard(OTHER), checkpoint(draft_model(seed=9))
    engine, source, serve_until = serving(link)
    monkeypatch.setattr("speculator.ssd.speculator.PIECE", 100)
    source.load(newer)
    serve_until(lambda: len(link.pieces) > 3)
    assert link.pieces[-1].at + 100 < link.pieces[-1].total, "not all of it: else this proves nothing"
    again = Overheard(OTHER)
    source._link = again
    source._welcome(Ready("v1"))
    monkeypatch.setattr("speculator.ssd.speculator.PIECE", 1 << 18)
    serve_until(lambda: source.version == newer.manifest.version)
    assert again.pieces[0].at == 0
    assert torch.equal(embeddings(again), newer.weights["model.embed_tokens.weight"])
    engine.close()


def test_pieces_without_their_beginning_are_not_weights() -> None:
    link, newer = Beside(OTHER), checkpoint(draft_model(seed=9))
    data = safetensors.torch.save({name: each.contiguous() for name, each in newer.weights.items()})
    link.send(Weights(version="v2", data=data[100:], at=100, total=len(data)))
    link.send(Weights(version="v2", data=data[:100], at=100, total=len(data)))  # as many bytes as there are
    link.receive(0.0)
    assert not link.worker._preparing.busy
    link.send(Weights(version="v2", data=data[:100], at=0, total=len(data)))
    link.receive(0.0)
    assert not link.worker._preparing.busy
    link.send(Weights(version="v2", data=data[100:], at=100, total=len(data)))
    link.receive(0.0)
    assert link.worker._preparing.busy


def test_weights_of_another_shape_are_refused_before_anything_is_sent() -> None:
    link = Overheard(OTHER)
    _, source, serve_until = serving(link)
    shape = DraftShape(hidden_size=32, intermediate_size=48, num_layers=1, num_heads=4, num_kv_heads=2)
    smaller = DraftModel(shape.config_for(tiny_config(vocab_size=VOCAB)))
    before, rounds = source.version, source.counters["ssd_rounds:hit"]
    with pytest.raises(ForeignCheckpoint, match="shape"):
        source.load(checkpoint(smaller))
    serve_until(lambda: source.counters["ssd_rounds:hit"] > rounds + 20)
    assert (source.version, link.pieces) == (before, [])


def test_weights_that_cannot_be_read_leave_those_before_and_do_not_block_the_next() -> None:
    link, newer = Beside(OTHER), checkpoint(draft_model(seed=9))
    worker = link.worker
    link.send(Weights(version="v2", data=b"no weights", at=0, total=10))
    link.receive(0.0)
    wait_until(lambda: worker.turn() or not worker._preparing.busy)
    assert worker._version == "v1"
    data = safetensors.torch.save({name: each.contiguous() for name, each in newer.weights.items()})
    link.send(Weights(version="v3", data=data, at=0, total=len(data)))
    link.receive(0.0)
    wait_until(lambda: worker.turn() or worker._version == "v3")


def test_after_a_swap_texts_are_read_again_when_there_is_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """First what is to be prepared, then what older weights have read, a portion at a time; nothing of a text that has ended."""
    monkeypatch.setattr("speculator.ssd.builder.READ_AGAIN", 5)
    link, newer = Beside(OTHER), draft_model(seed=9)
    engine = engine_beside(TARGET, link)
    asked = [Request(id=n, prompt_ids=tuple(range(n, n + 12)), max_tokens=60, temperature=0.0) for n in (1, 2)]
    for request in asked:
        engine.submit(request)
    for _ in range(6):
        engine.step()
    data = safetensors.torch.save({name: tensor.detach().contiguous() for name, tensor in newer.tensors.items()})
    link.send(Weights(version="v2", data=data, at=0, total=len(data)))
    link.receive(0.0)
    engine.abort(2)
    turns = 0
    worker = link.worker
    while worker._preparing.busy:
        worker.turn()
    assert worker._version == "v2"
    while worker._building is not None or worker._refilling is not None:
        worker.turn()
        turns += 1
    (draftee,) = link.worker._draftees.values()
    track, runner = draftee.track, link.worker._runner
    assert turns >= track.num_read // 5
    fresh = runner_of(newer)
    again = type(track)(PageTable(runner.page_size, range(40)))
    fresh.read([(again, draftee.tokens[: track.num_read])])
    keys = runner._pages.keys[:, :, runner._rows._keys(track, track.num_read)]
    assert torch.allclose(keys, fresh._pages.keys[:, :, fresh._rows._keys(again, track.num_read)], atol=1e-5)


