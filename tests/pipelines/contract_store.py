"""What a checkpoint store promises, wherever its files lie.

A subclass gives the `url`, of a place where nothing was ever saved. No class is named Test*: pytest collects them where they are
subclassed.
"""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch

from pipelines.checkpoint import Evaluation, Manifest, TrafficSpan
from pipelines.errors import BadCheckpoint, CorruptCheckpoint, ForeignCheckpoint
from pipelines.store import MANIFEST, WEIGHTS, CheckpointStore, open_store
from tests.pipelines.store_fixture import MADE_FOR, BehindItsBack, load, locations, make_weights, save

EVALUATION = Evaluation(
    num_conversations=64,
    tokens_per_step=2.5,
    champion_tokens_per_step=2.0,
    gain=0.5,
    gain_lower=0.1,
    budget=16,
)


class PlaceContract:
    """The fixtures of both contracts."""

    @pytest.fixture
    def url(self) -> str:
        raise NotImplementedError

    @pytest.fixture
    def store(self, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CheckpointStore:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        return open_store(url)

    @pytest.fixture
    def behind(self, store: CheckpointStore) -> BehindItsBack:
        return BehindItsBack(store.place)


class StoreContract(PlaceContract):
    """What is saved is there, whole, until it is pruned."""

    def test_what_is_saved_is_loaded(self, store: CheckpointStore) -> None:
        weights = {
            "single": torch.randn(3, 4),
            "half": torch.randn(5).to(torch.bfloat16),
            "eight bits": torch.randn(5).to(torch.float8_e4m3fn),
            "whole": torch.arange(6).reshape(2, 3),
            "turned": torch.randn(3, 4).T,
            "nothing": torch.empty(0, 2),
        }
        weights["shared"] = weights["single"][1:]
        span = TrafficSpan(position={0: 9}, num_traces=4, num_tokens=5, newest_at=1.5)
        config: dict[str, int | float | str | bool] = {"layers": 2, "scale": 1.0, "name": "x", "tied": True}
        saved, location = save(store, weights, parent="parent", config=config, span=span, evaluation=EVALUATION, note="n")
        manifest, loaded = load(store, location)
        assert manifest == saved
        assert (manifest.parent, manifest.config, manifest.span) == ("parent", config, span)
        assert (manifest.evaluation, manifest.note, manifest.created_at) == (EVALUATION, "n", 1.0)
        assert manifest.num_parameters == 12 + 5 + 5 + 6 + 12 + 0 + 8
        assert loaded.keys() == weights.keys()
        for name, tensor in weights.items():
            assert loaded[name].dtype == tensor.dtype
            assert torch.equal(loaded[name].double(), tensor.double())

    def test_loaded_weights_may_be_changed_without_changing_the_version(self, store: CheckpointStore) -> None:
        _, location = save(store, make_weights())
        load(store, location)[1]["w"].zero_()
        assert load(store, location)[1]["w"].abs().sum() > 0

    def test_whoever_opens_the_place_finds_what_others_saved(self, store: CheckpointStore) -> None:
        other = open_store(store.place)
        assert other.manifests() == []
        for seed in (0, 1):  # each after the other has looked: nobody goes by what was there before
            manifest, location = save(store, make_weights(seed), created_at=float(seed))
            assert load(other, location)[0] == manifest
            assert locations(other)[-1] == location

    def test_the_same_weights_saved_again_are_the_same_version(self, store: CheckpointStore) -> None:
        first = save(store, make_weights(), note="first")
        assert save(store, make_weights(), note="second") == first
        assert store.manifests() == [first[0]]

    @pytest.mark.parametrize("name", [WEIGHTS, MANIFEST])
    def test_a_damaged_version_is_mended_by_saving_it_again(
        self, store: CheckpointStore, behind: BehindItsBack, name: str
    ) -> None:
        _, location = save(store, make_weights())
        load(store, location)  # whatever is kept nearer by does not hide the damage from a save
        behind.write(location, name, b"")
        save(store, make_weights())
        assert behind.read(location, name)
        assert torch.equal(load(store, location)[1]["w"], make_weights()["w"])

    def test_a_version_may_be_carried_to_another_store(self, store: CheckpointStore, tmp_path: Path) -> None:
        manifest, location = save(store, make_weights())
        elsewhere = BehindItsBack(str(tmp_path / "elsewhere"))
        for name in (WEIGHTS, MANIFEST):
            elsewhere.write(location, name, BehindItsBack(store.place).read(location, name))
        assert load(open_store(tmp_path / "elsewhere"), location)[0] == manifest

    def test_manifests_come_oldest_first_and_what_is_torn_or_renamed_is_left_out(
        self, store: CheckpointStore, behind: BehindItsBack, caplog: pytest.LogCaptureFixture
    ) -> None:
        saved = [save(store, make_weights(age), created_at=float(age))[1] for age in (2, 0, 3, 1)]
        assert [manifest.created_at for manifest in store.manifests()] == [0.0, 1.0, 2.0, 3.0]
        behind.write(saved[0], MANIFEST, b"{")
        behind.rename(saved[1], "other")
        assert locations(store) == [saved[3], saved[2]]
        for left_out in (saved[0], "other"):
            assert f"{left_out} is left out" in caplog.text

    def test_pruning_deletes_the_oldest_but_never_what_is_kept(self, store: CheckpointStore, behind: BehindItsBack) -> None:
        saved = [save(store, make_weights(age), created_at=float(age))[1] for age in (2, 0, 3, 1, 4)]
        in_order = [saved[1], saved[3], saved[0], saved[2], saved[4]]
        assert store.prune(keep=()) == []
        size = behind.num_bytes(saved[0])
        store.max_bytes = 3 * size + size // 2
        assert store.prune(keep=[in_order[0]]) == [in_order[1], in_order[2]]
        assert locations(store) == [in_order[0], in_order[3], in_order[4]]
        store.max_bytes = 0
        assert set(store.prune(keep=[in_order[0], in_order[4]])) == {in_order[3]}
        for kept in (in_order[0], in_order[4]):
            assert load(store, kept)[0].version == kept
        assert {path.split("/")[-2] for path in behind.fs.find(behind.root)} == {in_order[0], in_order[4]}

    def test_pruning_begins_with_what_nobody_can_load(self, store: CheckpointStore, behind: BehindItsBack) -> None:
        old, broken = (save(store, make_weights(age), created_at=float(age + 1))[1] for age in (0, 1))
        behind.write(broken, MANIFEST, b"{")
        store.max_bytes = behind.num_bytes(old)
        assert store.prune(keep=()) == [broken]

    def test_where_nothing_was_ever_saved_there_is_nothing(self, store: CheckpointStore) -> None:
        assert store.manifests() == []
        assert store.prune(keep=["a"]) == []

    def test_a_manifest_can_be_read_by_people(self, store: CheckpointStore, behind: BehindItsBack) -> None:
        _, location = save(store, make_weights(), note="for people")
        text = behind.read(location, MANIFEST).decode()
        assert '\n  "note": "for people"' in text
        assert isinstance(load(store, location)[0], Manifest)
        assert set(MADE_FOR.values()) <= set(text.split('"'))


class RefusalsContract(PlaceContract):
    """What the store refuses to save or to load, and what it says."""

    @pytest.fixture
    def location(self, store: CheckpointStore) -> str:
        """A sound version, to be damaged."""
        return save(store, make_weights())[1]

    @pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float8_e5m2])
    def test_weights_that_are_not_finite_are_not_saved(
        self, store: CheckpointStore, behind: BehindItsBack, value: float, dtype: torch.dtype
    ) -> None:
        weights = make_weights() | {"bad": torch.tensor([1.0, value]).to(dtype)}
        with pytest.raises(CorruptCheckpoint, match="bad holds 1 values that are not finite"):
            save(store, weights)
        assert behind.fs.find(behind.root) == []

    def test_figures_that_are_not_finite_are_not_saved(self, store: CheckpointStore, behind: BehindItsBack) -> None:
        evaluation = Evaluation(
            num_conversations=1,
            tokens_per_step=1.0,
            champion_tokens_per_step=1.0,
            gain=math.nan,
            gain_lower=0.0,
            budget=1,
        )
        with pytest.raises(CorruptCheckpoint, match=r"evaluation\.gain"):
            save(store, make_weights(), evaluation=evaluation)
        with pytest.raises(CorruptCheckpoint, match="config"):
            save(store, make_weights(), config={"scale": math.inf})
        with pytest.raises(CorruptCheckpoint, match="newest_at"):
            save(store, make_weights(), span=TrafficSpan(newest_at=math.inf))
        assert behind.fs.find(behind.root) == []

    def test_weights_that_are_not_finite_are_not_loaded(self, store: CheckpointStore, behind: BehindItsBack) -> None:
        data = safetensors.torch.save({"bad": torch.tensor([1.0, math.nan])})
        location = behind.forge(data, num_parameters=2)
        for _ in range(2):  # nor later, from wherever it was kept
            with pytest.raises(CorruptCheckpoint, match="bad holds 1 values that are not finite"):
                load(store, location)

    @pytest.mark.parametrize("field", ["target", "tokenizer", "kind"])
    def test_a_version_made_for_something_else_is_foreign(self, store: CheckpointStore, location: str, field: str) -> None:
        with pytest.raises(ForeignCheckpoint, match=f"{field} of {location} is '{MADE_FOR[field]}', expected 'x'"):
            load(store, location, **{field: "x"})

    @pytest.mark.parametrize("name", [WEIGHTS, MANIFEST])
    def test_no_byte_of_a_version_can_be_altered(
        self, store: CheckpointStore, behind: BehindItsBack, location: str, name: str
    ) -> None:
        sound = behind.read(location, name)
        for position in range(0, len(sound), 7):
            behind.write(location, name, sound[:position] + bytes([sound[position] ^ 1]) + sound[position + 1 :])
            try:
                manifest, _ = load(store, location)
            except BadCheckpoint:
                continue
            # only what decides nothing may differ: a date, a note, an evaluation
            assert name == MANIFEST
            assert manifest.version == location

    @pytest.mark.parametrize("name", [WEIGHTS, MANIFEST])
    def test_a_truncated_file_is_refused(
        self, store: CheckpointStore, behind: BehindItsBack, location: str, name: str
    ) -> None:
        sound = behind.read(location, name)
        for length in (0, 1, 7, 8, 9, len(sound) // 2, len(sound) - 1):
            behind.write(location, name, sound[:length])
            with pytest.raises(CorruptCheckpoint):
                load(store, location)

    @pytest.mark.parametrize("name", [WEIGHTS, MANIFEST])
    def test_a_missing_file_is_refused_by_name(
        self, store: CheckpointStore, behind: BehindItsBack, location: str, name: str
    ) -> None:
        behind.remove(location, name)
        with pytest.raises(CorruptCheckpoint, match=f"{name} of {location}"):
            load(store, location)

    def test_a_missing_version_is_refused_by_name(self, store: CheckpointStore) -> None:
        with pytest.raises(CorruptCheckpoint, match="0123456789abcdef"):
            load(store, "0123456789abcdef")

    def test_a_renamed_version_is_refused(self, store: CheckpointStore, behind: BehindItsBack, location: str) -> None:
        behind.rename(location, "better-name")
        with pytest.raises(CorruptCheckpoint, match=f"better-name: the manifest says version {location}"):
            load(store, "better-name")

    def test_a_version_whose_name_is_not_its_content_is_refused(
        self, store: CheckpointStore, behind: BehindItsBack, location: str
    ) -> None:
        behind.rewrite(location, parent="somebody else")
        with pytest.raises(CorruptCheckpoint, match="its content makes"):
            load(store, location)

    def test_weights_of_another_version_are_refused(
        self, store: CheckpointStore, behind: BehindItsBack, location: str
    ) -> None:
        other = save(store, make_weights(1))[1]
        behind.write(location, WEIGHTS, behind.read(other, WEIGHTS))
        with pytest.raises(CorruptCheckpoint, match="sha256"):
            load(store, location)

    def test_a_manifest_that_miscounts_is_refused(self, store: CheckpointStore, behind: BehindItsBack, location: str) -> None:
        behind.rewrite(location, num_parameters=71)
        with pytest.raises(CorruptCheckpoint, match="72 parameters, expected 71"):
            load(store, location)

    def test_a_manifest_of_another_schema_is_refused(
        self, store: CheckpointStore, behind: BehindItsBack, location: str
    ) -> None:
        behind.rewrite(location, schema=2)
        with pytest.raises(CorruptCheckpoint, match="schema is 2, expected 1"):
            load(store, location)

    def test_weights_that_are_too_large_are_not_read(
        self, store: CheckpointStore, behind: BehindItsBack, location: str
    ) -> None:
        size = len(behind.read(location, WEIGHTS))
        for _ in range(2):  # the second time they may have been kept somewhere
            with pytest.raises(CorruptCheckpoint, match=f"{size} bytes, expected at most {size - 1}"):
                load(store, location, max_bytes=size - 1)
            assert load(store, location, max_bytes=size)

    def test_a_manifest_that_is_too_large_is_not_read(
        self, store: CheckpointStore, behind: BehindItsBack, location: str
    ) -> None:
        behind.write(location, MANIFEST, behind.read(location, MANIFEST).ljust((1 << 20) + 1))
        with pytest.raises(CorruptCheckpoint, match="expected at most 1048576"):
            load(store, location)

    @pytest.mark.parametrize("name", [WEIGHTS, MANIFEST])
    def test_a_folder_is_no_file(self, store: CheckpointStore, behind: BehindItsBack, location: str, name: str) -> None:
        behind.remove(location, name)
        behind.write(f"{location}/{name}", "within", b"")
        with pytest.raises(CorruptCheckpoint, match=name):
            load(store, location)

    def test_a_pickle_is_never_opened(self, store: CheckpointStore, behind: BehindItsBack, tmp_path: Path) -> None:
        data = pickle.dumps(_Bomb(tmp_path / "exploded"))
        with pytest.raises(CorruptCheckpoint, match="not a safetensors file"):
            load(store, behind.forge(data, num_parameters=0))
        assert not (tmp_path / "exploded").exists()

    @pytest.mark.parametrize(
        "outside",
        ["", ".", "..", "../outside", "/etc", "a/b", "a/../b", "a\\b", ".tmp-1", "a\0b", "a\n", "~", "file:///a", "a*"],
    )
    def test_a_location_that_is_not_a_name_inside_the_store_is_refused(self, store: CheckpointStore, outside: str) -> None:
        with pytest.raises(BadCheckpoint, match="location is "):
            load(store, outside)


class _Bomb:
    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.touch, (self._path,)
