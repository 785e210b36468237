"""Which weights compare: whether they can be there, without loading any."""

import json
import re
from pathlib import Path

from actors.rating.similarity.settings import POCKET_CLIP, POCKET_CLIP_FOLDER, SimilaritySettings

MODEL_TYPES = {"vlm_rm": ("clip",), "roboclip": ("clip", "xclip")}
"""What `model_type` may say in the config.json of a model, by method."""


def check_weights(settings: SimilaritySettings) -> None:
    """Raise ValueError with field, value, rule and remedy if the model is not there, or is of another kind.

    Of a name on the hub it sees the form only: whether the hub has it shows when it is loaded, before a run begins.
    """
    files = {"s3d_weights": settings.s3d_weights, "s3d_words": settings.s3d_words}
    given = {name: path for name, path in files.items() if path is not None}
    for name, path in given.items():
        if not path.is_file():
            raise ValueError(
                f"similarity.{name} = {str(path)!r}: there is no such file; docs/online_loop.md says where"
            )
    if given:
        return
    field = f"similarity.model = {settings.model!r}"
    is_pocket = settings.model == POCKET_CLIP
    folder = POCKET_CLIP_FOLDER if is_pocket else Path(settings.model).expanduser()
    remedy = (
        "rebuild it with `likert pocket train --similarity`" if is_pocket else "name one that save_pretrained wrote"
    )
    if folder.is_dir():
        _check_folder(field, folder, MODEL_TYPES[settings.method], remedy)
    elif is_pocket:
        raise ValueError(f"{field}: {folder} is not there; {remedy}")
    elif not re.fullmatch(r"[\w.-]+/[\w.-]+", settings.model) or settings.model.startswith(("./", "../")):
        raise ValueError(
            f"{field}: there is no such folder, and it is no hub name (organisation/model); use {POCKET_CLIP!r}, a "
            "folder, or a name such as 'openai/clip-vit-large-patch14-336'"
        )


def _check_folder(field: str, folder: Path, wanted: tuple[str, ...], remedy: str) -> None:
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{field}: {folder} has no config.json, so it is no checkpoint; {remedy}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{field}: {folder / 'config.json'} cannot be read ({error}); {remedy}") from None
    found = config.get("model_type") if isinstance(config, dict) else None
    if found not in wanted:
        raise ValueError(
            f"{field}: its model_type is {found!r}, but must be {' or '.join(map(repr, wanted))}; {remedy}"
        )
    if not any(folder.glob("*.safetensors")):
        raise ValueError(f"{field}: {folder} has no weights as safetensors; {remedy}")
