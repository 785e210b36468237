"""Which weights rate: finding them, checking them and naming them, without loading any."""

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actors.rating.settings import POCKET, POCKET_EPISODES, POCKET_PAIRS, POCKET_WINDOWS, RaterSettings
from algorithms.ratings import RaterIdentity

POCKET_FOLDER = Path(__file__).parents[1] / "pocket" / "checkpoint"
POCKET_WINDOWS_FOLDER = Path(__file__).parents[1] / "pocket" / "windows_checkpoint"
POCKET_EPISODES_FOLDER = Path(__file__).parents[1] / "pocket" / "episodes_checkpoint"
POCKET_PAIRS_FOLDER = Path(__file__).parents[1] / "pocket" / "pairs_checkpoint"
"""The checkpoints of the package: for frames, windows, episodes and pairs."""
POCKET_FOLDERS = {
    POCKET: POCKET_FOLDER,
    POCKET_WINDOWS: POCKET_WINDOWS_FOLDER,
    POCKET_EPISODES: POCKET_EPISODES_FOLDER,
    POCKET_PAIRS: POCKET_PAIRS_FOLDER,
}
REBUILD = {
    POCKET: "likert pocket train",
    POCKET_WINDOWS: "likert pocket train --windows",
    POCKET_EPISODES: "likert pocket train --episodes",
    POCKET_PAIRS: "likert pocket train --pairs",
}

MODEL_TYPES = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_vl_moe")
"""What `model_type` says in the config.json of a Qwen-VL."""

ANSWER_FILES = ("*.safetensors", "*.json", "*.jinja", "*.txt")
"""Files of a checkpoint that can change an answer: weights, configuration, tokenizer, chat template."""

HUB_TIMEOUT_S = 10.0

Checkpoint = Path | str
"""A local folder, or a hub name such as `Qwen/Qwen2-VL-7B-Instruct`."""


@dataclass(frozen=True)
class _HubModel:
    """A model on the hub, or in its local cache, at one commit."""

    commit: str
    files: list[str]
    config: dict[str, Any]


def resolve_model(settings: RaterSettings, with_weights: bool = True) -> Checkpoint:
    """The checkpoint that `rater.model` means. Loads nothing, but may ask the hub for a few kilobytes.

    Raises ValueError with field, value, rule and remedy if there is no such model, if it is not a Qwen-VL, or if its
    weights are not safetensors, unless it is to be looked at without its weights.
    """
    folder = POCKET_FOLDERS.get(settings.model, Path(settings.model).expanduser())
    if settings.model in POCKET_FOLDERS or folder.is_dir():
        _check_folder(settings.model, folder, with_weights)
        return folder
    model = _hub_model(settings)
    if with_weights:
        _check_files(settings.model, model.files)
    _check_type(settings.model, model.config)
    return settings.model


def load_revision(settings: RaterSettings) -> str | None:
    """The hub commit to load, so that what is loaded is what `rater_identity` names; None for a local folder."""
    checkpoint = resolve_model(settings, with_weights=False)
    return None if isinstance(checkpoint, Path) else _hub_model(settings).commit


def rater_identity(settings: RaterSettings) -> RaterIdentity:
    """Name the weights: hub name and commit, or the digest of a local folder's files.

    Takes about a second per gigabyte for a local folder. Raises ValueError as `resolve_model` does.
    """
    checkpoint = resolve_model(settings)
    if isinstance(checkpoint, str):
        return RaterIdentity(checkpoint, _hub_model(settings).commit)
    return RaterIdentity(f"sha256:{folder_digest(checkpoint)}", "local")


def folder_digest(folder: Path) -> str:
    """SHA-256 over the names and contents of a checkpoint's files, wherever the folder lies."""
    digest = hashlib.sha256()
    for path in sorted({path for pattern in ANSWER_FILES for path in folder.glob(pattern)}):
        with path.open("rb") as file:
            digest.update(f"{path.name} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()


def token_px(checkpoint: Checkpoint, revision: str | None) -> int:
    """Side in pixels of what becomes a token: some patches of the vision tower, merged."""
    config = checkpoint_config(checkpoint, revision)
    vision = config.get("vision_config", {})
    usual_patch = 16 if config["model_type"].startswith("qwen3") else 14
    return int(vision.get("patch_size", usual_patch)) * int(vision.get("spatial_merge_size", 2))


def checkpoint_config(checkpoint: Checkpoint, revision: str | None) -> dict[str, Any]:
    """What stands in its config.json."""
    if isinstance(checkpoint, Path):
        return json.loads((checkpoint / "config.json").read_text())
    return _hub_model(RaterSettings(model=checkpoint, revision=revision)).config


def in_words(error: Exception) -> str:
    """A library's error on one line: its first two, which say where and what."""
    return " ".join(line.strip() for line in str(error).strip().splitlines()[:2]) or type(error).__name__


def _check_folder(model: str, folder: Path, with_weights: bool) -> None:
    if not (folder / "config.json").is_file():
        remedy = f"rebuild it with `{REBUILD[model]}`" if model in REBUILD else "name one written by save_pretrained"
        raise ValueError(f"rater.model {model!r}: {folder} has no config.json, so it is no checkpoint; {remedy}")
    if with_weights:
        _check_files(model, [path.name for path in folder.iterdir()])
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"rater.model {model!r}: {folder / 'config.json'} is not valid JSON: {error}") from error
    _check_type(model, config)
    if with_weights and config["model_type"].endswith("_moe"):
        _check_experts(model, folder, config)


