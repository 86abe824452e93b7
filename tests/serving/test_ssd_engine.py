"""The asynchronous draft worker beside a served engine: the same text, and no process left behind."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from models.draft import DraftModel, DraftShape
from models.loading import load_target
from models.source import bundled_target
from pipelines.store import open_store
from serving.assemble import build_engine
from serving.engine import FixedBudget
from serving.messages import Request
from serving.settings import EngineSettings
from speculator.ssd.address import Address
from speculator.ssd.process import WorkerProcess
from tests.servers.process import free_port
from tests.serving.rig import served
from tests.speculator.ssd.test_remote import draft_worker

PROMPTS = ("Once upon a time there was", "Write a SQL query: What is", "12 apples and 30 pears are", "Hello! How are")


@pytest.mark.slow
@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_an_engine_beside_a_worker_says_what_plain_decoding_says(tmp_path: Path, temperature: float) -> None:
    target = load_target(str(bundled_target()), dtype="float32")
    draft = DraftModel(DraftShape().config_for(target.config), torch.Generator().manual_seed(0))
    draft.start_from(target.decoder.output_embeddings())
    open_store(tmp_path).save(
        {name: tensor.detach() for name, tensor in draft.tensors.items()},
        kind="draft-lm",
        parent=None,
        target=target.fingerprint,
        tokenizer=target.tokenizer.fingerprint,
        config=draft.config,
        created_at=1.0,
    )
    settings = EngineSettings(target=str(bundled_target()), sources=("ssd",), draft=str(tmp_path), max_cached_tokens=4096)
    asked = [
        Request(id=n, prompt_ids=tuple(target.tokenizer.encode(text)), max_tokens=40, temperature=temperature, seed=n)
        for n, text in enumerate(PROMPTS)
    ]
    plain = build_engine(replace(settings, sources=()), target)
    expected = served(plain, asked)
    engine = build_engine(settings, target)
    engine.controller = FixedBudget(16)  # whether it pays or not
    try:
        (source,) = engine.speculator._sources
        deadline, counters = time.monotonic() + 60, engine.speculator.counters
        while counters().get("ssd_rounds:hit", 0) + counters().get("ssd_rounds:miss", 0) < 60:
            assert served(engine, asked) == expected
            assert time.monotonic() < deadline, counters()
        worker = source._link  # type: ignore[attr-defined]
        assert isinstance(worker, WorkerProcess)
        assert counters()["ssd_failures"] == 0
    finally:
        engine.close()
        plain.close()
    assert not Path(f"/proc/{worker.pid}").exists()


@pytest.mark.slow
def test_an_engine_whose_worker_dials_in_says_what_plain_decoding_says() -> None:
    """With the bundled draft model, by the settings and the verb that an operator has."""
    target = load_target(str(bundled_target()), dtype="float32")
    address = f"127.0.0.1:{free_port()}"
    settings = EngineSettings(target=str(bundled_target()), sources=("ssd",), ssd_listen=address, max_cached_tokens=4096)
    asked = [
        Request(id=n, prompt_ids=tuple(target.tokenizer.encode(text)), max_tokens=40, temperature=0.8, seed=n)
        for n, text in enumerate(PROMPTS)
    ]
    plain = build_engine(replace(settings, sources=(), ssd_listen=""), target)
    expected = served(plain, asked)
    plain.close()
    engine = build_engine(settings, target)
    engine.controller = FixedBudget(16)
    with pytest.raises(OSError, match=rf"cannot wait for drafting workers at {address} \(ssd_listen\): Address already in use"):
        build_engine(settings, target)
    assert served(engine, asked) == expected, "with nobody there"
    counters = engine.speculator.counters
    with draft_worker(Address.parse(address)):
        deadline = time.monotonic() + 60
        while counters()["ssd_rounds:hit"] < 40:
            assert served(engine, asked) == expected
            assert time.monotonic() < deadline, counters()
        assert counters()["ssd_failures"] == 0
        engine.close()
