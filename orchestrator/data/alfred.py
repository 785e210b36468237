"""Importing ALFRED's own layout: a `traj_data.json` for each demonstration, with a folder of its pictures beside it.

As SPRINT does it (Zhang et al. 2023), navigation is no skill of its own: the actions of a GotoLocation go to the front
of the next skill, whose sentence is kept. Each skill is a trajectory for each annotator. See docs/datasets.md.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from actors.thor.settings import ACTIONS
from algorithms.trajectories import Trajectory
from orchestrator.data.importing import ImportProblem, ImportSettings, digest_of, write_imported
from orchestrator.data.pictures import stored_frame
from orchestrator.data.schema import ActionSpace, DatasetInfo, Origin
from orchestrator.errors import SettingsError

TRAJECTORY_FILE = "traj_data.json"
IMAGE_FOLDERS = ("raw_images", "high_res_images")
IMAGE_ENDINGS = (".png", ".jpg", ".jpeg")
NAVIGATION = "GotoLocation"
RULE = 1
"""Of `schema.Origin`: raised whenever the same demonstrations would give other episodes."""
_NUMBERS = {name: number for number, name in enumerate(ACTIONS)}


class AlfredSettings(ImportSettings):
    """Settings of the importer."""

    annotators: Literal["all", "first"] = "all"
    """A trajectory for each annotator's sentence of a skill, or for the first one's only."""


@dataclass(frozen=True)
class Skill:
    """Consecutive low-level actions with one sentence."""

    high_idx: int
    """Number of the skill whose sentence counts."""
    low: range


def import_alfred(source: Path, folder: Path, settings: AlfredSettings) -> tuple[DatasetInfo, int]:
    """Import every demonstration below `source`. Returns the set's metadata and the number of problems.

    Raises SettingsError if there is none.
    """
    files = sorted(source.rglob(TRAJECTORY_FILE))
    if not files:
        raise SettingsError(f"{source} has no {TRAJECTORY_FILE} in it or below; name ALFRED's folder, such as train/")
    actions = ActionSpace(kind="discrete", names=tuple(ACTIONS))
    episodes = (episode for file in files for episode in demonstration(file, source, settings))
    origin = Origin(name=source.resolve().name, digest=digest_of(source, files), rule=RULE)
    return write_imported(folder, "alfred", actions, settings, episodes, len(files), origin, has_action_objects=True)


def demonstration(file: Path, source: Path, settings: AlfredSettings) -> Iterator[Trajectory | ImportProblem]:
    """The trajectories of one demonstration, and what keeps others from being imported."""
    name = file.parent.relative_to(source).as_posix()
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        low_actions = found["plan"]["low_actions"]
        skills = merged_skills(found["plan"]["high_pddl"], low_actions)
        annotations = found["turk_annotations"]["anns"]
        frames = _Frames(file.parent, found["images"], len(low_actions), settings.frame_px)
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        yield ImportProblem(f"{file}: demonstration {name}: {type(error).__name__}: {error}")
        return
    for skill in skills:
        for annotator, annotation in enumerate(annotations[: 1 if settings.annotators == "first" else None]):
            episode_id = f"{name}/{skill.high_idx}/{annotator}"
            try:
                yield _trajectory(episode_id, skill, annotation["high_descs"], low_actions, frames)
            except ImportProblem as problem:
                yield problem
            except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
                yield ImportProblem(f"{file}: episode {episode_id}: {type(error).__name__}: {error}")


def merged_skills(high_pddl: Sequence[Mapping[str, Any]], low_actions: Sequence[Mapping[str, Any]]) -> list[Skill]:
    """The skills of a plan, navigation at the front of what follows it. Skills without an action are left out.

    A navigation that nothing follows keeps its own sentence. Raises ValueError if a skill's actions do not follow one
    another.
    """
    kinds = [skill["discrete_action"]["action"] for skill in high_pddl]
    own: dict[int, list[int]] = {}
    for index, action in enumerate(low_actions):
        own.setdefault(int(action["high_idx"]), []).append(index)
    skills: list[Skill] = []
    waiting: list[int] = []
    for high_idx, kind in enumerate(kinds):
        waiting += own.get(high_idx, [])
        follows = any(own.get(later) for later in range(high_idx + 1, len(kinds)))
        if not waiting or (kind == NAVIGATION and follows):
            continue
        if waiting != list(range(waiting[0], waiting[0] + len(waiting))):
            raise ValueError(f"the actions of skill {high_idx} do not follow one another: {waiting}")
        skills.append(Skill(high_idx, range(waiting[0], waiting[-1] + 1)))
        waiting = []
    return skills


def _trajectory(
    episode_id: str,
    skill: Skill,
    sentences: Sequence[str],
    low_actions: Sequence[Mapping[str, Any]],
    frames: "_Frames",
) -> Trajectory:
    if skill.high_idx >= len(sentences) or not sentences[skill.high_idx].strip():
        raise ImportProblem(f"{frames.folder}: episode {episode_id}: skill {skill.high_idx} has no sentence")
    actions = [low_actions[index] for index in skill.low]
    names = [action["discrete_action"]["action"] for action in actions]
    unknown = next((name for name in names if name not in _NUMBERS), None)
    if unknown is not None:
        raise ImportProblem(f"{frames.folder}: episode {episode_id}: action {unknown!r} is unknown")
    objects = [_object(action) for action in actions]
    last = np.arange(len(names)) == len(names) - 1
    return Trajectory(
        episode_id=episode_id,
        instruction=" ".join(sentences[skill.high_idx].split()),
        actions=np.array([_NUMBERS[name] for name in names], dtype=np.int64),
        action_names=tuple(_words(name, thing) for name, thing in zip(names, objects, strict=True)),
        sparse_rewards=last.astype(np.float32),
        terminated=last,
        truncated=np.zeros(len(names), dtype=bool),
        frames=tuple(frames.before(index, episode_id) for index in range(skill.low.start, skill.low.stop + 1)),
        action_objects=tuple(objects),
    )


def _object(action: Mapping[str, Any]) -> str:
    """Class of the object that an action is about, from THOR's id: what it is put into, for PutObject."""
    api = action.get("api_action", {})
    object_id = api.get("receptacleObjectId") or api.get("objectId") or ""
    return object_id.split("|")[0]


