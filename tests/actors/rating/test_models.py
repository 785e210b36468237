"""Which weights rate: finding, checking and naming them."""

import json
import subprocess
import sys

import huggingface_hub
import numpy as np
import pytest
from huggingface_hub.errors import HTTPError
from safetensors.numpy import save_file

from actors.rating.models import folder_digest, load_revision, rater_identity, resolve_model, token_px
from actors.rating.settings import RaterSettings
from algorithms.ratings import RaterIdentity


@pytest.fixture
def folder(tmp_path):
    """A folder that looks like a checkpoint."""
    checkpoint = tmp_path / "checkpoint"
    checkpoint.mkdir()
    (checkpoint / "config.json").write_text(json.dumps({"model_type": "qwen3_vl", "vision_config": {"patch_size": 16}}))
    (checkpoint / "model.safetensors").write_bytes(b"weights")
    (checkpoint / "README.md").write_text("card")
    return checkpoint


def settings(model) -> RaterSettings:
    return RaterSettings(model=str(model))


def test_a_local_folder_is_itself(folder):
    assert resolve_model(settings(folder)) == folder
    assert load_revision(settings(folder)) is None
    assert token_px(folder, None) == 32


def test_a_folder_is_named_by_its_contents_wherever_it_lies(folder, tmp_path):
    first = rater_identity(settings(folder))
    assert first.model == f"sha256:{folder_digest(folder)}" and first.revision == "local"
    moved = folder.rename(tmp_path / "elsewhere")
    (moved / "README.md").write_text("another card")
    assert rater_identity(settings(moved)) == first


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json", "chat_template.jinja"])
def test_whatever_can_change_an_answer_changes_the_name(folder, name):
    before = folder_digest(folder)
    (folder / name).write_text(json.dumps({"model_type": "qwen2_vl"}))
    assert folder_digest(folder) != before


def test_a_folder_without_configuration_is_no_checkpoint(tmp_path):
    with pytest.raises(ValueError, match=r"rater\.model .*: .* has no config\.json, so it is no checkpoint; name one"):
        resolve_model(settings(tmp_path))


def test_broken_configuration_is_explained(folder):
    (folder / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"rater\.model .*config\.json is not valid JSON"):
        resolve_model(settings(folder))


@pytest.mark.parametrize("config", [[], "text", {"model_type": "qwen2_vl", "vision_config": 7}])
def test_a_configuration_of_something_else_is_explained(folder, config):
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"rater\.model .*config\.json describes no model: .*must be blocks"):
        resolve_model(settings(folder))


@pytest.mark.parametrize("size", [0, "14", None, [16, 16], True])
def test_sizes_of_patches_must_be_numbers(folder, size):
    (folder / "config.json").write_text(json.dumps({"model_type": "qwen3_vl", "vision_config": {"patch_size": size}}))
    with pytest.raises(ValueError, match=r"vision_config\.patch_size = .* must be a whole number of at least 1"):
        resolve_model(settings(folder))


@pytest.mark.parametrize("text", [b"", b"\xff\xfe{}", b"[" * 100_000])
def test_a_configuration_that_is_no_text_or_no_json_is_explained(folder, text):
    (folder / "config.json").write_bytes(text)
    with pytest.raises(ValueError, match=r"rater\.model .*config\.json is not valid JSON"):
        resolve_model(settings(folder))


def test_weights_may_be_elsewhere_for_who_only_looks(folder):
    (folder / "model.safetensors").unlink()
    assert resolve_model(settings(folder), with_weights=False) == folder


def test_other_models_are_refused(folder):
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"}))
    with pytest.raises(ValueError, match=r"model_type is 'llama', but must be a Qwen-VL .*set rater\.endpoint"):
        resolve_model(settings(folder))


def test_pickled_weights_are_refused(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"only pickled weights \(pytorch_model\.bin\).*save_pretrained"):
        resolve_model(settings(folder))


def test_a_folder_without_weights_is_refused(folder):
    (folder / "model.safetensors").unlink()
    with pytest.raises(ValueError, match="weights must be safetensors, but it has none"):
        resolve_model(settings(folder))


@pytest.mark.parametrize("name", ["nowhere", "/no/such/folder", "./a", "a/b/c", "Qwen/"])
def test_what_is_neither_a_folder_nor_a_hub_name_is_explained(name):
    with pytest.raises(ValueError, match=r"rater\.model .*no such folder, and it is no hub name .*use 'pocket'"):
        resolve_model(settings(name))


def test_a_hub_that_can_not_be_reached_is_explained(monkeypatch, tmp_path):
    def unreachable(*_, **__):
        raise HTTPError("Name or service not known")

    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_, **__: None)
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", unreachable)
    with pytest.raises(ValueError, match=r"'org/model': it is not in the local cache.*not known.*and the network"):
        resolve_model(settings("org/model"))


def test_a_cached_hub_model_is_named_by_its_commit(monkeypatch, folder):
    def not_asked(*_, **__):
        raise AssertionError("the hub must not be asked")

    commit = folder.rename(folder.parent / ("c0ffee" * 6 + "c0ff"))
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_, **__: str(commit / "config.json"))
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", not_asked)
    assert resolve_model(settings("org/model")) == "org/model"
    assert load_revision(settings("org/model")) == commit.name
    assert rater_identity(settings("org/model")) == RaterIdentity("org/model", commit.name)


def test_looking_a_model_up_loads_no_torch(folder):
    code = (
        "import sys; from actors.rating.models import RaterSettings, rater_identity; "
        f"rater_identity(RaterSettings(model={str(folder)!r})); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


EXPERTS = {"model_type": "qwen3_vl_moe", "text_config": {"hidden_size": 4, "moe_intermediate_size": 3}}


@pytest.mark.parametrize(("turned", "norm"), [(False, True), (True, True), (False, None)])
def test_experts_lie_as_published_or_it_is_said_before_they_are_loaded(tmp_path, turned, norm):
    experts = {"gate_up_proj": np.zeros((2, 4, 6), np.float32), "down_proj": np.zeros((2, 3, 4), np.float32)}
    layer = "model.language_model.layers.0.mlp.experts"
    saved = {f"{layer}.{name}": one.swapaxes(1, 2).copy() if turned else one for name, one in experts.items()}
    save_file(saved, tmp_path / "model.safetensors")
    config = json.loads(json.dumps(EXPERTS))
    if norm is not None:
        config["text_config"]["norm_topk_prob"] = norm
    (tmp_path / "config.json").write_text(json.dumps(config))
    model = settings(tmp_path)
    if turned:
        with pytest.raises(ValueError, match=r"down_proj in model.safetensors is \[2, 4, 3\], \[experts, out, in\]"):
            resolve_model(model)
    elif norm is None:
        with pytest.raises(ValueError, match=r"text_config\.norm_topk_prob is missing"):
            resolve_model(model)
    else:
        assert resolve_model(model) == tmp_path