def _check_experts(model: str, folder: Path, config: dict[str, Any]) -> None:
    """vLLM reads experts as they are published, [experts, in, out]; transformers saves them the other way round."""
    from safetensors import SafetensorError, safe_open

    text = config.get("text_config")
    if not isinstance(text, dict) or "norm_topk_prob" not in text:
        raise ValueError(
            f"rater.model {model!r}: text_config.norm_topk_prob is missing in its config.json, and the engine "
            "needs it; write there what the checkpoint states that it was made from (published ones: true)"
        )
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, framework="np") as weights:
                shapes = {name: weights.get_slice(name).get_shape() for name in weights.keys() if "experts." in name}
        except (SafetensorError, OSError) as error:
            raise ValueError(f"rater.model {model!r}: {path} cannot be read: {error}") from error
        turned = [name for name, shape in shapes.items() if _is_turned(name, shape, text)]
        if turned:
            raise ValueError(
                f"rater.model {model!r}: {turned[0]} in {path.name} is {shapes[turned[0]]}, [experts, out, in], as "
                "save_pretrained writes it; the engine reads [experts, in, out], as published. Turn the experts' "
                "gate_up_proj and down_proj round (transpose(1, 2)) and save them anew, or serve the model with an "
                "engine that reads it and set rater.endpoint"
            )


def _is_turned(name: str, shape: list[int], text: dict[str, Any]) -> bool:
    hidden, inner = text.get("hidden_size"), text.get("moe_intermediate_size")
    if not isinstance(hidden, int) or not isinstance(inner, int) or len(shape) != 3:
        return False
    published = {"gate_up_proj": [hidden, 2 * inner], "down_proj": [inner, hidden]}.get(name.rpartition(".")[2])
    return published is not None and shape[1:] != published and shape[1:] == published[::-1]


def _check_files(model: str, names: Iterable[str]) -> None:
    names = list(names)
    if any(name.endswith(".safetensors") for name in names):
        return
    pickled = [name for name in names if name.endswith((".bin", ".pt", ".pth", ".ckpt", ".pkl"))]
    found = f"it has only pickled weights ({pickled[0]}), which can run code when loaded" if pickled else "it has none"
    raise ValueError(
        f"rater.model {model!r}: weights must be safetensors, but {found}; "
        "save it with save_pretrained(..., safe_serialization=True), or choose another model"
    )


def _check_type(model: str, config: Any) -> None:
    if not isinstance(config, dict) or not isinstance(config.get("vision_config", {}), dict):
        raise ValueError(
            f"rater.model {model!r}: its config.json describes no model: it, and its vision_config, must be blocks of "
            "settings; take it anew from where the checkpoint came from"
        )
    for name in ("patch_size", "spatial_merge_size"):
        value = config.get("vision_config", {}).get(name, 1)
        if type(value) is not int or value < 1:
            raise ValueError(
                f"rater.model {model!r}: vision_config.{name} = {value!r} in its config.json must be a whole number of "
                "at least 1; take the file anew from where the checkpoint came from"
            )
    found = config.get("model_type")
    if found not in MODEL_TYPES:
        raise ValueError(
            f"rater.model {model!r}: model_type is {found!r}, but must be a Qwen-VL ({', '.join(MODEL_TYPES)}); "
            "to ask another model, serve it yourself and set rater.endpoint"
        )


def _hub_model(settings: RaterSettings) -> _HubModel:
    """Look a model up: in the local cache first, so that a study keeps its weights while the hub moves on."""
    name = settings.model
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name) or name.startswith(("./", "../")):
        raise ValueError(
            f"rater.model {name!r}: there is no such folder, and it is no hub name (organisation/model); "
            f"use {POCKET!r}, the path of a checkpoint, or a name such as 'Qwen/Qwen2-VL-7B-Instruct'"
        )
    from huggingface_hub import HfApi, hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import HTTPError, RepositoryNotFoundError

    cached = try_to_load_from_cache(name, "config.json", revision=settings.revision)
    if isinstance(cached, str):
        snapshot = Path(cached).parent
        files = [path.name for path in snapshot.iterdir()]
        if any(file.endswith(".safetensors") for file in files):
            return _HubModel(snapshot.name, files, json.loads(Path(cached).read_text()))
    try:
        info = HfApi().model_info(name, revision=settings.revision, timeout=HUB_TIMEOUT_S)
        path = hf_hub_download(name, "config.json", revision=info.sha, etag_timeout=HUB_TIMEOUT_S)
    except RepositoryNotFoundError as error:
        raise ValueError(
            f"rater.model {name!r}: there is no such folder here, and the hub knows no such model (or it is private: "
            "set HF_TOKEN); check the spelling"
        ) from error
    except (HTTPError, OSError) as error:
        raise ValueError(
            f"rater.model {name!r}: it is not in the local cache, and the hub does not give it "
            f"({type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no reason'}); "
            f"check the name, rater.revision ({settings.revision}) and the network, or use {POCKET!r} or a local folder"
        ) from error
    files = [sibling.rfilename for sibling in info.siblings or []]
    return _HubModel(info.sha or "", files, json.loads(Path(path).read_text()))
