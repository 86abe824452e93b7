"""The trainer's own checkpoint: whole or not at all, and every trace counted once whatever dies when."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
import torch

from pipelines.registry import Slot
from tests.trainer.scripted import SLOT, TOKENIZER, House, trace
from trainer.kept import Kept
from trainer.reservoir import Stratum
from trainer.state import Record, StateFile
from trainer.trainer import Trainer


def file(folder: Path) -> StateFile:
    return StateFile(folder / "state", SLOT, TOKENIZER)


def record() -> Record:
    made = Record.new()
    made.feed.position, made.feed.recent_ids = {0: 7, 3: 2}, {"a": None, "b": None}
    made.progress.parent, made.progress.config = "v1", {"num_heads": 3}
    made.recent = [Kept.of(5, trace(5))]
    made.older = {"chain": Stratum(9, [Kept.of(2, trace(2))])}
    return made


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    saved = record()
    tensors = {"weight": torch.randn(3, 4), "generator": torch.Generator().manual_seed(3).get_state()}
    file(tmp_path).save(saved, tensors)
    found = file(tmp_path).load()
    assert found is not None
    assert found.record == saved
    assert list(found.record.feed.recent_ids) == ["a", "b"]
    assert all(torch.equal(found.tensors[name], tensor) for name, tensor in tensors.items())


def test_nothing_saved_is_nothing_found(tmp_path: Path) -> None:
    assert file(tmp_path).load() is None


def test_another_slot_or_tokenizer_has_another_file(tmp_path: Path) -> None:
    file(tmp_path).save(record(), {})
    assert StateFile(tmp_path / "state", SLOT, "another").load() is None


def test_a_saving_that_fails_midway_leaves_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = record()
    file(tmp_path).save(first, {"weight": torch.zeros(2)})

    def full(_: int) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        file(tmp_path).save(Record.new(), {"weight": torch.ones(2)})
    found = file(tmp_path).load()
    assert found is not None
    assert found.record == first


@pytest.mark.parametrize("damage", ["truncated", "garbage", "foreign schema"])
def test_a_damaged_file_is_moved_aside_and_the_log_read_anew(tmp_path: Path, damage: str) -> None:
    state = file(tmp_path)
    made = record()
    made.schema = 99 if damage == "foreign schema" else made.schema
    state.save(made, {"weight": torch.zeros(100)})
    data = state.path.read_bytes()
    if damage == "truncated":
        state.path.write_bytes(data[: len(data) // 2])
    elif damage == "garbage":
        state.path.write_bytes(os.urandom(1000))
    assert state.load() is None
    assert not state.path.exists()
    assert state.path.with_suffix(".damaged").exists()


def run_slices(trainer: Trainer, count: int) -> None:
    slices = trainer.work()
    for _ in range(count):
        next(slices)


def test_however_often_it_dies_every_trace_is_counted_once_and_none_is_lost(house: House) -> None:
    """A life ends at some slice, saved at some earlier one or not at all: what came after is done again."""
    chance = random.Random(1)
    written = 0
    for _ in range(25):
        house.write([trace(written + number) for number in range(chance.randrange(12))])
        written = house.reader.end().get(0, 0)
        trainer = house.trainer()
        slices = trainer.work()
        for _ in range(chance.randrange(6)):
            next(slices)
            if chance.random() < 0.3:
                trainer.save()
    trainer = house.trainer()
    run_slices(trainer, 10)
    feed = trainer.record.feed
    assert written > 100
    assert (feed.num_read, feed.position, feed.num_duplicates) == (written, {0: written}, 0)
    assert feed.num_studied + feed.num_held_out == written
    assert sorted(each.number for each in trainer.pools) == list(range(1, written + 1))
    assert trainer.record.progress.span.num_traces == feed.num_studied
    assert trainer.record.progress.rows_received == 20 * feed.num_studied


def test_a_life_goes_on_with_the_weights_and_the_chance_of_the_one_before(any_house: House) -> None:
    any_house.write([trace(number) for number in range(60)])
    first = any_house.trainer()
    run_slices(first, 60)
    first.save()
    second = any_house.trainer()
    assert second.record.progress.num_steps == first.distiller.num_steps > 5
    assert second.distiller.age == first.distiller.age
    for name, tensor in first.distiller.tensors().items():
        assert torch.equal(tensor, second.distiller.tensors()[name]), name
    chances = [torch.rand(4, generator=each._memory._generator) for each in (first, second)]
    assert torch.equal(*chances)
    run_slices(second, 3)
    assert second.record.progress.parent == first.record.progress.parent


def test_the_hold_out_stays_what_it_was_in_every_life(house: House) -> None:
    house.write([trace(number) for number in range(60)])
    first = house.trainer()
    run_slices(first, 5)
    first.save()
    assert house.trainer().record.key == first.record.key
    assert Record.new().key != Record.new().key


def test_saved_weights_that_make_no_model_any_more_are_looked_up_anew(any_house: House) -> None:
    static = any_house.add_static()
    any_house.write([trace(number) for number in range(60)])
    first = any_house.trainer()
    run_slices(first, 30)
    sound, first.record.progress.config = first.record.progress.config, {"num_heads": "many"}
    first.save()
    second = any_house.trainer()
    run_slices(second, 1)
    assert second.record.progress.parent == static
    assert second.record.progress.config == sound
    assert second.record.feed.num_read == 60


def test_one_trainer_has_a_state_at_a_time(tmp_path: Path) -> None:
    file, same = (StateFile(tmp_path / "state", SLOT, "tokenizer") for _ in range(2))
    other = StateFile(tmp_path / "state", Slot(target=SLOT.target, kind=SLOT.kind, scope="acme"), "tokenizer")
    with file.locked(), other.locked(), pytest.raises(OSError, match="another trainer works on"), same.locked():
        pass
    with same.locked():
        pass
