"""Checks made before anything starts, so that work fails in its first seconds or not for a reason known by then."""

import logging
import re
import shutil
import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path

from actors.rating.asking import Request
from actors.rating.models import resolve_model
from actors.rating.settings import RaterSettings
from actors.rating.similarity.settings import SimilaritySettings
from actors.rating.similarity.weights import check_weights
from actors.worlds.opengl import chosen_backend
from orchestrator.errors import SettingsError
from orchestrator.storage.locations import RemotePath, StorageFailing

log = logging.getLogger(__name__)


def check_writable(name: str, folder: Path | RemotePath) -> None:
    """Raise SettingsError if `folder` cannot be made, or files in it cannot."""
    title = f"{name} = {str(folder)!r}: must be a folder that can be written to"
    if isinstance(folder, Path):
        _refuse_address(name, folder)
    probe = folder / f".probe-{uuid.uuid4().hex}.tmp"
    try:
        if isinstance(probe, RemotePath):
            probe.write_bytes(b"")
            probe.unlink()
            return
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except (OSError, ValueError) as error:
        raise SettingsError(f"{title} ({_reason(error)}); choose another, or change its rights") from None
    except StorageFailing as error:
        raise SettingsError(f"{title}: {error}") from None


def check_file_writable(name: str, file: Path) -> None:
    """Raise SettingsError if `file` cannot be made, or, where there is one already, replaced."""
    _refuse_address(name, file)
    try:
        is_folder = file.is_dir()
    except (OSError, ValueError) as error:
        raise SettingsError(f"{name} = {str(file)!r}: must be a file's name ({_reason(error)})") from None
    if is_folder:
        raise SettingsError(f"{name} = {str(file)!r}: must be a file, and this is a folder; name a file in it")
    check_writable(f"folder of {name}", file.parent)


def _refuse_address(name: str, path: Path) -> None:
    """What a `Path` has made of an address would become folders called `s3:` and so on."""
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*:/", str(path)):
        raise SettingsError(f"{name} = {str(path)!r}: must be a place on this machine's disks, no address")


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def check_disk(sizes: Iterable[tuple[Path | RemotePath, float]], remedy: str) -> None:
    """Raise SettingsError, with the remedy, if a disk has less room than what `sizes`, in bytes, put on it."""
    demands: dict[int, tuple[Path, float]] = {}
    for folder, size in sizes:
        if isinstance(folder, RemotePath) or not size:
            continue
        folder.mkdir(parents=True, exist_ok=True)
        # Two folders may share a disk.
        disk = folder.stat().st_dev
        demands[disk] = (folder, size + demands.get(disk, (folder, 0.0))[1])
    for folder, size in demands.values():
        free = shutil.disk_usage(folder).free
        if free < size:
            raise SettingsError(
                f"the disk of {folder} has {free / 1e9:.1f} GB free and this run may write {size / 1e9:.1f} GB: make "
                f"room, {remedy}"
            )


def check_model(rater: RaterSettings) -> None:
    """Raise SettingsError if the rater's weights cannot be found, or are of a kind that is not served."""
    try:
        resolve_model(rater)
    except ValueError as error:
        raise SettingsError(str(error)) from None


def check_similarity_model(settings: SimilaritySettings) -> None:
    """Raise SettingsError if the model that compares cannot be there, or is of a kind that does not."""
    try:
        check_weights(settings)
    except ValueError as error:
        raise SettingsError(str(error)) from None


def check_context(
    rater: RaterSettings, asked: Sequence[Request], what: str, remedy: str, tolerated: float = 0.0
) -> None:
    """Raise SettingsError if more than the share `tolerated` of some questions do not fit `rater.max_model_len`.

    Fewer are warned of; so are all where words cannot be counted. `what` are the questions, for messages. A server
    that is there already has a limit of its own, which is not asked for.
    """
    if rater.endpoint or rater.server or not asked:
        return
    from actors.rating.tokens import TokenCounter

    # As a rule even what the words cannot exceed fits, and no tokenizer need be loaded.
    for exact in (False, True):
        counter = TokenCounter(rater, exact)
        needed = [counter.needed(request).context for request in asked]
        num_too_long = sum(one > rater.max_model_len for one in needed)
        if not num_too_long:
            return
    text = (
        f"rater.max_model_len = {rater.max_model_len}: of {len(asked):,} {what} that were looked at, {num_too_long:,} "
        f"need more, up to {max(needed):,} tokens, pictures, words and answer together"
    )
    remedy = f"Raise rater.max_model_len, or lower rater.max_pixels, rater.max_analysis_tokens{remedy}"
    if not counter.is_exact:
        log.warning("%s, if each byte of text is a token; as a rule a token is 3 or 4. %s", text, remedy)
    elif num_too_long > tolerated * len(asked):
        raise SettingsError(f"{text}. {remedy}")
    else:
        log.warning("%s: such questions will get no answer. %s", text, remedy)


def check_opengl() -> None:
    """Raise SettingsError, naming the packages, if frames cannot be drawn."""
    try:
        chosen_backend()
    except RuntimeError as error:
        raise SettingsError(str(error)) from None