def _words(name: str, thing: str) -> str:
    spelled = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", thing).lower()
    return f"{ACTIONS[name]} {spelled}".strip()


class _Frames:
    """The pictures of a demonstration: for each action the first one that was taken during it, and the last of all.

    ALFRED took several pictures of slow actions; the first shows the state before the action.
    """

    def __init__(self, folder: Path, images: Sequence[Mapping[str, Any]], num_actions: int, height: int | None) -> None:
        self.folder = folder
        self._height = height
        self._files: dict[int, str] = {}
        for image in images:
            self._files.setdefault(int(image["low_idx"]), str(image["image_name"]))
        self._files[num_actions] = str(images[-1]["image_name"])
        self._cache: dict[int, bytes] = {}

    def before(self, index: int, episode_id: str) -> bytes:
        """PNG file of the state before an action. Raises ImportProblem, naming the file, if it cannot be read."""
        if index not in self._cache:
            if index not in self._files:
                raise ImportProblem(f"{self.folder}: episode {episode_id}: no picture of action {index}")
            path = self._path(self._files[index])
            if path is None:
                raise ImportProblem(
                    f"{self.folder}: episode {episode_id}: picture {self._files[index]} is not in "
                    f"{' or '.join(IMAGE_FOLDERS)}"
                )
            try:
                self._cache[index] = stored_frame(path, self._height)
            except (OSError, SyntaxError, ValueError) as error:
                raise ImportProblem(f"{path}: episode {episode_id}: the picture cannot be read: {error}") from error
        return self._cache[index]

    def _path(self, name: str) -> Path | None:
        # The plan says .png also where the pictures are .jpg.
        candidates = (
            self.folder / folder / f"{Path(name).stem}{ending}" for folder in IMAGE_FOLDERS for ending in IMAGE_ENDINGS
        )
        return next((path for path in candidates if path.is_file()), None)
