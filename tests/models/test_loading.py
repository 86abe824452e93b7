"""Loading takes sound safetensors checkpoints and refuses everything else, naming what is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from models.errors import BadModel, ModelError, UnsupportedModel
from models.loading import bundled_target, load_target, load_tokenizer, target_name
from tests.models.families import edit_json, random_tokens, save_model

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def edit_weights(folder: Path, edit: Callable[[dict[str, Tensor]], object]) -> None:
    path = folder / "model.safetensors"
    weights = load_file(path)
    edit(weights)
    save_file(weights, path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_model("llama", tmp_path)
    return tmp_path


def refusal(folder: Path) -> str:
    with pytest.raises(ModelError) as caught:
        load_target(str(folder))
    return str(caught.value)


def test_a_missing_tensor_is_named_with_its_shape(folder: Path) -> None:
    edit_weights(folder, lambda weights: weights.pop("model.layers.1.mlp.up_proj.weight"))
    assert "model.layers.1.mlp.up_proj.weight [96, 64] is missing" in refusal(folder)


def test_an_unexpected_tensor_is_named(folder: Path) -> None:
    name = "model.layers.0.self_attn.q_proj.bias"
    edit_weights(folder, lambda weights: weights.update({name: torch.ones(64)}))
    assert f"{name} [64] is unexpected" in refusal(folder)


def test_a_mis_shaped_tensor_is_named_with_both_shapes(folder: Path) -> None:
    edit_weights(folder, lambda weights: weights.update({"model.norm.weight": torch.ones(63)}))
    assert "model.norm.weight has shape [63]; expected [64]" in refusal(folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_not_finite_are_refused(folder: Path, value: float) -> None:
    edit_weights(folder, lambda weights: weights["lm_head.weight"][3].fill_(value))
    assert "lm_head.weight holds numbers that are not finite" in refusal(folder)


def test_quantised_integers_are_refused_by_dtype(folder: Path) -> None:
    integers = torch.ones(64, dtype=torch.int8)
    edit_weights(folder, lambda weights: weights.update({"model.norm.weight": integers}))
    assert "model.norm.weight has dtype I8; supported: F32, BF16, F16" in refusal(folder)


def test_float16_weights_run_in_float32(folder: Path) -> None:
    edit_weights(folder, lambda weights: weights.update({k: v.half() for k, v in weights.items()}))
    target = load_target(str(folder))
    assert target.decoder.dtype == torch.float32
    assert target.decoder.hidden_states(random_tokens(5)).isfinite().all()


def test_buffers_that_follow_from_the_config_are_ignored(folder: Path) -> None:
    before = load_target(str(folder)).fingerprint
    name = "model.layers.0.self_attn.rotary_emb.inv_freq"
    edit_weights(folder, lambda weights: weights.update({name: torch.ones(8)}))
    assert load_target(str(folder)).fingerprint == before


def test_a_tied_model_may_store_its_embedding_twice_but_not_differently(tmp_path: Path) -> None:
    save_model("llama-tied", tmp_path)
    before = load_target(str(tmp_path)).fingerprint
    edit_weights(tmp_path, lambda w: w.update({"lm_head.weight": w["model.embed_tokens.weight"].clone()}))
    assert load_target(str(tmp_path)).fingerprint == before
    edit_weights(tmp_path, lambda weights: weights["lm_head.weight"][0].add_(1.0))
    assert "lm_head.weight differs from model.embed_tokens.weight" in refusal(tmp_path)


def test_pickled_weights_are_refused_by_name(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    message = refusal(folder)
    assert "expected model.safetensors" in message
    assert "pytorch_model.bin is a pickle" in message


def test_a_truncated_file_is_refused(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    assert "model.safetensors: not a sound safetensors file" in refusal(folder)


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    save_model("llama", tmp_path, shard_size="50KB")
    shard = min(tmp_path.glob("model-*.safetensors"))
    shard.unlink()
    assert f"{shard.name}: there is no such file" in refusal(tmp_path)


@pytest.mark.parametrize("name", ["../secret.safetensors", "/etc/passwd", "pytorch_model.bin"])
def test_an_index_may_only_name_safetensors_beside_it(tmp_path: Path, name: str) -> None:
    save_model("llama", tmp_path, shard_size="50KB")
    edit_json(tmp_path / "model.safetensors.index.json", weight_map={"model.norm.weight": name})
    assert "weight_map" in refusal(tmp_path)


@pytest.mark.parametrize("content", ["", "[]", "{", "\udcff"])
def test_a_config_that_is_no_json_object_is_refused(folder: Path, content: str) -> None:
    (folder / "config.json").write_bytes(content.encode(errors="surrogateescape"))
    assert "config.json" in refusal(folder)


def test_an_unsupported_architecture_is_refused_before_its_weights_are_read(folder: Path) -> None:
    edit_json(folder / "config.json", model_type="gpt2", architectures=["GPT2LMHeadModel"])
    (folder / "model.safetensors").unlink()
    with pytest.raises(UnsupportedModel, match=r"LlamaForCausalLM.*Qwen3ForCausalLM"):
        load_target(str(folder))


def test_the_fingerprint_follows_weights_and_config_and_nothing_else(folder: Path) -> None:
    first = load_target(str(folder)).fingerprint
    edit_json(folder / "config.json", transformers_version="0.0.0", use_cache=False)
    assert load_target(str(folder), dtype="bfloat16").fingerprint == first
    edit_json(folder / "config.json", rms_norm_eps=1e-4)
    second = load_target(str(folder)).fingerprint
    edit_weights(folder, lambda weights: weights["model.norm.weight"][0].add_(1e-3))
    assert len({first, second, load_target(str(folder)).fingerprint}) == 3


def test_a_hub_id_needs_a_pinned_commit() -> None:
    for revision in (None, "main", "v1.0", COMMIT[:7]):
        with pytest.raises(BadModel, match=r"revision is .*expected the 40 hexadecimal digits of a commit"):
            load_target("owner/name", revision=revision)


def test_a_pinned_hub_id_downloads_that_commit_and_no_pickles(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[str, str, list[str]]] = []

    def download(hub_id: str, *, revision: str, allow_patterns: list[str]) -> str:
        calls.append((hub_id, revision, allow_patterns))
        return str(folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    assert load_target("owner/name", revision=COMMIT).name == "owner/name"
    load_tokenizer("owner/name", revision=COMMIT)
    assert [call[:2] for call in calls] == [("owner/name", COMMIT)] * 2
    with_weights, without = (call[2] for call in calls)
    assert any("safetensors" in pattern for pattern in with_weights)
    assert not any("safetensors" in pattern for pattern in without)
    assert not any("bin" in pattern or pattern == "*" for pattern in with_weights)


def test_a_failed_download_says_what_and_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def download(*_: object, **__: object) -> str:
        raise ConnectionError("no route to host")

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    with pytest.raises(BadModel, match=f"owner/name at {COMMIT} could not be downloaded: no route to host"):
        load_target("owner/name", revision=COMMIT)


def test_a_path_that_is_neither_folder_nor_hub_id_is_refused(tmp_path: Path) -> None:
    for target in (str(tmp_path / "absent"), "name", "./a/b"):
        with pytest.raises(BadModel, match="expected an existing folder or a hub id"):
            load_target(target)


def test_a_revision_for_a_local_folder_is_refused(folder: Path) -> None:
    with pytest.raises(BadModel, match="is a local folder"):
        load_target(str(folder), revision=COMMIT)


@pytest.mark.parametrize("device", ["gpu", "mps", "cuda:99"])
def test_a_device_that_is_not_there_is_refused_by_name(folder: Path, device: str) -> None:
    with pytest.raises(ModelError, match=f"device is '{device}'"):
        load_target(str(folder), device=device)


def test_a_dtype_that_is_not_offered_is_refused_by_name(folder: Path) -> None:
    with pytest.raises(BadModel, match="dtype is 'int4'; expected float32, bfloat16, int8 or auto"):
        load_target(str(folder), dtype="int4")  # type: ignore[arg-type]


def test_in_int8_it_is_another_target_that_knows_where_it_comes_from(folder: Path) -> None:
    whole, rounded = load_target(str(folder)), load_target(str(folder), dtype="int8")
    assert whole.stored == whole.fingerprint == rounded.stored
    assert rounded.fingerprint != rounded.stored
    assert rounded.fingerprint == load_target(str(folder), dtype="int8").fingerprint
    edit_weights(folder, lambda weights: weights["model.norm.weight"][0].add_(1e-3))
    assert load_target(str(folder), dtype="int8").fingerprint != rounded.fingerprint


def test_int8_is_refused_on_a_device_that_has_no_kernel_for_it(folder: Path) -> None:
    with pytest.raises(UnsupportedModel, match="dtype is 'int8' and device is 'cuda:1'; expected cpu"):
        load_target(str(folder), dtype="int8", device="cuda:1")


def test_a_model_too_wide_for_int8_is_refused_by_the_name_of_its_size(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.loading.MOST_INPUTS", 90)
    with pytest.raises(UnsupportedModel, match="intermediate_size is 96; expected at most 90 in int8"):
        load_target(str(folder), dtype="int8")


@pytest.mark.slow
def test_the_bundled_target_is_complete_and_has_a_name() -> None:
    folder = bundled_target()
    assert target_name(str(folder)) == "everdraft-demo"
    assert target_name("owner/name") == "owner/name"
    target = load_target(str(folder))
    assert target.tokenizer.has_chat_template
    assert target.eos_ids
    assert max(target.eos_ids) < target.config.vocab_size
    assert target.tokenizer.vocab_size <= target.config.vocab_size
    assert json.loads((folder / "config.json").read_text())["vocab_size"] == target.config.vocab_size
