"""Which recorded episodes are held out."""

import hashlib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from algorithms.trajectories import Trajectory
from orchestrator.data.datasets import TrajectoryDataset
from orchestrator.errors import SettingsError
from orchestrator.offline.evaluation_settings import HeldOutEvaluationSettings

_PIECES = {
    # A recording that was cut where its task changed.
    "lerobot": r"/\d+$",
    # A skill of a demonstration, in an annotator's words.
    "alfred": r"/\d+/\d+$",
    # A sub-task of a chain.
    "babyai": r"(?<=\d)-\d+$",
}
"""By source: what the name of a piece adds to that of the recording that it was cut out of."""
_OF_ANY = r"(?<=episode-\d{6})/\d+$"


def recording_of(source: str, episode_id: str) -> str:
    """The recording that an episode is a piece of; itself, if it is a whole one."""
    return re.sub(_PIECES.get(source, _OF_ANY), "", episode_id)


def succeeded(trajectory: Trajectory) -> bool:
    """Whether an episode's instruction was completed."""
    return bool((trajectory.sparse_rewards > 0).any())


def read_successes(dataset: TrajectoryDataset, names: Iterable[str] | None = None) -> dict[str, bool]:
    """By episode, whether it succeeded; of `names`, or of all that can be read."""
    wanted = None if names is None else set(names)
    return {
        one.episode_id: succeeded(one)
        for one in dataset.episodes(frames=False, symbolic=False)
        if wanted is None or one.episode_id in wanted
    }


def draw_held_out(
    folder: Path, source: str, successes: Mapping[str, bool], settings: HeldOutEvaluationSettings
) -> frozenset[str]:
    """Names of the episodes that are held out, of those in `successes`.

    They follow from the names and the seed, and not from the order of files. A recording counts as one that succeeded
    if any piece of it did. Raises SettingsError if there are too few.
    """
    pieces: dict[str, list[str]] = {}
    for name in successes:
        pieces.setdefault(recording_of(source, name), []).append(name)
    done = {recording for recording, names in pieces.items() if any(successes[name] for name in names)}
    if len(done) < 2:
        raise SettingsError(
            f"evaluation.environment = 'none': {folder} has {len(pieces):,} recorded episodes, and {len(done)} of them "
            "succeeded (a sparse reward above 0). A policy is judged by episodes that succeeded and were held out, and "
            "learns from others: two at least are needed. Record more, or import with what says which succeeded"
        )
    chosen: list[str] = []
    for stratum in (done, pieces.keys() - done):
        ordered = sorted(stratum, key=lambda recording: _draw(settings.seed, recording))
        # Of a single one that failed there is nothing to hold out.
        number = min(len(ordered) - 1, max(1, round(settings.share * len(ordered)))) if ordered else 0
        chosen += ordered[:number]
    return frozenset(name for recording in chosen for name in pieces[recording])


def _draw(seed: int, recording: str) -> bytes:
    return hashlib.sha256(f"{seed}/{recording}".encode()).digest()
