"""The process around the loop: paced, announced, saved, and stopped when told."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from models.loading import load_target
from pipelines.registry import Presence
from tests.models.families import random_tokens, save_model
from tests.trainer.scripted import SLOT, TOKENIZER, House, trace
from tests.trainer.test_settings import GIVEN
from trainer.main import taught_by, work
from trainer.settings import TrainerSettings
from trainer.state import StateFile
from trainer.trainer import Trainer


def run_until(house: House, trainer: Trainer, reached: Callable[[], bool]) -> None:
    """Runs the process's loop in a thread until `reached()`, then tells it to stop."""
    stop = threading.Event()
    thread = threading.Thread(target=work, args=(house.settings, trainer, house.registry, stop))
    thread.start()
    deadline = time.monotonic() + 60
    while not reached() and time.monotonic() < deadline:
        time.sleep(0.01)
    stop.set()
    thread.join(10)
    assert not thread.is_alive()
    assert time.monotonic() < deadline


def said(house: House) -> Presence | None:
    everyone = house.registry.presences(time.time())
    return next((each for each in everyone if each.name == "trainer:trainer"), None)


def test_it_says_what_it_does_and_saves_when_told_to_stop(build_house: Callable[..., House]) -> None:
    house = build_house(commit_seconds=3600.0)
    house.write([trace(number) for number in range(60)])
    trainer = house.trainer()
    run_until(house, trainer, lambda: said(house) is not None and trainer.distiller.num_steps >= 5)
    presence = said(house)
    assert presence is not None
    assert presence.state.endswith("last judgement: none")
    assert {"step", "loss", "traces", "held_out", "freshness_seconds", "last_gain"} <= presence.figures.keys()
    assert {"idle_seconds", "guaranteed_seconds", "alone_seconds"} <= presence.figures.keys()
    saved = StateFile(Path(house.settings.state), SLOT, TOKENIZER).load()
    assert saved is not None
    assert saved.record.progress.num_steps == trainer.distiller.num_steps
    assert saved.record.feed.num_read == 60
    assert saved.record.progress.used[2] > 0


def test_beside_a_busy_server_its_work_is_booked_as_guaranteed(house: House) -> None:
    house.write([trace(number) for number in range(60)])
    busy = Presence(name="serving:a", at=time.time(), ttl=60.0, figures={"busy": 1.0})
    house.registry.announce(busy)
    trainer = house.trainer()
    run_until(house, trainer, lambda: trainer.distiller.num_steps >= 3)
    idle, guaranteed, alone = trainer.record.progress.used
    assert guaranteed > 0
    assert idle == alone == 0.0


@pytest.mark.parametrize("dtype", ["auto", "float32", "bfloat16"])
def test_the_target_teaches_in_int8_where_it_is_served_in_int8(dtype: str, tmp_path: Path) -> None:
    save_model("llama", tmp_path)
    served = load_target(str(tmp_path), dtype="int8")
    taught = taught_by(TrainerSettings(**GIVEN | {"target": str(tmp_path)}, dtype=dtype, served_dtype="int8"))
    tokens = random_tokens(60)
    assert (taught.fingerprint, taught.stored) == (served.fingerprint, served.stored)
    assert torch.equal(taught.decoder.hidden_states(tokens), served.decoder.hidden_states(tokens))
    assert taught_by(TrainerSettings(**GIVEN | {"target": str(tmp_path)}, dtype=dtype)).fingerprint == served.stored


def test_a_disk_that_is_full_costs_the_state_and_not_the_training(house: House, tmp_path: Path) -> None:
    house.write([trace(number) for number in range(60)])
    trainer = house.trainer()
    (tmp_path / "state").write_text("a file where the folder should be")
    run_until(house, trainer, lambda: trainer.distiller.num_steps >= 5)
    assert (tmp_path / "state").read_text() == "a file where the folder should be"
